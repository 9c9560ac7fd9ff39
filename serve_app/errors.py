"""One table from what went wrong to what an HTTP client is told: application/problem+json (RFC 9457).

Nothing of a fault crosses it: neither ids nor input nor the text of an exception that is not ours.
"""

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.protocol import EngineError, ErrorCode
from identity.accounts import HandleInvalidError, RefreshRefusedError, SignInRefusedError, TooYoungError
from identity.connections import IllegalTransitionError, VersionRequiredError
from identity.groups import LastOwnerError, NotAllowedError
from identity.leaving import AccountGoneError, WrongPasswordError
from identity.memberships import DirectRoomError, FenceBoundError
from identity.pairs import NobodyError, SelfConnectionError
from identity.passwords import TooManySignInsError
from identity.tokens import TokenExpired, TokenInvalid
from serve_app.matching import MatcherAwayError
from storage.accounts import HandleTakenError

MEDIA_TYPE = "application/problem+json"
TRACE_KEY = "hereabouts.trace_id"
"""Where the ASGI scope holds the request's trace id (serve_app/tracing.py)."""

log = logging.getLogger("hereabouts.api")

STATUS: Mapping[ErrorCode, int] = {
    ErrorCode.INTERNAL: 503,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.UNKNOWN_CHANNEL: 404,
    ErrorCode.DENIED: 404,
    ErrorCode.UNKNOWN_VERB: 405,
    ErrorCode.ALREADY_SUBSCRIBED: 409,
    ErrorCode.LIMIT: 413,
    ErrorCode.BAD_REQUEST: 422,
    ErrorCode.NOT_AVAILABLE: 409,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.UNRECOVERABLE: 410,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.MOVED: 503,
    ErrorCode.BLOCKED: 404,
    ErrorCode.REJECTED: 422,
    ErrorCode.STALE_POSITION: 409,
}
"""The HTTP status of each code of docs/protocol.md §5."""

TITLES: Mapping[int, str] = {
    400: "Malformed request",
    401: "Not signed in",
    404: "Not found",
    405: "Method not allowed",
    409: "Not possible now",
    410: "Gone",
    412: "Precondition failed",
    413: "Too large",
    422: "Not accepted",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available at the moment",
}

_CODE_OF_STATUS = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.DENIED,
    404: ErrorCode.DENIED,
    405: ErrorCode.UNKNOWN_VERB,
    413: ErrorCode.LIMIT,
    429: ErrorCode.TOO_MANY_REQUESTS,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a request is wrong, and why."""

    where: str
    why: str


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is no success. `status` is that of the code unless given."""

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
        retry_ms: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = STATUS[code] if status is None else status
        self.headers = dict(headers or {})
        self.faults = faults
        self.retry_ms = retry_ms
        self.more = dict(more or {})


def not_found() -> Refusal:
    """Not there, or not yours: the two look alike, and no id is named."""
    return Refusal(ErrorCode.DENIED, "This is not here, or not yours.")


def invalid(detail: str, *faults: Fault) -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, detail, faults=faults)


def conflict(detail: str) -> Refusal:
    return Refusal(ErrorCode.NOT_AVAILABLE, detail)


def unauthorized(code: ErrorCode, detail: str) -> Refusal:
    return Refusal(code, detail, headers={"WWW-Authenticate": 'Bearer realm="hereabouts"'})


def unavailable(detail: str = "A part of the engine is away for a moment; ask again.") -> Refusal:
    return Refusal(ErrorCode.INTERNAL, detail, retry_ms=1000)


_FIXED: Mapping[type[Exception], Refusal] = {
    TokenInvalid: unauthorized(ErrorCode.UNAUTHORIZED, "An access token of this engine is needed."),
    TokenExpired: unauthorized(ErrorCode.TOKEN_EXPIRED, "The access token has expired: refresh it."),
    SignInRefusedError: unauthorized(ErrorCode.UNAUTHORIZED, "Handle and password do not match."),
    WrongPasswordError: unauthorized(ErrorCode.UNAUTHORIZED, "The password is not the account's."),
    AccountGoneError: unauthorized(ErrorCode.UNAUTHORIZED, "This account is not there any more."),
    RefreshRefusedError: unauthorized(ErrorCode.UNAUTHORIZED, "The refresh token is not valid (any more)."),
    TooManySignInsError: Refusal(ErrorCode.OVERLOADED, "Too many people sign in at once.", retry_ms=1000),
    HandleInvalidError: invalid(
        "A handle has 3 to 32 letters, digits, '_', '.' or '-', with a letter or digit at both ends.",
        Fault("body.handle", "not a handle"),
    ),
    HandleTakenError: conflict("This handle is taken."),
    TooYoungError: invalid(
        "Hereabouts is for people of 18 years and more.", Fault("body.birth_date", "below the minimum age")
    ),
    NobodyError: not_found(),
    NotAllowedError: not_found(),
    SelfConnectionError: invalid("There is no connection with yourself.", Fault("path.user", "is you")),
    VersionRequiredError: invalid(
        "To accept, name the version of the request that you saw.", Fault("body.version", "missing")
    ),
    LastOwnerError: conflict("The last owner can't leave: make somebody else owner first."),
    DirectRoomError: invalid(
        "A direct room has exactly one other member.", Fault("body.members", "not exactly one other")
    ),
    MatcherAwayError: unavailable("What knows who suits whom is away for a moment; ask again."),
    FenceBoundError: conflict("The fence has a room already."),
    asyncpg.ForeignKeyViolationError: not_found(),
    asyncpg.QueryCanceledError: unavailable(),
    asyncpg.PostgresConnectionError: unavailable(),
    asyncpg.CannotConnectNowError: unavailable(),
    asyncpg.TooManyConnectionsError: unavailable(),
    asyncpg.AdminShutdownError: unavailable(),
    asyncpg.CrashShutdownError: unavailable(),
    asyncpg.InterfaceError: unavailable(),
    asyncpg.InternalClientError: unavailable(),
    OSError: unavailable(),
    TimeoutError: unavailable(),
}


def refusal_of(error: Exception) -> Refusal:
    """What the client is told of an exception. An unexpected one is 500 and code 100."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, EngineError):
        status = 422 if error.code is ErrorCode.LIMIT else None
        return Refusal(error.code, _sentence(error.message), status=status, retry_ms=error.retry_ms)
    if isinstance(error, IllegalTransitionError):
        return conflict(_sentence(str(error)))
    if isinstance(error, RequestValidationError):
        return _validation(error)
    if isinstance(error, HTTPException):
        return _http(error)
    # The table is of our own and the drivers' kinds; the nearest ancestor decides.
    fixed = (_FIXED[kind] for kind in type(error).__mro__ if kind in _FIXED)
    return next(fixed, None) or Refusal(ErrorCode.INTERNAL, "The engine failed on this request.", status=500)


def problem_document(refusal: Refusal, trace_id: str) -> dict[str, Any]:
    """The problem+json object."""
    document: dict[str, Any] = {
        "type": f"urn:hereabouts:error:{refusal.code.value}",
        "title": TITLES.get(refusal.status, "Refused"),
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code.value,
        "temporary": refusal.code.temporary,
        "trace_id": trace_id,
    }
    if refusal.retry_ms is not None:
        document["retry_ms"] = refusal.retry_ms
    if refusal.faults:
        document["errors"] = [{"where": fault.where, "why": fault.why} for fault in refusal.faults]
    return document | refusal.more


def problem_response(error: Exception, trace_id: str) -> Response:
    """The response to an exception. Unexpected ones are logged with the trace id and where they came from;
    not with their text, which may hold what was sent.
    """
    refusal = refusal_of(error)
    if refusal.status == 500:
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("request %s failed: %s\n%s", trace_id, type(error).__name__, where)
    headers = dict(refusal.headers)
    if refusal.status in (429, 503):
        headers.setdefault("Retry-After", str(max(1, -(-(refusal.retry_ms or 1000) // 1000))))
    body = msgspec.json.encode(problem_document(refusal, trace_id))
    return Response(body, refusal.status, headers, MEDIA_TYPE)


async def answer_exception(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for all of them."""
    response = problem_response(error, request.scope.get(TRACE_KEY, ""))
    if response.status_code == 405:
        # The router names the methods of the first route that it found, a path may have several.
        path = getattr(request.scope.get("route"), "path", "")
        methods = request.app.openapi()["paths"].get(path)
        if methods:
            response.headers["Allow"] = ", ".join(sorted(method.upper() for method in methods))
    return response


HANDLED: tuple[type[Exception], ...] = (
    Refusal,
    EngineError,
    IllegalTransitionError,
    RequestValidationError,
    HTTPException,
    *_FIXED,
)
"""Exceptions with an answer of their own; all others are answered as unexpected by serve_app/tracing.py."""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _validation(error: RequestValidationError) -> Refusal:
    """Names places and reasons, never what was sent there: it may be a position or a password."""
    found = error.errors()
    malformed = any(each["type"] == "json_invalid" for each in found)
    faults = [
        Fault(".".join(str(part) for part in each["loc"][:8])[:200], str(each["msg"])[:200])
        for each in found[:20]
    ]
    if malformed:
        return Refusal(
            ErrorCode.BAD_REQUEST, "The body is not JSON.", status=400, faults=[Fault("body", "not JSON")]
        )
    return invalid("The request does not have the form that is asked for.", *faults)


def _http(error: HTTPException) -> Refusal:
    code = _CODE_OF_STATUS.get(error.status_code, ErrorCode.INTERNAL)
    details = {
        400: "The body can't be read.",
        404: "This is not here, or not yours.",
        405: "This resource does not have the method.",
        413: "A body is at most 1 MiB.",
    }
    detail = details.get(error.status_code, TITLES.get(error.status_code, "Refused."))
    return Refusal(code, detail, status=error.status_code, headers=error.headers)
