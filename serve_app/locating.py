"""Fixes of a user's own position, most of what a busy gateway reads (GEO-4, docs/protocol.md §2.1).

A message that is one `pos` frame and nothing else is decoded in one go. What is not, or is wrong in any way,
takes the ordinary way, which says what is wrong.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from actors import messages as wire
from actors.protocol import EngineError
from serve_app.commands import Fix, Milliseconds
from serve_app.frames import FrameId

if TYPE_CHECKING:
    from serve_app.session import Session

LIMIT_BYTES = 256
"""No `pos` frame that a device writes is longer."""

_MAP_OF_NONE = 0x80
"""MessagePack's map of up to 15 pairs: this and their number."""


class FixFrame(msgspec.Struct, gc=False):
    """A `pos` frame."""

    pos: Fix
    id: FrameId | UnsetType = UNSET
    seq: Milliseconds | UnsetType | None = UNSET


_from_json = msgspec.json.Decoder(FixFrame).decode
_from_packed = msgspec.msgpack.Decoder(FixFrame).decode


def only_a_fix(payload: bytes, *, packed: bool) -> FixFrame | None:
    """The frame, if it is all that the message holds: no other key, no other frame."""
    if len(payload) > LIMIT_BYTES or b"pos" not in payload:
        return None
    try:
        frame = _from_packed(payload) if packed else _from_json(payload)
    except (msgspec.MsgspecError, ValueError):
        return None
    keys = 1 + (frame.id is not UNSET) + (frame.seq is not UNSET)
    # A fix holds numbers only, so in JSON all strings of the frame are its keys, each between two quotes.
    is_all = payload[0] == _MAP_OF_NONE | keys if packed else payload.count(b'"') == 2 * keys
    return frame if is_all else None


def takes_fix(session: "Session", payload: bytes, *, is_text: bool) -> bool:
    """Whether the message was a fix and nothing else, and is seen to."""
    packed = session.connection.codec.packed
    frame = None if is_text is packed else only_a_fix(payload, packed=packed)
    if frame is None:
        return False
    session.heard()
    frame_id = None if frame.id is UNSET else frame.id
    try:
        locate(session, frame_id, frame.pos, None if frame.seq is UNSET else frame.seq)
    except EngineError as error:
        session.fail(frame_id, error)
    return True


def locate(session: "Session", frame_id: int | None, fix: Fix, seq: int | None) -> None:
    """Sends a fix to the user's actor; answered if it has an id. Raises EngineError 111 and 120."""
    connection, around = session.connection, session.around
    if frame_id is None:
        if session.positions.take(around.clock()):
            return
    else:
        session.take(session.positions)
    message = wire.Position(
        0, connection.user, fix.lat, fix.lon, fix.acc_m, fix.t_ms, fix.speed_mps, fix.heading_deg, seq
    )
    if frame_id is None:
        around.router.cast_at(connection.slot, message)
    else:
        session.begins()
        around.router.call_at(connection.slot, message, partial(_answered, session, frame_id))


def _answered(session: "Session", frame_id: int, _: Any, error: EngineError | None) -> None:
    session.ends()
    if not session.is_open:
        return
    if error is None:
        connection = session.connection
        connection.queue(connection.codec.located(frame_id))
    else:
        session.fail(frame_id, error)
