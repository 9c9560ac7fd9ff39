"""A cheap WebSocket driver: raw sockets under epoll that find time stamps in the raw stream.

After its set-up a socket's stream is never parsed: a publication's body carries a stamp

    @T<19 digits: monotonic ns when sent>#<2 digits: sender>#

and the driver counts or reads stamps in whatever bytes arrive. That costs a microsecond or two a
delivery, so that the machine is spent on the server under test; the driver's CPU is counted apart.
"""

import base64
import json
import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

STAMP = re.compile(rb"@T(\d{19})#\d\d#")
STAMP_BYTES = 2 + 19 + 4
_BUFFER = 1 << 20


def stamp(sender: int) -> bytes:
    """The stamp of a publication that leaves now."""
    return b"@T%019d#%02d#" % (time.monotonic_ns(), sender)


def stamp_at(at_ns: int, sender: int) -> bytes:
    """The stamp of a publication that was due at that time."""
    return b"@T%019d#%02d#" % (at_ns, sender)


def text_frame(payload: bytes) -> bytes:
    """A client's text frame; masked with zeros, which is a mask and costs nothing."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x81, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload


class Stream:
    """A connected socket of a running window: raw bytes out, and the cut end of what came in."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.unsent = b""
        self.tail = b""

    def send(self, frames: bytes) -> None:
        """Frames of a running window, in one write; what the kernel does not take is kept for later."""
        self.unsent += frames
        self.flush()

    def flush(self) -> None:
        if self.unsent:
            try:
                sent = self.socket.send(self.unsent)
            except BlockingIOError:
                return
            self.unsent = self.unsent[sent:]

    def close(self) -> None:
        self.socket.close()


class RawSocket(Stream):
    """One WebSocket. Blocking while it is set up, then read by a `Fan`."""

    def __init__(self, url: str, subprotocol: str | None = None) -> None:
        parts = urlsplit(url)
        super().__init__(
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=15)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        self.socket.sendall(
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
        )
        self._received = b""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode(errors="replace"))

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server while setting up")
        self._received += data

    def send_json(self, value: Any) -> None:
        """One frame, during set-up."""
        self.socket.sendall(text_frame(json.dumps(value, separators=(",", ":")).encode()))

    def receive_json(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame that is `wanted`, during set-up; others are dropped."""
        while True:
            while (message := self._next_message()) is None:
                self._more()
            for line in message.split(b"\n"):
                if line:
                    frame: dict[str, Any] = json.loads(line)
                    if wanted(frame):
                        return frame

    def _next_message(self) -> bytes | None:
        data = self._received
        if len(data) < 2:
            return None
        size, start = data[1] & 127, 2
        if size == 126:
            if len(data) < 4:
                return None
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            if len(data) < 10:
                return None
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            return None
        self._received = data[start + size :]
        return data[start : start + size]


class Fan:
    """Many sockets read as raw streams.

    `deliveries` counts tokens: what begins with `mark` and is `token_bytes` long, by default a stamp.
    `arrivals` keeps the stamps on request.
    """

    def __init__(
        self, sockets: Sequence[Stream], mark: bytes = b"@T", token_bytes: int = STAMP_BYTES
    ) -> None:
        self.sockets = sockets
        self._mark = mark
        self._tail_bytes = token_bytes - 1
        self.deliveries = 0
        self.lost = 0
        self.keep = False
        self.arrivals: list[tuple[int, list[bytes]]] = []
        self.watch: dict[int, Callable[[bytes], None]] = {}
        """Socket index → who looks at each chunk (its tail of the chunk before in front)."""
        self._poll = select.epoll()
        self._by_fd: dict[int, tuple[int, Stream, Callable[[memoryview], int]]] = {}
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        for index, each in enumerate(sockets):
            each.socket.setblocking(False)
            self._by_fd[each.socket.fileno()] = index, each, each.socket.recv_into
            self._poll.register(each.socket.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable while something waits on any of the sockets."""
        return self._poll.fileno()

    def look_for(self, mark: bytes) -> None:
        """Counts this in place of stamps from now on."""
        self._mark, self._tail_bytes = mark, len(mark) - 1

    def turn(self, wait_s: float) -> int:
        """Reads whatever has arrived, waiting up to `wait_s` for the first of it; from how many sockets."""
        buffer, view, by_fd, mark = self._buffer, self._view, self._by_fd, self._mark
        tail_bytes, first, watch = self._tail_bytes, mark[:1], self.watch
        ready = self._poll.poll(wait_s, 512)
        for fd, _ in ready:
            index, each, receive = by_fd[fd]
            tail = each.tail
            try:
                if tail:
                    view[: len(tail)] = tail
                    size = receive(view[len(tail) :])
                else:
                    size = receive(view)
            except BlockingIOError:
                continue
            except ConnectionError:
                size = 0
            if size == 0:
                self._poll.unregister(fd)
                self.lost += 1
                continue
            whole = end = len(tail) + size
            if buffer.rfind(first, max(0, end - tail_bytes), end) >= 0:
                whole = self._whole(end)
            if whole < end or tail:
                each.tail = bytes(view[whole:end])
            if self.keep:
                stamps = STAMP.findall(buffer, 0, whole)
                self.deliveries += len(stamps)
                if stamps:
                    self.arrivals.append((time.monotonic_ns(), stamps))
            else:
                self.deliveries += buffer.count(mark, 0, whole)
            if index in watch:
                watch[index](bytes(view[:whole]))
        return len(ready)

    def _whole(self, end: int) -> int:
        """Where to cut what was read so that a token its end has cut in two is seen whole with what comes."""
        buffer, mark, at = self._buffer, self._mark, max(0, end - self._tail_bytes) - 1
        while (at := buffer.find(mark[:1], at + 1, end)) >= 0:
            if mark.startswith(buffer[at : min(end, at + len(mark))]):
                return at
        return end

    def say(self, payload: bytes) -> None:
        """Sends one frame on every socket (pongs ahead of the server's pings)."""
        frame = text_frame(payload)
        for each in self.sockets:
            each.send(frame)

    def latencies_ms(self) -> list[float]:
        """Sorted latencies of the kept arrivals; forgets them."""
        taken, self.arrivals = self.arrivals, []
        return sorted((at - int(sent)) / 1e6 for at, stamps in taken for sent in stamps)

    def let_go(self) -> None:
        """Reads no more; the sockets stay open."""
        self._poll.close()

    def close(self) -> None:
        self.let_go()
        for each in self.sockets:
            each.close()
