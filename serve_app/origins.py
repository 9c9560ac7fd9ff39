"""Which browser pages may open a WebSocket here (docs/protocol.md §1).

A second line: nothing is ambient in this protocol (the token stands in the first frame), so a foreign page
could do nothing with a socket but hold it.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def origin_allowed(origin: str | None, host: str | None, allowed: Collection[str]) -> bool:
    """Whether a page of `origin` may connect to `host` (the request's headers).

    Without an Origin it is no browser. Pages of the same host are allowed, whatever their port, and pages of
    this machine where the server is addressed as this machine; others only if `allowed` names them.
    """
    if origin is None or origin in allowed:
        return True
    try:
        page = urlsplit(origin)
        page_host = page.hostname if page.scheme in ("http", "https") else None
        own_host = urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return False
    if page_host is None or own_host is None:
        return False
    return page_host == own_host or (page_host in _LOOPBACK and own_host in _LOOPBACK)
