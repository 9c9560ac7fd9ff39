"""Opens many connections at once: each follows a script of what to say and which bytes to wait for.

One epoll loop, so that connecting is as cheap as reading: a server that takes 5,000 connections a second
is measured, not the driver.
"""

import base64
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.sockets import Stream, text_frame

_KEY = base64.b64encode(b"benchmarks/1.000").decode()


@dataclass(frozen=True, slots=True)
class Step:
    """Say something, then wait until the answer holds `until`; `refusal` in the answer ends it all."""

    say: bytes
    until: bytes
    refusal: bytes = b"\0never\0"


def upgrade(host: str, path: str, subprotocol: str = "") -> Step:
    """The WebSocket handshake."""
    offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    return Step(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode(),
        b"\r\n\r\n",
        b"HTTP/1.1 4",
    )


def said(text: str, until: bytes, refusal: bytes = b'"err"') -> Step:
    """A text frame and what its answer holds."""
    return Step(text_frame(text.encode()), until, refusal)


@dataclass(slots=True)
class _Opening:
    stream: Stream
    steps: Sequence[Step]
    begun_s: float
    at: int = 0
    heard: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Dialled:
    """The streams in the order of their scripts, and how long it took."""

    streams: list[Stream]
    seconds: float
    each_ms: list[float]
    """From the first packet to the end of the script, sorted."""


def dial(
    address: tuple[str, int],
    scripts: Sequence[Sequence[Step]],
    *,
    at_once: int = 64,
    limit_s: float = 120.0,
    meanwhile: Callable[[], None] = lambda: None,
) -> Dialled:
    """One connection a script, `at_once` of them under way at a time. Raises ConnectionError, TimeoutError.

    `meanwhile` is called every half second: connections opened earlier may have to be kept alive.
    """
    poll = select.epoll()
    opening: dict[int, tuple[int, _Opening]] = {}
    done: list[Stream | None] = [None] * len(scripts)
    each_ms: list[float] = []
    waiting = iter(enumerate(scripts))
    start_s = beat_s = time.monotonic()

    def begin() -> bool:
        for number, steps in waiting:
            connected = socket.socket()
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begun_s = time.monotonic()
            connected.connect(address)  # loopback answers at once, or the backlog is full and it waits
            connected.setblocking(False)
            each = _Opening(Stream(connected), steps, begun_s)
            opening[connected.fileno()] = (number, each)
            poll.register(connected.fileno(), select.EPOLLIN)
            each.stream.send(steps[0].say)
            return True
        return False

    for _ in range(at_once):
        begin()
    while opening:
        now_s = time.monotonic()
        if now_s - start_s > limit_s:
            raise TimeoutError(f"{len(opening)} connections are not open after {limit_s} s")
        if now_s - beat_s > 0.5:
            beat_s = now_s
            meanwhile()
        for fd, _ in poll.poll(1.0, 512):
            number, each = opening[fd]
            try:
                data = each.stream.socket.recv(65536)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionError(f"closed while opening: {bytes(each.heard)[-300:]!r}")
            if _advance(each, data):
                del opening[fd]
                poll.unregister(fd)
                done[number] = each.stream
                each_ms.append((time.monotonic() - each.begun_s) * 1e3)
                begin()
    poll.close()
    streams = [each for each in done if each is not None]
    return Dialled(streams, time.monotonic() - start_s, sorted(each_ms))


def _advance(each: _Opening, data: bytes) -> bool:
    """Takes what arrived; whether the script is at its end."""
    heard = each.heard
    heard += data
    step = each.steps[each.at]
    if step.refusal in heard:
        raise ConnectionError(bytes(heard)[-500:].decode(errors="replace"))
    if (found := heard.find(step.until)) < 0:
        return False
    each.at += 1
    del heard[: found + len(step.until)]
    if each.at == len(each.steps):
        each.stream.tail = bytes(heard)
        return True
    each.stream.send(each.steps[each.at].say)
    return False
