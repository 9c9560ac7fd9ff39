"""Whom to suggest to somebody: the Matcher's answer or a batch's rows, each held to what is true now."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from actors import messages as wire
from actors.protocol import EngineError
from serve_app.matching import MatcherAwayError
from serve_app.services import Services
from serve_app.trials import alias_for
from storage.ids import UserId
from storage.recommendations import (
    Kind,
    RecommendationRow,
    may_be_grouped,
    may_be_shown,
    rooms_open_to,
    rows_of,
)

PATIENCE_S = 0.5
"""How long is waited for who is near; without them there are others to suggest."""
REACH_M, NEAR_LIMIT = 5_000.0, 50
LIKELY = 100
"""People whose groups are looked at."""
TELLING = 3
"""So many likely people are in a group at least; a score of fewer would tell who they are."""

Why = Sequence[tuple[str, float]]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody suggested; `why` are true contributions (MATCH-15)."""

    user: str
    score: float
    model: str
    source: str | None
    why: Why


@dataclass(frozen=True, slots=True)
class Group:
    """A room that one may enter, or people to make one with."""

    room: str | None
    name: str | None
    members: tuple[str, ...]
    score: float
    model: str
    why: Why


@dataclass(frozen=True, slots=True)
class Found(Generic[Item]):
    """As of when it was computed; `is_live`: for this very request, else by a batch."""

    items: list[Item]
    model: str | None
    as_of: datetime
    is_live: bool


async def people_now(here: Services, me: UserId, limit: int) -> Found[Person]:
    """By the Matcher, who is near included. Raises MatcherAwayError."""
    if here.matcher.is_full:
        raise MatcherAwayError  # before anything else is asked for it
    near, alias = await asyncio.gather(_near(here, me), _alias(here, me))
    found = await here.matcher.recommend(me, near, limit, alias)
    async with here.pool.acquire() as connection:
        shown = await may_be_shown(connection, me, [row.user for row in found.rows], here.now.date())
    items = [
        Person(row.user, row.score, found.model, row.source, row.why)
        for row in found.rows
        if row.user in shown
    ]
    return Found(items[:limit], found.model, here.now, is_live=True)


async def _alias(here: Services, me: UserId) -> str:
    async with here.pool.acquire() as connection:
        return await alias_for(connection, me)


async def _near(here: Services, me: UserId) -> list[tuple[str, float]]:
    """Whom I may see near me, with the end of the distance band in metres; nobody while that can't be told,
    or where I have looked too often.
    """
    if here.router.view.version == 0:
        return []  # no Directory, so nobody is anywhere
    query = wire.NearQuery(0, me, REACH_M, NEAR_LIMIT)
    try:
        async with asyncio.timeout(PATIENCE_S):
            reply = await here.router.request("user", me, query)
    except (EngineError, TimeoutError):
        return []
    return [(row["user"], 1_000.0 * float(row["band"].removeprefix("<"))) for row in reply["items"]]


async def people_of_batch(here: Services, me: UserId, kind: Kind, limit: int) -> Found[Person] | None:
    """What the last batch has, None where there was none."""
    async with here.pool.acquire() as connection:
        # Twice as many, as some may have to be left out by now.
        rows = await rows_of(connection, me, kind, limit=2 * limit)
        shown = await may_be_shown(connection, me, [row.subject for row in rows], here.now.date())
    items = [
        Person(row.subject, row.score, row.model, row.detail.get("source"), why_of(row.detail))
        for row in rows
        if row.subject in shown
    ]
    return _of_batch(rows, items[:limit])


async def people_either(here: Services, me: UserId, limit: int, *, live_first: bool) -> Found[Person]:
    """Live or of the batch, whichever is asked for first and has anything; raises MatcherAwayError where
    there is no batch and the Matcher is away.
    """
    batch = None if live_first else await people_of_batch(here, me, "people", limit)
    if batch is not None and batch.items:
        return batch
    try:
        return await people_now(here, me, limit)
    except MatcherAwayError:
        batch = batch or await people_of_batch(here, me, "people", limit)
        if batch is None:
            raise
        return batch


async def groups_of_batch(here: Services, me: UserId, limit: int) -> Found[Group] | None:
    """What the last batch has, without people who may not be shown, and groups of fewer than two others."""
    async with here.pool.acquire() as connection:
        rows = await rows_of(connection, me, "groups", limit=2 * limit)
        named = {user for row in rows for user in row.detail.get("members", ())}
        shown = await may_be_grouped(connection, me, named, here.now.date())
        open_rooms = {each.room: each for each in await rooms_open_to(connection, me, [])}
    items: list[Group] = []
    for row in rows:
        members = tuple(user for user in row.detail.get("members", ()) if user in shown)
        if len(members) >= 2:
            items.append(Group(None, None, members, row.score, row.model, why_of(row.detail)))
        elif row.subject in open_rooms:
            name = open_rooms[row.subject].name
            items.append(Group(row.subject, name, (), row.score, row.model, why_of(row.detail)))
    return _of_batch(rows, items[:limit])


async def groups_now(here: Services, me: UserId, limit: int) -> Found[Group]:
    """Groups that I am invited to, by how likely the people in them are for me. Raises MatcherAwayError."""
    likely = await people_now(here, me, LIKELY)
    scores = {each.user: each.score for each in likely.items}
    async with here.pool.acquire() as connection:
        rooms = await rooms_open_to(connection, me, list(scores))
    model = likely.model or ""
    items = [
        Group(
            each.room,
            each.name,
            (),
            sum(scores[user] for user in each.among) / len(each.among),
            model,
            [("likely_people", float(len(each.among)))],
        )
        for each in rooms
        if len(each.among) >= TELLING
    ]
    items.sort(key=lambda item: (-item.score, item.room))
    return Found(items[:limit], likely.model, likely.as_of, is_live=True)


def why_of(detail: Mapping[str, Any]) -> Why:
    """The reasons of a batch's row."""
    return [(str(name), float(value)) for name, value in detail.get("why", ())]


def _of_batch(rows: Sequence[RecommendationRow], items: list[Item]) -> Found[Item] | None:
    return Found(items, rows[0].model, rows[0].at, is_live=False) if rows else None
