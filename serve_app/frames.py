"""The wire codec of `rt.v1`: one WebSocket message to frames, and replies and pushes to bytes.

Two encodings with one schema (docs/protocol.md §1): JSON text, frames separated by newline, and
MessagePack, frames concatenated, string keys, no bin and no ext types. Inside the engine a body `d` is
canonical JSON; it is made here, once, and what is made here can be decoded by everybody downstream.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Protocol

import msgpack
import msgspec

from actors.protocol import EngineError, ErrorCode

MESSAGE_LIMIT_BYTES = 64 * 1024
"""The longest inbound WebSocket message, and where outgoing frames stop being joined."""

DEPTH_LIMIT = 32
"""How deep arrays and maps may nest in a body."""

HEADROOM = 14
"""Free bytes before the payload of an outgoing message: the transport writes its own header there, so a
message is built once and handed to every member without a copy (D6)."""

Envelope = dict[str, msgspec.Raw]
"""One frame: its keys, and their values not decoded yet."""

FrameId = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class UndecodableError(Exception):
    """The bytes are not the encoding that was agreed on: nothing after them can be trusted."""


class MalformedError(EngineError):
    """A frame or a body that breaks a rule of the protocol (107)."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BAD_REQUEST, message)


class Codec(Protocol):
    """One of the two encodings."""

    name: str
    """The WebSocket subprotocol."""
    packed: bool
    """MessagePack, in binary messages; else JSON, in text messages."""
    ping: bytes

    def frames(self, payload: bytes) -> list[bytes]:
        """The frames of one inbound message. Raises UndecodableError."""

    def envelope(self, frame: bytes) -> Envelope:
        """The keys of a frame. Raises MalformedError."""

    def decode(self, raw: msgspec.Raw, kind: Any) -> Any:
        """A value of the frame as `kind`. Raises MalformedError with the place of the error."""

    def canonical(self, raw: msgspec.Raw) -> bytes:
        """A body as canonical JSON. Raises MalformedError."""

    def encode(self, value: Any) -> bytes:
        """One frame to a client."""

    def from_json(self, frame: bytes) -> bytes:
        """One frame to a client, of its JSON text."""

    def located(self, frame_id: int) -> bytes:
        """The reply to a `pos` that is ok."""

    def message(self, frames: Iterable[bytes]) -> bytearray:
        """Joins frames into one WebSocket message, with head room."""


_Refused = (msgspec.MsgspecError, ValueError, RecursionError)
_to_json = msgspec.json.Encoder().encode
_to_packed = msgspec.msgpack.Encoder().encode
_from_json = msgspec.json.Decoder().decode
_from_packed = msgspec.msgpack.Decoder().decode
_HEAD = bytes(HEADROOM)


class _Json:
    name = "rt.v1.json"
    packed = False
    ping = b"{}"

    def __init__(self) -> None:
        self._envelope = msgspec.json.Decoder(Envelope).decode
        self._decoders: dict[Any, Any] = {}

    def frames(self, payload: bytes) -> list[bytes]:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise UndecodableError("the text is not UTF-8") from error
        if b"\n" not in payload:
            return [payload]
        return [line for line in payload.split(b"\n") if line and not line.isspace()]

    def envelope(self, frame: bytes) -> Envelope:
        try:
            return self._envelope(frame)
        except _Refused as error:
            raise MalformedError(f"not a JSON object: {error}") from error

    def decode(self, raw: msgspec.Raw, kind: Any) -> Any:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.json.Decoder(kind).decode
        try:
            return decoder(raw)
        except _Refused as error:
            raise MalformedError(str(error)) from error

    def canonical(self, raw: msgspec.Raw) -> bytes:
        text = bytes(raw)
        try:
            value = _from_json(text)
            if text.count(b"[") + text.count(b"{") > DEPTH_LIMIT:
                check_body(value)
            return canonical_json(value)
        except _Refused as error:
            raise MalformedError(str(error)) from error

    def encode(self, value: Any) -> bytes:
        return _to_json(value)

    def from_json(self, frame: bytes) -> bytes:
        return frame

    def located(self, frame_id: int) -> bytes:
        return b'{"id":%d,"pos":{"ok":true}}' % frame_id

    def message(self, frames: Iterable[bytes]) -> bytearray:
        message = bytearray(_HEAD)
        message += b"\n".join(frames)
        return message


class _Packed:
    name = "rt.v1.msgpack"
    packed = True
    ping = b"\x80"

    def __init__(self) -> None:
        self._envelope = msgspec.msgpack.Decoder(Envelope).decode
        self._decoders: dict[Any, Any] = {}

    def frames(self, payload: bytes) -> list[bytes]:
        """Msgspec decodes one value and refuses what follows it; `msgpack` finds where values end."""
        unpacker = msgpack.Unpacker(max_buffer_size=max(len(payload), 1), read_size=max(len(payload), 1))
        unpacker.feed(payload)
        frames, start = [], 0
        try:
            while start < len(payload):
                unpacker.skip()
                end = unpacker.tell()
                frames.append(payload[start:end])
                start = end
        except (msgpack.exceptions.UnpackException, ValueError) as error:
            raise UndecodableError("not MessagePack, or cut off") from error
        return frames

    def envelope(self, frame: bytes) -> Envelope:
        try:
            return self._envelope(frame)
        except _Refused as error:
            raise MalformedError(f"not a map with string keys: {error}") from error

    def decode(self, raw: msgspec.Raw, kind: Any) -> Any:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.msgpack.Decoder(kind).decode
        try:
            return decoder(raw)
        except _Refused as error:
            raise MalformedError(str(error)) from error

    def canonical(self, raw: msgspec.Raw) -> bytes:
        try:
            value = _from_packed(raw)
            check_body(value)
            return canonical_json(value)
        except _Refused as error:
            raise MalformedError(str(error)) from error

    def encode(self, value: Any) -> bytes:
        try:
            return _to_packed(value)
        except OverflowError:
            return _to_packed(_narrowed(value))

    def from_json(self, frame: bytes) -> bytes:
        return self.encode(_from_json(frame))

    def located(self, frame_id: int) -> bytes:
        return _to_packed({"id": frame_id, "pos": {"ok": True}})

    def message(self, frames: Iterable[bytes]) -> bytearray:
        message = bytearray(_HEAD)
        message += b"".join(frames)
        return message


JSON: Codec = _Json()
PACKED: Codec = _Packed()
CODECS: dict[str, Codec] = {codec.name: codec for codec in (JSON, PACKED)}


def chosen_codec(offered: Iterable[str]) -> tuple[Codec, str | None]:
    """The codec of the first offered subprotocol that we know, and its name; none offered means JSON."""
    for name in offered:
        if name in CODECS:
            return CODECS[name], name
    return JSON, None


def canonical_json(value: Any) -> bytes:
    """`value` as JSON text that every reader of the engine can decode: integers beyond 64 bits become
    floats, since MessagePack has none. Raises ValueError where a float can't hold one either.
    """
    try:
        _to_packed(value)
    except OverflowError:
        value = _narrowed(value)
    return _to_json(value)


def check_body(value: Any) -> None:
    """Raises ValueError unless `value` is what JSON can say, nested at most DEPTH_LIMIT deep.

    Level by level and not by recursion: the depth of hostile input must not become ours.
    """
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                if not all(type(key) is str for key in item):
                    raise ValueError("a key is not a string")
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            elif kind is float:
                if not math.isfinite(item):
                    raise ValueError("a number is not finite")
            elif kind is not str and kind is not int and kind is not bool and item is not None:
                raise ValueError("binary and extension types are not allowed")
        if not below:
            return
        level = below
    raise ValueError(f"nested more than {DEPTH_LIMIT} deep")


def _narrowed(value: Any) -> Any:
    """A copy of `value` whose integers fit MessagePack."""
    if isinstance(value, dict):
        return {key: _narrowed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_narrowed(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError("a number is out of range") from error
    return value


def error_body(error: EngineError) -> dict[str, Any]:
    """The `err` object of a failed command (docs/protocol.md §2)."""
    body: dict[str, Any] = {"code": int(error.code), "msg": error.message, "temp": error.code.temporary}
    if error.retry_ms is not None:
        body["retry_ms"] = error.retry_ms
    return body
