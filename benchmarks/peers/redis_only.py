"""Redis from Debian alone, and the barest client there is: commands encoded beforehand, replies counted."""

import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.processes import NotInstalledError, answers, running
from benchmarks.servers import free_port

_CHUNK = 1 << 20


class Redis:
    """A connection, in RESP2."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def members(self, replies: int) -> list[list[bytes]]:
        """The next replies: of each its bulk strings, a number or a status being none. Raises RuntimeError on
        an error reply.
        """
        lines: list[bytes] = []
        found: list[list[bytes]] = []
        at = 0
        while len(found) < replies:
            data = self._rest + self._socket.recv(_CHUNK)
            end = data.rfind(b"\r\n") + 2
            lines += data[:end].split(b"\r\n")[:-1]
            self._rest = data[end:]
            while at < len(lines) and len(found) < replies:
                head = lines[at]
                if head.startswith(b"-"):
                    raise RuntimeError(head.decode())
                if not head.startswith(b"*"):
                    found.append([])
                    at += 1
                    continue
                count = int(head[1:])
                if at + 1 + 2 * count > len(lines):
                    break
                found.append(lines[at + 2 : at + 2 + 2 * count : 2])
                at += 1 + 2 * count
        return found

    def bytes_of(self, replies: int) -> int:
        """How many bytes the next replies have, each being one array of bulk strings or one number.

        Looks at line ends only: what a client that needs no more than the count must do at least.
        """
        left, open_lines, total = replies, 0, 0
        while left:
            data = self._rest + self._socket.recv(_CHUNK)
            end = data.rfind(b"\r\n") + 2
            self._rest = data[end:]
            total += end
            for line in data[:end].split(b"\r\n")[:-1]:
                if open_lines:
                    open_lines -= 1
                elif line.startswith(b"*"):
                    open_lines = 2 * int(line[1:])
                elif line.startswith(b"-"):
                    raise RuntimeError(line.decode())
                left -= not open_lines
        return total


def encoded(*words: str | bytes | float) -> bytes:
    """A command as RESP has it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def pipelined(commands: Sequence[bytes]) -> bytes:
    """Commands sent in one go."""
    return b"".join(commands)


@contextmanager
def redis_only() -> Iterator[Redis]:
    """One server for the length of the block, and a connection to it; nothing is written to disk."""
    program = shutil.which("redis-server")
    if program is None:
        raise NotInstalledError("redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hb-peer-", ignore_cleanup_errors=True) as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                   "--dir", folder]  # fmt: skip
        with running(command, Path(folder, "log")) as process:
            answers(port, process)
            redis = Redis(process.pid, port)
            try:
                yield redis
            finally:
                redis.close()
