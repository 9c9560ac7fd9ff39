"""The two wire formats of `rt.v1` (docs/protocol.md §1)."""

import json
from typing import Any, Protocol

import msgpack

Frame = dict[str, Any]


class Codec(Protocol):
    """Frames to one WebSocket message and back."""

    subprotocol: str

    def encode(self, *frames: Frame) -> str | bytes:
        """One message that holds all `frames`."""

    def decode(self, message: str | bytes) -> list[Frame]:
        """The frames of one message; TypeError if it came as the other kind of WebSocket message."""


class Json:
    """Text messages, frames separated by newline."""

    subprotocol = "rt.v1.json"

    def encode(self, *frames: Frame) -> str:
        return "\n".join(json.dumps(frame, separators=(",", ":")) for frame in frames)

    def decode(self, message: str | bytes) -> list[Frame]:
        if not isinstance(message, str):
            raise TypeError("rt.v1.json came as a binary message")
        return [json.loads(line) for line in message.split("\n") if line]


class Msgpack:
    """Binary messages, frames concatenated; string keys, no bin or ext types."""

    subprotocol = "rt.v1.msgpack"

    def encode(self, *frames: Frame) -> bytes:
        return b"".join(msgpack.packb(frame) for frame in frames)

    def decode(self, message: str | bytes) -> list[Frame]:
        if not isinstance(message, bytes):
            raise TypeError("rt.v1.msgpack came as a text message")
        unpacker = msgpack.Unpacker(strict_map_key=True, raw=False, ext_hook=_no_ext)
        unpacker.feed(message)
        frames = list(unpacker)
        _refuse_bin(frames)
        return frames


def _no_ext(code: int, data: bytes) -> None:
    raise TypeError(f"ext type {code} ({len(data)} bytes) on the wire")


def _refuse_bin(value: object) -> None:
    if isinstance(value, bytes):
        raise TypeError("bin type on the wire")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_bin(key)
            _refuse_bin(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_bin(item)


CODECS: dict[str, Codec] = {"json": Json(), "msgpack": Msgpack()}
