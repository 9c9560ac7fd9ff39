"""Identifiers as types. Every id is a UUIDv7 in canonical text form (RFC 9562), so ids sort by creation."""

import re
from typing import NewType

import uuid_utils

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
FenceId = NewType("FenceId", str)
ShareId = NewType("ShareId", str)
PlaceId = NewType("PlaceId", str)
SessionId = NewType("SessionId", str)
MessageId = NewType("MessageId", str)


_CANONICAL = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII).fullmatch


def new_id() -> str:
    """A fresh UUIDv7 as text."""
    return str(uuid_utils.uuid7())


def is_id(text: object) -> bool:
    """Whether `text` is a UUID in the canonical lower-case form, the only form that ids take on the wire."""
    return isinstance(text, str) and _CANONICAL(text) is not None
