"""Acting on a connection, in one transaction, and reading one's own (CONN-1, CONN-13)."""

from datetime import datetime
from typing import Any

from identity.connections import Action, Step, View, other_of, settle, step, view
from identity.feedback import LIKES, learn
from storage.accounts import living_users
from storage.connections import lock_pair, pairs_of, save_pair, shared_rooms
from storage.decisions import lock_both
from storage.ids import UserId
from storage.outbox import Touch, append_user_event, write_event
from storage.shares import end_between

_ENDS_SHARES = ("unmatched", "blocked")

_MOVES_SIGHT = ("matched", "unmatched", "blocked", "unblocked")
"""Events after which one of the two may see more or less of the other than before."""


class NobodyError(Exception):
    """There is nobody with this id, or the actor must not know that there is."""


class SelfConnectionError(Exception):
    """A person has no connection with themselves."""


async def act(
    pool: Any,
    me: UserId,
    other: UserId,
    action: Action,
    now: datetime,
    *,
    expected_version: int | None = None,
    model: str | None = None,
    source: str | None = None,
) -> tuple[View, list[Touch]]:
    """Carries out `action` and returns the pair as `me` sees it, and the virtual actors it touched.

    A request, an acceptance and a pass that change something are decisions that matching learns from;
    `model` says whose score was seen, `source` what had brought the two together.
    Raises NobodyError, SelfConnectionError, IllegalTransitionError (VersionMismatchError) or
    VersionRequiredError; nothing is stored then, but for a block by somebody who is blocked already.
    """
    if me == other:
        raise SelfConnectionError
    low, high = sorted((me, other))
    async with pool.acquire() as connection, connection.transaction():
        if action in LIKES:
            # First of all: a transaction's id, which orders the log, is given out at its first write.
            await lock_both(connection, me, other)
        if len(await living_users(connection, [me, other])) < 2:
            raise NobodyError
        row = await lock_pair(connection, low, high, now)
        outcome = step(row, me, action, now, expected_version=expected_version)
        touches: list[Touch] = []
        if outcome.pair != row:
            await save_pair(connection, outcome.pair)
        if outcome.event is not None:
            touches = await _tell(connection, me, outcome)
        if action in LIKES and outcome.pair != settle(row, now):
            await learn(connection, me, other, LIKES[action], now, model, source)
    seen = view(outcome.pair, me, now)
    if seen is None or not outcome.found:
        raise NobodyError
    return seen, touches


async def _tell(connection: Any, me: UserId, outcome: Step) -> list[Touch]:
    pair, event = outcome.pair, outcome.event
    touches: list[Touch] = [("user", user) for user in outcome.told]
    told: list[tuple[str, dict[str, Any]]] = [
        (
            user,
            {
                "type": f"connection.{event}",
                "v": 1,
                "user": other_of(pair, user),
                "version": pair.version,
            },
        )
        for user in outcome.told
    ]
    if event in _ENDS_SHARES:
        told += await end_between(connection, pair.low, pair.high)
    for user, body in sorted(told, key=lambda each: each[0]):
        await append_user_event(connection, user, body)
    if event in _MOVES_SIGHT:
        touches += [("user", pair.low), ("user", pair.high)]
        touches += [("room", room) for room in await shared_rooms(connection, pair.low, pair.high)]
    await write_event(
        connection,
        type=f"connection.{event}",
        aggregate=f"connection:{pair.low}:{pair.high}",
        payload={"by": me, "version": pair.version},
        touches=touches,
    )
    return list(dict.fromkeys(touches))


async def list_views(
    connection: Any, me: UserId, now: datetime, *, state: str | None, after: str | None, limit: int
) -> tuple[list[View], str | None]:
    """The connections of `me` in `state` (None: in any but none), by the other's id, and where to go on.

    What must not be seen is left out, so a page may be short although more follow.
    """
    rows = await pairs_of(connection, me, after=after, limit=limit + 1)
    seen = [view(row, me, now) for row in rows[:limit]]
    items = [
        each
        for each in seen
        if each is not None and (each.state == state if state is not None else each.state != "none")
    ]
    return items, other_of(rows[limit - 1], me) if len(rows) > limit else None
