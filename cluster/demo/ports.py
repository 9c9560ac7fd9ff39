"""The engine's HTTP port, as anybody may use it: register, log in, create rooms and fences."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_S = 20.0
TRIES = 6
WAIT_MOST_S = 15.0


class PortError(Exception):
    """The engine refused a request; `status` is the HTTP status, 0 when it could not be reached."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}" if status else detail)
        self.status = status


class Ports:
    """Requests to one engine. Too many requests (429) and a short absence (503) are waited out."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    async def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """Answers the decoded JSON body; raises PortError."""
        wait_s = 0.5
        for last in range(TRIES):
            try:
                return await asyncio.to_thread(self._call, method, path, body, token)
            except PortError as refused:
                if refused.status not in (429, 503) or last == TRIES - 1:
                    raise
                wait_s = min(getattr(refused, "retry_after_s", None) or wait_s * 2, WAIT_MOST_S)
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _call(self, method: str, path: str, body: Any, token: str | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json"}
            | ({} if body is None else {"Content-Type": "application/json"})
            | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                text = response.read()
        except urllib.error.HTTPError as refused:
            with refused:
                error = PortError(refused.code, _detail(refused.read(), refused.reason))
                seconds = refused.headers.get("Retry-After", "")
            error.retry_after_s = float(seconds) if seconds.isdigit() else None  # type: ignore[attr-defined]
            raise error from None
        except (OSError, ValueError) as unreachable:
            raise PortError(0, f"{self.url} does not answer: {unreachable}") from None
        return json.loads(text) if text else None


def _detail(text: bytes, otherwise: str) -> str:
    try:
        problem = json.loads(text)
    except ValueError:
        return otherwise
    return str(problem.get("detail") or problem.get("title") or otherwise)
