"""The outermost layer of HTTP: a trace id for each request, the access log, an answer to every exception.

The log names methods, route templates, statuses and times: never a path as it was asked for, a query, a
header or a body, so neither tokens nor ids nor coordinates can be in it (PRIV-8).
"""

import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import TRACE_KEY, problem_response

access_log = logging.getLogger("hereabouts.access")

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")


class Tracing:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = scope[TRACE_KEY] = _trace_id(Headers(scope=scope))
        started_s = time.perf_counter()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            if status:
                raise  # half an answer is out: nothing more can be said
            await problem_response(error, trace_id)(scope, receive, send_and_note)
        finally:
            access_log.info(
                "%s %s %d %.1f ms %s",
                scope["method"],
                _template(scope),
                status,
                (time.perf_counter() - started_s) * 1000,
                trace_id,
            )


def _trace_id(headers: Headers) -> str:
    """That of a W3C `traceparent` header, else a new one."""
    given = _TRACEPARENT.match(headers.get("traceparent", ""))
    return given[1] if given else secrets.token_hex(16)


def _template(scope: Any) -> str:
    route = scope.get("route")
    return getattr(route, "path", "-")
