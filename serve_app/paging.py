"""A map's state, page by page, then what changed meanwhile, then live (RT-8, docs/protocol.md §2.5).

The gateway keeps the state that it was given with the first page, and the connection is no member: nothing is
pushed to it. With the last page the actor is asked again, and the difference goes beside it.
"""

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.protocol import EngineError, ErrorCode

if TYPE_CHECKING:
    from serve_app.hub import Subscription
    from serve_app.session import Session

PAGE = 100
PAGE_LIMIT = 1_000
CURSOR_S = 30.0
"""How long a page may be looked at."""

CATCH_UP_S = 5.0
"""A catch-up that takes longer ends the connection (3008)."""

AT_ONCE = 8
"""Maps that one connection reads page by page at the same time."""


@dataclass(slots=True, eq=False)
class Pages:
    """One map that is being read."""

    first: dict[str, Any]
    """The reply of the first page."""
    before: list[Any]
    """The whole state as it was then."""
    rest: list[Any]
    limit: int
    cursor: str = ""
    good_until_s: float = 0.0
    timer: asyncio.TimerHandle | None = None


def page_size(limit: int | None) -> int:
    """What a client's `limit` comes to."""
    return min(limit or PAGE, PAGE_LIMIT)


def first_page(session: "Session", subscription: "Subscription", result: dict[str, Any], limit: int) -> Any:
    """The `sub` result as it goes out: as it is if one page holds it. Raises EngineError."""
    state = result.get("state")
    if state is None:
        return result
    if len(state) <= limit:
        return result | {"phase": "live"}
    hub, connection = session.around.hub, session.connection
    if sum(each.pages is not None for each in connection.subscriptions.values()) >= AT_ONCE:
        hub.unsubscribe(connection, subscription.channel.name, clean=True)
        raise EngineError(ErrorCode.OVERLOADED, "too many maps are read page by page", 1000)
    hub.suspend(subscription)
    subscription.pages = pages = Pages(result, state, state[limit:], limit)
    _expects(session, subscription, pages)
    return result | {"phase": "state", "state": state[:limit], "cursor": pages.cursor}


def next_page(session: "Session", subscription: "Subscription | None", cursor: str) -> dict[str, Any]:
    """What stands behind a cursor; in phase live the page still lacks what changed. Raises EngineError."""
    pages = None if subscription is None else subscription.pages
    if pages is None or pages.cursor != cursor or session.around.clock() > pages.good_until_s:
        raise EngineError(ErrorCode.UNRECOVERABLE, "this cursor is not good any more: subscribe without one")
    assert subscription is not None
    page, pages.rest = pages.rest[: pages.limit], pages.rest[pages.limit :]
    if pages.rest:
        _expects(session, subscription, pages)
        return pages.first | {"phase": "state", "state": page, "cursor": pages.cursor}
    pages.cursor = ""
    if pages.timer is not None:
        pages.timer.cancel()
    return pages.first | {"phase": "live", "state": page}


def caught_up(pages: Pages, page: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    """The last page with what changed since the first, of a `sub` result of now."""
    page = page | {"epoch": reply["epoch"], "offset": reply["offset"]}
    if "k" in reply:
        return page | {"k": reply["k"]}
    if pages.before and isinstance(pages.before[0], dict):
        joins, leaves = _people(pages.before, reply["state"])
        return page | ({"j": joins} if joins else {}) | ({"l": leaves} if leaves else {})
    return page | {"k": _rows(pages.before, reply["state"])}


def _people(before: list[Any], after: list[Any]) -> tuple[list[Any], list[Any]]:
    then, now = ({meta["ref"]: meta for meta in metas} for metas in (before, after))
    joins = [meta for ref, meta in now.items() if then.get(ref) != meta]
    return joins, [meta for ref, meta in then.items() if ref not in now]


def _rows(before: list[Any], after: list[Any]) -> list[Any]:
    then, now = ({row[0]: row for row in rows} for rows in (before, after))
    removals = [[key, "-"] for key in then if key not in now]
    return removals + [
        [key, "+", *row[1:]] for key, row in now.items() if key not in then or then[key][1] != row[1]
    ]


def _expects(session: "Session", subscription: "Subscription", pages: Pages) -> None:
    pages.cursor = secrets.token_urlsafe(9)
    pages.good_until_s = session.around.clock() + CURSOR_S
    if pages.timer is not None:
        pages.timer.cancel()
    loop = asyncio.get_running_loop()
    pages.timer = loop.call_later(CURSOR_S, abandoned, session, subscription, pages.cursor)


def abandoned(session: "Session", subscription: "Subscription", cursor: str) -> None:
    """Nobody came for the next page: the subscription ends."""
    pages = subscription.pages
    if pages is None or pages.cursor != cursor or subscription.is_gone:
        return
    session.around.hub.unsubscribe(session.connection, subscription.channel.name, clean=True)
    session.subscriptions_changed()
