"""What can go wrong, for the app.

HereaboutsError
├── RefusedError      the engine said no, with a code of the protocol's table
├── LostError         the connection broke before the answer, or there is none now: try again
├── ClosedError       this client has stopped
├── QueueFullError    more publications wait than `queue_limit`
├── DuplicateError    a publication with this cid waits already
└── NoTokenError      for token providers: there is no token and will be none; the client stops
"""

from hereabouts_client.effects import Kind


class HereaboutsError(Exception):
    """Of this package."""


class RefusedError(HereaboutsError):
    """`temporary` is the only sign that the same may succeed later; `retry_ms` says when, if known."""

    def __init__(
        self, code: int, reason: str, *, temporary: bool = False, retry_ms: int | None = None
    ) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.temporary = temporary
        self.retry_ms = retry_ms


class LostError(HereaboutsError):
    """Not answered; whether it was done is not known."""


class ClosedError(HereaboutsError):
    """`code` is what `Stopped` said."""

    def __init__(self, code: int = 1000, reason: str = "closed") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class QueueFullError(HereaboutsError):
    """The newest publication loses: this one was not queued."""


class DuplicateError(HereaboutsError):
    """Await the first one."""


class NoTokenError(HereaboutsError):
    """Raised by a token provider that will not have a token again, such as after a sign-out."""


def failure(
    kind: Kind,
    code: int | None,
    reason: str | None,
    *,
    temporary: bool = False,
    retry_ms: int | None = None,
) -> HereaboutsError:
    """The exception for what the core tells."""
    match kind:
        case "refused":
            return RefusedError(code or 100, reason or "", temporary=temporary, retry_ms=retry_ms)
        case "closed":
            return ClosedError()
        case "full":
            return QueueFullError("too many publications wait for their acknowledgement")
        case "duplicate":
            return DuplicateError("a publication with this cid waits already")
        case "lost":
            return LostError("the connection broke before the answer")
        case "offline":
            return LostError("there is no connection now")
