"""Identifiers as types. Every id is a UUIDv7 in canonical text form (RFC 9562), so ids sort by creation."""

from typing import NewType
from uuid import UUID

import uuid_utils

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
FenceId = NewType("FenceId", str)
SessionId = NewType("SessionId", str)
MessageId = NewType("MessageId", str)


def new_id() -> str:
    """A fresh UUIDv7 as text."""
    return str(uuid_utils.uuid7())


def is_id(text: object) -> bool:
    """Whether `text` is a UUID in the canonical lower-case form, the only form that ids take on the wire."""
    if not isinstance(text, str) or len(text) != 36:
        return False
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
