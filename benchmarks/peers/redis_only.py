"""Redis from Debian alone, and the barest client there is: commands encoded beforehand, replies counted."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
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
        self._lines: list[bytes] = []
        self._at = 0
        self._rest = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def members(self, replies: int) -> list[list[bytes]]:
        """The next replies: of each its bulk strings, a number or a status being none. Raises RuntimeError on
        an error reply.
        """
        found: list[list[bytes]] = []
        for _ in range(replies):
            head = self._line()
            if head.startswith(b"-"):
                raise RuntimeError(head.decode())
            count = int(head[1:]) if head.startswith(b"*") else 0
            found.append([(self._line(), self._line())[1] for _ in range(count)])
        return found

    def bulks_of(self, replies: int) -> int:
        """How many bulk strings the next replies have in all, each being one array of them.

        It skips from array to array: the least that a client can do.
        """
        total = 0
        for _ in range(replies):
            head = self._line()
            if head.startswith(b"-"):
                raise RuntimeError(head.decode())
            count = int(head[1:])
            total += count
            self._at += 2 * count
            while self._at > len(self._lines):
                self._receive()
        return total

    def _line(self) -> bytes:
        while self._at >= len(self._lines):
            self._receive()
        self._at += 1
        return self._lines[self._at - 1]

    def _receive(self) -> None:
        """Adds the lines that have come in, without those that were read."""
        data = self._rest + self._socket.recv(_CHUNK)
        lines = data.split(b"\r\n")
        self._rest = lines.pop()
        read = min(self._at, len(self._lines))
        self._lines = self._lines[read:] + lines
        self._at -= read


def encoded(*words: str | bytes | float) -> bytes:
    """A command as RESP has it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


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
