"""Choosing ports on the loopback address, below the range that the kernel hands to outgoing connections."""

import random
import socket

FIRST, LAST = 20_000, 32_000
BLOCK = 64


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As every server of ours binds: connections in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_port(preferred: int | None, chance: random.Random) -> int:
    """`preferred` if it is free, else another free one."""
    if preferred is not None and is_free(preferred):
        return preferred
    for _ in range(1_000):
        port = chance.randrange(FIRST, LAST)
        if is_free(port):
            return port
    raise OSError(f"no free port from {FIRST} to {LAST}")


def choose_block(chance: random.Random, preferred: int = 0) -> range:
    """Sixty-four consecutive free ports, so that two engines on one machine do not meet; those from
    `preferred` on if they are free.
    """
    starts = list(range(FIRST, LAST - BLOCK, BLOCK))
    chance.shuffle(starts)
    if preferred in starts:
        starts.insert(0, preferred)
    for start in starts:
        if all(is_free(port) for port in range(start, start + BLOCK)):
            return range(start, start + BLOCK)
    raise OSError(f"no {BLOCK} consecutive free ports from {FIRST} to {LAST}")
