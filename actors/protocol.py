"""The numbered tables of `rt.v1`: error codes, close codes, and the one exception that carries a code.

The tables are those of docs/protocol.md §5. `temporary` is the only retry signal a client gets.
"""

from enum import IntEnum

OFFSET_LIMIT = 2**53
"""Offsets stay below this, so that every JSON reader holds them exactly (RT-1)."""

RECOVERY_LIMIT = 300
"""The most publications that one resubscription recovers (RT-2)."""


class ErrorCode(IntEnum):
    """Why a command failed (docs/protocol.md §5)."""

    INTERNAL = 100
    UNAUTHORIZED = 101
    UNKNOWN_CHANNEL = 102
    DENIED = 103
    UNKNOWN_VERB = 104
    ALREADY_SUBSCRIBED = 105
    LIMIT = 106
    BAD_REQUEST = 107
    NOT_AVAILABLE = 108
    TOKEN_EXPIRED = 109
    TOO_MANY_REQUESTS = 111
    UNRECOVERABLE = 112
    OVERLOADED = 120
    MOVED = 121
    BLOCKED = 122
    REJECTED = 123
    STALE_POSITION = 124

    @property
    def temporary(self) -> bool:
        """Whether the same command may succeed later, unchanged."""
        return self in _TEMPORARY


_TEMPORARY = frozenset(
    {ErrorCode.INTERNAL, ErrorCode.TOO_MANY_REQUESTS, ErrorCode.OVERLOADED, ErrorCode.MOVED},
)


class CloseCode(IntEnum):
    """Why a socket was closed: 3000-3499 reconnect, 3500-3999 stop."""

    SHUTDOWN = 3001
    EXPIRED = 3005
    SLOW = 3008
    INSUFFICIENT_STATE = 3010
    FORCED_RECONNECT = 3011
    NO_PONG = 3012
    TOO_MANY = 3013
    INVALID_TOKEN = 3500
    BAD_REQUEST = 3501
    STALE = 3502
    FORCED = 3503
    CONNECTION_LIMIT = 3504
    DENIED = 3507

    @property
    def reconnect(self) -> bool:
        """Whether the client should come back."""
        return self < CloseCode.INVALID_TOKEN


class EngineError(Exception):
    """A command failed for a reason of the table; nothing else crosses a process boundary."""

    def __init__(self, code: ErrorCode, message: str, retry_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_ms = retry_ms
