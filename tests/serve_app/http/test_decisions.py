"""Decisions: the connection, the log and the tallies are one transaction (MATCH-4, ML-1, ML-12)."""

import asyncio
import random
from dataclasses import astuple

import numpy as np
import polars as pl
import pytest

from matching.features import PRIOR, RATES, Tally, strictly_past
from storage import decisions
from storage.decisions import TallyRow
from storage.ids import new_id
from storage.offsets import Offset

PATH = "/v1/decisions"


async def log_of(pool, after=None):
    async with pool.acquire() as connection:
        return await decisions.read(connection, after or Offset(), 10_000)


async def tallies_of(pool, people):
    async with pool.acquire() as connection:
        return await decisions.tallies(connection, people)


async def decide(me, other, like, status=200, **more):
    return await me.expect("POST", PATH, {"user": other.user, "like": like, **more}, status)


async def test_tallies_are_what_replaying_the_log_gives_row_by_row(town):
    """Parity (ML-1): whoever decides, at once and by whatever route, the log's order is the tallies'."""
    people = await town.people(8)
    dice = random.Random(5)

    async def one(me):
        for _ in range(14):
            other = dice.choice([each for each in people if each is not me])
            if dice.random() < 0.3:
                action = dice.choice(["request", "pass", "unmatch", "block", "unblock"])
                await me.ask("PUT", f"/v1/connections/{other.user}", {"action": action})
            else:
                await me.ask("POST", PATH, {"user": other.user, "like": dice.random() < 0.6})

    await asyncio.gather(*(one(me) for me in people for _ in range(2)))
    rows = await log_of(town.pool)
    assert len(rows) > 40
    replayed = {each.user: Tally() for each in people}
    expected = []
    for row in rows:
        rater, ratee = replayed[row.rater], replayed[row.ratee]
        expected.append([*rater.features(PRIOR), *ratee.features(PRIOR)])
        ratee.got(row.likes, rater.give_rate(PRIOR))
        rater.gave(row.likes)
    log = pl.DataFrame(
        {
            "rater": [row.rater for row in rows],
            "ratee": [row.ratee for row in rows],
            "yes": [row.likes for row in rows],
            "offset": range(len(rows)),
        }
    )
    past = strictly_past(log, PRIOR).select(f"{side}_{name}" for side in ("rater", "ratee") for name in RATES)
    assert past.to_numpy() == pytest.approx(np.array(expected))
    stored = await tallies_of(town.pool, [each.user for each in people])
    for person, row in stored.items():
        assert astuple(row) == pytest.approx(astuple(replayed.pop(person)))
    assert set(map(astuple, replayed.values())) <= {astuple(Tally())}


async def test_a_like_of_who_likes_me_is_a_match_and_both_are_logged(town):
    ada, bob = await town.people(2)
    asked = await decide(ada, bob, like=True, model="people-3", source="near")
    assert (asked["state"], asked["by"], asked["match"]) == ("requested", ada.user, False)
    met = await decide(bob, ada, like=True)
    assert (met["state"], met["match"]) == ("matched", True)
    assert [(row.rater, row.ratee, row.likes, row.model, row.source) for row in await log_of(town.pool)] == [
        (ada.user, bob.user, True, "people-3", "near"),
        (bob.user, ada.user, True, None, None),
    ]
    assert await bob.me_stream(town.pool) == ["connection.requested", "connection.matched"]


async def test_accepting_by_the_other_route_is_a_like_too(town):
    ada, bob = await town.people(2)
    asked = await ada.put(f"/v1/connections/{bob.user}", {"action": "request"})
    await bob.put(f"/v1/connections/{ada.user}", {"action": "accept", "version": asked["version"]})
    assert [(row.rater, row.likes) for row in await log_of(town.pool)] == [(ada.user, True), (bob.user, True)]


async def test_deciding_the_same_again_counts_once(town):
    ada, bob = await town.people(2)
    answers = await asyncio.gather(*(decide(ada, bob, like=True) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    path = f"/v1/connections/{bob.user}"
    for action in ("block", "unblock", "request"):  # taken back and made again: no second admirer
        await ada.put(path, {"action": action})
    assert len(await log_of(town.pool)) == 1
    assert await tallies_of(town.pool, [ada.user, bob.user]) == {
        ada.user: TallyRow(given=1, given_yes=1),
        bob.user: TallyRow(received=1, received_yes=1, surprise=1 - PRIOR),
    }


async def test_a_pass_is_told_to_nobody_and_may_be_thought_better_of(town):
    ada, bob = await town.people(2)
    await decide(bob, ada, like=True)
    assert (await decide(ada, bob, like=False))["state"] == "declined"
    assert (await decide(bob, ada, like=True))["state"] == "requested"
    assert "connection.passed" not in await bob.me_stream(town.pool)
    assert (await decide(ada, bob, like=True))["match"] is True
    assert [row.likes for row in await log_of(town.pool)] == [True, False, True]


async def test_what_is_not_possible_is_refused_and_leaves_nothing(town):
    ada, bob, cleo = await town.people(3)
    await decide(ada, bob, like=True)
    before = await log_of(town.pool)
    assert (await decide(ada, bob, like=False, status=409))["code"] == 108
    await bob.put(f"/v1/connections/{cleo.user}", {"action": "block"})
    nobody = await cleo.expect("POST", PATH, {"user": new_id(), "like": True}, 404)
    blocked = await decide(cleo, bob, like=True, status=404)
    assert {**nobody, "trace_id": ""} == {**blocked, "trace_id": ""}
    await town.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", ada.user)
    await decide(cleo, ada, like=True, status=404)
    await decide(ada, cleo, like=True, status=404)
    for body in (
        {"user": ada.user, "like": True},
        {"user": bob.user, "like": 1},
        {"user": bob.user},
        {"user": "x", "like": True},
        {"user": bob.user, "like": True, "model": "People 1"},
        {"user": bob.user, "like": True, "source": "a" * 40},
        {"user": bob.user, "like": True, "weight": 5},
    ):
        assert (await ada.expect("POST", PATH, body, 422))["code"] == 107
    assert await log_of(town.pool) == before
