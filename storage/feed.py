"""What the Matcher's table is fed with: everything as of one moment, then by offset what came after (ML-12).

State (who somebody is, tallies, what stands between two) is read again when a log says that it changed, so
reading a change twice does no harm; decisions are appended once each.
"""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.decisions import DecisionRow, TallyRow, read, tallies
from storage.offsets import AFTER, Offset

LIMIT = 5_000
"""Rows of a log that are read at once."""

_KINDS = ("user", "preferences", "connection")
"""Of aggregates whose events tell of something that the table holds."""

_LAST = 2**63 - 1

_COPIED = np.dtype(
    [("fields", ">i2"), ("l1", ">i4"), ("rater", "S16"), ("l2", ">i4"), ("ratee", "S16"), ("l3", ">i4"),
     ("likes", "?")]
)  # fmt: skip
_COPY_HEAD, _COPY_TAIL = 19, 2
"""Of COPY's binary format: each row is the number of its fields, and each field its length and itself."""


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person's account and preferences; without preferences, the defaults of that table. `is_seen`: their
    audience is everybody, and they are no ghost.
    """

    user: str
    status: str
    birth_date: date
    is_seen: bool
    precision: str
    is_listed: bool
    gender: str | None
    seeks: list[str]
    goals: list[str]
    age_from: int
    age_to: int
    within_m: int | None
    interests: list[str]
    answers: dict[str, dict[str, Any]]
    values_21: list[float] | None


@dataclass(frozen=True, slots=True)
class BetweenRow:
    low: str
    high: str
    blocked: bool
    matched: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far both logs are read."""

    decisions: Offset
    outbox: Offset


@dataclass(slots=True)
class Feed:
    """A part of what there is to know. `gone` are accounts that are being erased, or are."""

    cursor: Cursor
    people: list[PersonRow] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    tallies: dict[str, TallyRow] = field(default_factory=dict)
    decisions: list[DecisionRow] = field(default_factory=list)
    log: npt.NDArray[Any] | None = None
    """Decisions, many at once: `rater` and `ratee` as 16 bytes, `likes`."""
    between: list[BetweenRow] = field(default_factory=list)
    is_all: bool = True
    """False: there is more to be read at once, or a transaction that still runs holds some back."""


_PERSON = """
    SELECT u.id::text, u.status, u.birth_date,
           u.visibility_audience = 'everyone' AND NOT coalesce(u.ghost_until > now(), false),
           u.visibility_precision, coalesce(p.is_listed, true), p.gender, coalesce(p.seeks, '{}'),
           coalesce(p.goals, '{}'), coalesce(p.age_from, 18), coalesce(p.age_to, 150), p.within_m,
           coalesce(p.interests, '{}'), p.answers, p.values_21
    FROM users u LEFT JOIN preferences p ON p.user_id = u.id
"""
_GONE = ("deleting", "erased")


async def everything(connection: Any, take: Callable[[Feed], Awaitable[None]]) -> Cursor:
    """Gives all there is to `take` in parts, people before what is between them. Returns where to read on."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        settled = await _settled(connection)
        cursor = Cursor(settled, settled)
        async for rows in _parts(connection, _PERSON + "WHERE u.status <> ALL($1)", _GONE):
            await take(Feed(cursor, people=[_person(row) for row in rows]))
        async for rows in _parts(
            connection,
            "SELECT user_id::text, given, given_yes, received, received_yes, surprise FROM match_tallies",
        ):
            await take(Feed(cursor, tallies={row[0]: TallyRow(*row[1:]) for row in map(tuple, rows)}))
        await take(Feed(cursor, log=await _log(connection, settled)))
        async for rows in _parts(
            connection,
            "SELECT low_id::text, high_id::text, low_blocks OR high_blocks, state = 'matched' "
            "FROM connections WHERE low_blocks OR high_blocks OR state = 'matched'",
        ):
            await take(Feed(cursor, between=[BetweenRow(*row) for row in map(tuple, rows)]))
    return cursor


async def _parts(connection: Any, query: str, *arguments: Any) -> AsyncIterator[list[Any]]:
    cursor = await connection.cursor(query, *arguments)
    while rows := await cursor.fetch(LIMIT):
        yield rows


async def _log(connection: Any, settled: Offset) -> npt.NDArray[Any]:
    """All decisions up to an offset, in order: by COPY in its binary format, a fifth of the time of rows."""
    copied = io.BytesIO()
    await connection.copy_from_query(
        f"SELECT rater_id, ratee_id, likes FROM decisions WHERE xid <= '{settled.xid}'::xid8 "
        "ORDER BY xid, seq",
        output=copied,
        format="binary",
    )
    whole = copied.getbuffer()
    return np.frombuffer(whole[_COPY_HEAD:-_COPY_TAIL], _COPIED)


async def changes(connection: Any, after: Cursor, known: Container[str]) -> Feed:
    """What came after, at most LIMIT rows of each log; also who those are that are not `known` yet."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        settled = await _settled(connection)
        decided = await read(connection, after.decisions, LIMIT)
        events = await connection.fetch(
            "SELECT xid::text::bigint, seq, aggregate FROM outbox "
            f"WHERE {AFTER.format('$1', '$2')} AND split_part(aggregate, ':', 1) = ANY($3) "
            "ORDER BY xid, seq LIMIT $4",
            str(after.outbox.xid),
            after.outbox.seq,
            _KINDS,
            LIMIT,
        )
        parts = [event["aggregate"].split(":") for event in events]
        touched = {part[1] for part in parts if part[0] != "connection"}
        pairs = {(part[1], part[2]) for part in parts if part[0] == "connection"}
        deciding = {who for each in decided for who in (each.rater, each.ratee)}
        paired = {who for pair in pairs for who in pair}
        feed = await people(connection, touched | {who for who in deciding | paired if who not in known})
        feed.decisions = decided
        feed.tallies |= await tallies(connection, list(deciding))
        rows = await connection.fetch(
            "SELECT low_id::text, high_id::text, low_blocks OR high_blocks, state = 'matched' "
            "FROM connections JOIN unnest($1::uuid[], $2::uuid[]) AS asked (low, high) "
            "ON low_id = low AND high_id = high",
            [low for low, _ in pairs],
            [high for _, high in pairs],
        )
        feed.between = [BetweenRow(*row) for row in map(tuple, rows)]
        is_held_back = await connection.fetchval(
            "SELECT pg_snapshot_xmin(pg_current_snapshot()) < pg_snapshot_xmax(pg_current_snapshot())"
        )
    cut = len(decided) == LIMIT, len(events) == LIMIT
    feed.cursor = Cursor(
        decided[-1].offset if cut[0] else max(settled, after.decisions),
        Offset(events[-1][0], events[-1][1]) if cut[1] else max(settled, after.outbox),
    )
    feed.is_all = not (any(cut) or is_held_back)
    return feed


async def people(connection: Any, users: Collection[str]) -> Feed:
    """Who these are now; who is not there any more is `gone`. The cursor says nothing."""
    feed = Feed(Cursor(Offset(), Offset()))
    if not users:
        return feed
    rows = await connection.fetch(
        _PERSON + "WHERE u.id = ANY($1::uuid[]) AND u.status <> ALL($2)", list(users), _GONE
    )
    feed.people = [_person(row) for row in rows]
    feed.tallies = await tallies(connection, list(users))
    feed.gone = sorted(set(users) - {person.user for person in feed.people})
    return feed


def _person(row: Any) -> PersonRow:
    values = list(row)
    values[-2] = json.loads(values[-2] or "{}")
    return PersonRow(*values)


async def _settled(connection: Any) -> Offset:
    """The last offset before which nothing can be added any more."""
    xid = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return Offset(int(xid) - 1, _LAST)
