"""Where the WebSocket is: gateways come and go, so it is asked before each connection (protocol §1)."""

import asyncio
import json
import urllib.request
from typing import Literal

Proxy = str | Literal[True] | None
"""As `websockets` takes it: True is the environment's, None is none."""
ASK_S = 5.0


async def gateways(url: str, proxy: Proxy) -> list[str]:
    """The addresses to try, best first: a `ws` address is itself, an `http` one is asked. Raises OSError."""
    if url.startswith(("ws://", "wss://")):
        return [url]
    answer = await asyncio.to_thread(_ask, url.rstrip("/") + "/v1/rt", proxy)
    return [answer["url"], answer["fallback"]]


def _ask(url: str, proxy: Proxy) -> dict[str, str]:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is no http, https, ws or wss address")
    given = {"http": proxy, "https": proxy} if isinstance(proxy, str) else {}
    handlers = [] if proxy is True else [urllib.request.ProxyHandler(given)]
    with urllib.request.build_opener(*handlers).open(url, timeout=ASK_S) as answer:
        found: dict[str, str] = json.load(answer)
        return found
