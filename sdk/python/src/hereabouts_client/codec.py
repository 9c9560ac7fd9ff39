"""Frames to WebSocket messages and back (protocol §1): several frames share a message of at most 64 KiB."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")

MESSAGE_LIMIT_BYTES = 65_536

Encoding = Literal["json", "msgpack"]


class Codec(Protocol):
    """One of the two encodings."""

    subprotocol: str

    def encode(self, frames: Iterable[Any]) -> list[str] | list[bytes]:
        """As few messages as hold the frames."""

    def decode(self, message: str | bytes) -> list[Any]:
        """The frames of a message. Raises ValueError."""


class Json:
    """Text, frames separated by a newline."""

    subprotocol = "rt.v1.json"

    def encode(self, frames: Iterable[Any]) -> list[str]:
        lines = [json.dumps(frame, separators=(",", ":"), allow_nan=False) for frame in frames]
        return ["\n".join(group) for group in _groups(lines, lambda line: len(line) + 1)]

    def decode(self, message: str | bytes) -> list[Any]:
        if isinstance(message, bytes):
            raise ValueError("rt.v1.json came as a binary message")  # noqa: TRY004
        return [json.loads(line) for line in message.split("\n") if line]


class MessagePack:
    """Binary, frames one after the other; needs the extra `msgpack`."""

    subprotocol = "rt.v1.msgpack"

    def __init__(self) -> None:
        import msgpack  # noqa: PLC0415 - an extra

        self._pack: Any = msgpack.packb
        self._unpacker: Any = msgpack.Unpacker

    def encode(self, frames: Iterable[Any]) -> list[bytes]:
        packed = [self._pack(frame) for frame in frames]
        return [b"".join(group) for group in _groups(packed, len)]

    def decode(self, message: str | bytes) -> list[Any]:
        if isinstance(message, str):
            raise ValueError("rt.v1.msgpack came as a text message")  # noqa: TRY004
        unpacker = self._unpacker(max_buffer_size=max(len(message), 1))
        unpacker.feed(message)
        frames = list(unpacker)
        if unpacker.read_bytes(1):
            raise ValueError("a frame is cut off")
        return frames


def _groups(parts: list[T], size: Callable[[T], int]) -> Iterable[list[T]]:
    """Parts in order, as many together as fit a message."""
    group: list[T] = []
    held = 0
    for part in parts:
        length = size(part)
        if group and held + length > MESSAGE_LIMIT_BYTES:
            yield group
            group, held = [], 0
        group.append(part)
        held += length
    if group:
        yield group


def codec_of(encoding: Encoding) -> Codec:
    """The codec by its name."""
    return Json() if encoding == "json" else MessagePack()
