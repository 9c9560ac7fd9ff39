"""Scores of `near` and the channel `scores`, with real shards, a real Postgres and the Matcher's own service
(MATCH-4, MATCH-17).
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from people_models import registered, serves

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from identity.connections import Action
from identity.pairs import act
from matching.telling import NOTICED, RECEIVED_STEP
from serve_app.matcher import MatcherConfig, MatcherService
from storage import decisions
from storage.decisions import TallyRow
from storage.erasing_matching import erase, lock_log
from storage.outbox import notify

BERLIN = (52.5200, 13.4050)
LOOKS: dict[str, dict[str, Any]] = {"near": {"filter": {"scores": True}}, "scores": {}}


class Scored:
    """A small engine with a Matcher, as its people's connections see it."""

    def __init__(self, small: Any, matcher: MatcherService) -> None:
        self.small, self.matcher = small, matcher
        self.now_ms = small.shards[0].now_ms() - 240_000

    async def person(self) -> str:
        user: str = await self.small.person()
        self.now_ms += 1
        await self.small.ask(wire.Position(0, user, *BERLIN, 5.0, self.now_ms))
        return user

    async def look(self, ch: str, user: str, **given: Any) -> dict[str, Any]:
        page: dict[str, Any] = await self.small.subscribe(f"{ch}@{user}#c", user, "c", mode="map", **given)
        return page

    def pushes(self, ch: str, user: str) -> list[list[Any]]:
        return [
            msgspec.json.decode(push.k)
            for push in self.small.pushes
            if isinstance(push, wire.PushMap) and push.ch == f"{ch}@{user}#c"
        ]

    def held(self, ch: str, user: str, page: dict[str, Any]) -> dict[str, Any]:
        """What the client holds by now."""
        rows = {key: data for key, data, _ in page["state"]}
        for push in self.pushes(ch, user):
            for row in push:
                if row[1] == "-":
                    del rows[row[0]]
                else:
                    rows[row[0]] = row[2]
        return rows

    async def until(self, ch: str, user: str, page: dict[str, Any], scores: dict[str, float | None]) -> None:
        def is_so() -> bool:
            return {key: row.get("score") for key, row in self.held(ch, user, page).items()} == scores

        await self.small.until(is_so, 10)

    async def decides(self, rater: str, ratee: str, *, likes: bool) -> None:
        action = Action.REQUEST if likes else Action.PASS
        await act(self.small.pool, rater, ratee, action, datetime.now(UTC))
        while not await self.matcher.catch_up():
            pass

    async def swap(self, share: float) -> str:
        """A model takes over by which this share is liked."""
        async with self.small.pool.acquire() as connection:
            version = await registered(connection, share)
            await serves(connection, version)
        return version

    async def fit(self, viewer: str, *others: str) -> dict[str, float | None]:
        [scores] = (await self.matcher.score([(viewer, others)])).scores
        return dict(zip(others, (round(each, 2) for each in scores), strict=True))

    def state(self, user: str) -> Any:
        for shard in self.small.shards.values():
            activation = shard.activations.get(("user", user))
            if activation is not None:
                return activation.state
        return None

    def scoring(self, user: str) -> Any:
        return next(
            shard.hosts["user"].scores.scoring
            for shard in self.small.shards.values()
            if ("user", user) in shard.activations
        )


@pytest.fixture
async def scored(small: Any, database_url: str) -> AsyncIterator[Scored]:
    matcher = MatcherService(MatcherConfig(database_url))
    await matcher.start()
    for shard in small.shards.values():
        shard.hosts["user"].scores.scoring.port = matcher
    yield Scored(small, matcher)
    await matcher.stop()


async def test_a_single_look_has_scores_too_and_waits_for_them(scored: Scored) -> None:
    ann, bob, cem = [await scored.person() for _ in range(3)]
    for _ in range(4):
        await scored.decides(await scored.person(), cem, likes=False)
    expected = await scored.fit(ann, bob, cem)

    async def looks(**given: Any) -> dict[str, Any]:
        answer = await scored.small.ask(wire.NearQuery(0, ann, 800.0, 50, **given))
        return {row["user"]: row.get("score") for row in answer["items"]}

    assert set((await looks()).values()) == {None}
    some = await looks(scores=True)
    assert {bob, cem} <= some.keys()
    assert some[bob] == expected[bob] > 0.45 > some[cem] == expected[cem]
    passing = await looks(scores=True, min_score=0.45)
    assert bob in passing
    assert cem not in passing
    assert scored.state(ann).looks == []
    assert await looks(scores=True, min_score=1.0) == {}


async def test_a_single_look_does_without_scores_that_do_not_come(scored: Scored) -> None:
    await scored.matcher.stop()  # whoever is new now can't be asked about
    ann, bob = [await scored.person() for _ in range(2)]
    asked = [wire.NearQuery(0, ann, 800.0, 50, scores=True, min_score=each) for each in (None, 0.1)]
    every, none = await asyncio.gather(*map(scored.small.ask, asked))
    assert [row["user"] for row in every["items"]] == [bob]
    assert "score" not in every["items"][0]
    assert none["items"] == []
    assert scored.state(ann).looks == []
    scored.scoring(ann).port = None
    assert await scored.small.ask(asked[0]) == every


async def test_rows_of_near_get_scores_and_only_those_who_fit_pass(scored: Scored) -> None:
    ann, bob, cem = [await scored.person() for _ in range(3)]
    for _ in range(4):
        await scored.decides(await scored.person(), cem, likes=False)
    page = await scored.look("near", ann, filter={"scores": True})
    assert {"user", "cell", "band"} <= page["state"][0][1].keys()
    users = [row[0] for row in page["state"]]
    expected = await scored.fit(ann, *users)
    assert expected[bob] > 0.45 > expected[cem] > 0.1
    await scored.until("near", ann, page, expected)
    assert {row["model"] for row in scored.held("near", ann, page).values()} == {"baseline"}
    again = await scored.look("near", ann, filter={"min_score": 0.45})
    assert {row[0] for row in again["state"]} == {user for user in users if expected[user] >= 0.45}, (
        "what is known is there at once"
    )
    narrower = {"epoch": again["epoch"], "offset": again["offset"], "filter": {"min_score": 0.1}}
    back = await scored.look("near", ann, **narrower)
    assert {(row[0], row[1]) for row in back["k"]} == {(user, "+") for user in users if expected[user] < 0.45}


async def test_one_pass_by_another_moves_nothing_and_ones_own_decision_counts_at_once(scored: Scored) -> None:
    """Ann watches bob's row: his pass must not show (docs/decisions/0230)."""
    ann, bob, cem, dan = [await scored.person() for _ in range(4)]
    page = await scored.look("near", ann, filter={"scores": True})
    await scored.until("near", ann, page, {bob: 0.5, cem: 0.5, dan: 0.5})
    told = len(scored.pushes("near", ann))
    await scored.decides(bob, ann, likes=False)
    await scored.small.until(lambda: scored.state(ann).record.tally.received == 1)
    assert scored.state(ann).book.counted == TallyRow()
    assert len(scored.pushes("near", ann)) == told
    assert not scored.state(ann).book.is_stale, "nobody is asked about anew on that account"
    await scored.decides(ann, dan, likes=False)
    await scored.small.until(lambda: len(scored.pushes("near", ann)) > told)
    [push] = scored.pushes("near", ann)[told:]
    rows = {row[0]: row[2]["score"] for row in push}
    assert rows[cem] < 0.5 - NOTICED
    counted = scored.state(ann).book.counted
    assert (counted.given, counted.received) == (1, 0)
    assert RECEIVED_STEP > 1


async def test_the_actors_tally_is_the_stored_one(scored: Scored) -> None:
    ann, bob, cem = [await scored.person() for _ in range(3)]
    for rater, ratee, likes in ((ann, bob, True), (cem, ann, False), (bob, ann, True), (ann, cem, False)):
        await scored.decides(rater, ratee, likes=likes)
    stored = await decisions.tallies(scored.small.pool, [ann, bob, cem])
    assert stored[ann].given == stored[ann].received == 2
    await scored.small.until(lambda: all(scored.state(who).record.tally == stored[who] for who in stored))


async def test_recommendations_live(scored: Scored) -> None:
    ann, bob, cem, dan = [await scored.person() for _ in range(4)]
    page = await scored.look("scores", ann)
    await scored.until("scores", ann, page, {bob: 0.5, cem: 0.5, dan: 0.5})
    assert scored.held("scores", ann, page)[bob].keys() == {"user", "score", "model", "source"}
    await scored.decides(dan, ann, likes=False)  # says nothing to ann
    await scored.decides(ann, bob, likes=True)
    await scored.small.until(lambda: bob not in scored.held("scores", ann, page))
    assert scored.held("scores", ann, page).keys() == {cem, dan}
    await act(scored.small.pool, cem, ann, Action.BLOCK, datetime.now(UTC))
    await scored.small.until(lambda: scored.held("scores", ann, page).keys() == {dan})
    with pytest.raises(EngineError) as refused:
        await scored.small.subscribe(f"scores@{ann}#x", bob, "x", mode="map")
    assert refused.value.code is ErrorCode.DENIED


async def batch(scored: Scored, user: str, rows: list[tuple[str, float]], model: str) -> None:
    async with scored.small.pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM recommendations WHERE user_id = $1", user)
        await connection.executemany(
            "INSERT INTO recommendations (user_id, kind, rank, subject_id, score, detail, model, run_id)"
            " VALUES ($1, 'people', $2, $3, $4, $5, $6, 'run')",
            [
                (user, rank, other, score, '{"source": "batch", "forward": 0.9, "backward": 0.1}', model)
                for rank, (other, score) in enumerate(rows, 1)
            ],
        )
        await notify(connection, [("user", user)])


async def test_a_batch_run_replaces_rows_and_a_swap_rescores_all_in_one_push(scored: Scored) -> None:
    ann, bob, cem, dan = [await scored.person() for _ in range(4)]
    await batch(scored, ann, [(bob, 0.81), (cem, 0.4)], "people-1")
    page = await scored.look("scores", ann)
    rows = {key: (row["score"], row["model"]) for key, row, _ in page["state"]}
    assert rows == {bob: (0.81, "people-1"), cem: (0.4, "people-1")}
    assert "forward" not in page["state"][0][1], "whom the other one likes is theirs to say"
    await scored.until("scores", ann, page, {bob: 0.5, cem: 0.5})
    await batch(scored, ann, [(dan, 0.9), (bob, 0.8)], "people-1")
    await scored.until("scores", ann, page, {bob: 0.5, dan: 0.5})
    told = len(scored.pushes("scores", ann))
    version = await scored.swap(0.9)
    await scored.small.until(lambda: len(scored.pushes("scores", ann)) > told)
    assert scored.held("scores", ann, page).keys() == {bob, dan}
    await scored.until("scores", ann, page, await scored.fit(ann, bob, dan))
    [push] = scored.pushes("scores", ann)[told:]
    assert {(row[0], row[1], row[2]["model"]) for row in push} == {(bob, "~", version), (dan, "~", version)}


async def test_without_an_answer_rows_stay_and_come_once_there_is_one(scored: Scored) -> None:
    ann, bob = [await scored.person() for _ in range(2)]
    await scored.matcher._pool.close()  # its database is gone
    page = await scored.look("near", ann, filter={"scores": True})
    scores = await scored.look("scores", ann)
    assert ([row[0] for row in page["state"]], scores["state"]) == ([bob], [])
    await scored.small.until(lambda: scored.scoring(ann)._failures > 0)
    cem = await scored.person()
    await scored.until("near", ann, page, {bob: None, cem: None})
    await scored.matcher.stop()
    await scored.matcher.start()
    await scored.until("near", ann, page, {bob: 0.5, cem: 0.5})


async def test_answers_of_a_replica_that_has_not_swapped_are_not_taken(scored: Scored) -> None:
    ann, bob = [await scored.person() for _ in range(2)]
    page = await scored.look("near", ann, filter={"scores": True})
    await scored.until("near", ann, page, {bob: 0.5})
    async with scored.small.pool.acquire() as connection:
        await notify(connection, [("matcher", "people-1")])
    await scored.small.until(lambda: scored.scoring(ann)._failures > 1)
    assert scored.held("near", ann, page)[bob]["model"] == "baseline"
    assert await scored.swap(0.9) == "people-1"
    await scored.small.until(lambda: scored.held("near", ann, page)[bob]["model"] == "people-1")


async def test_who_comes_back_goes_on_and_a_lost_shard_shows_nothing_twice(scored: Scored) -> None:
    ann, bob, cem = [await scored.person() for _ in range(3)]
    page = await scored.look("scores", ann)
    await scored.until("scores", ann, page, {bob: 0.5, cem: 0.5})
    offset = len(scored.pushes("scores", ann))
    await scored.small.ask(wire.Unsubscribe(0, f"scores@{ann}#c", ann, "c", clean=False))
    await scored.decides(ann, bob, likes=False)
    await scored.small.until(lambda: scored.state(ann).record.tally.given == 1)
    position = {"epoch": page["epoch"], "offset": page["offset"] + offset}
    back = await scored.look("scores", ann, **position)
    assert back["recovered"]
    assert [bob, "-"] in back["k"]
    shard = next(each for each in scored.small.shards.values() if ("user", ann) in each.activations)
    shard.deactivate(shard.activations["user", ann])  # as if its process were gone
    scored.small.pushes.clear()
    again = await scored.look(
        "scores", ann, epoch=back["epoch"], offset=back["offset"], shadow=back["shadow"]
    )
    assert again["recovered"]
    await scored.small.until(lambda: scored.state(ann).scores.maps.views)
    assert all(row[1] == "~" for push in scored.pushes("scores", ann) for row in push)
    assert {row[2]["model"] for push in scored.pushes("scores", ann) for row in push} <= {"baseline"}


async def test_a_hand_over_takes_scores_along(scored: Scored) -> None:
    ann, bob = [await scored.person() for _ in range(2)]
    pages = {ch: await scored.look(ch, ann, **options) for ch, options in LOOKS.items()}
    for ch, page in pages.items():
        await scored.until(ch, ann, page, {bob: 0.5})
    slot, small = slot_of("user", ann), scored.small
    before = small.router.shard_of(slot)
    small.directory.mover._relieving = {slot: 1 - before}
    small.directory.mover.changed()
    await small.until(lambda: small.router.shard_of(slot) == 1 - before and scored.state(ann) is not None)
    told = {ch: len(scored.pushes(ch, ann)) for ch in pages}
    version = await scored.swap(0.9)
    for ch, page in pages.items():
        await small.until(
            lambda ch=ch, page=page: (
                {row["model"] for row in scored.held(ch, ann, page).values()} == {version}
            )
        )
        assert len(scored.pushes(ch, ann)) == told[ch] + 1


async def test_who_is_erased_is_recommended_no_more(scored: Scored) -> None:
    ann, bob, cem = [await scored.person() for _ in range(3)]
    page = await scored.look("scores", ann)
    await scored.until("scores", ann, page, {bob: 0.5, cem: 0.5})
    async with scored.small.pool.acquire() as connection, connection.transaction():
        await lock_log(connection)
        await erase(connection, bob)
    await scored.until("scores", ann, page, {cem: 0.5})
    assert bob not in scored.state(ann).book.known


async def test_to_come_again_shows_nothing_newer(scored: Scored) -> None:
    ann, bob, cem = [await scored.person() for _ in range(3)]
    pages = {ch: await scored.look(ch, ann, **options) for ch, options in LOOKS.items()}
    for ch, page in pages.items():
        await scored.until(ch, ann, page, {bob: 0.5, cem: 0.5})
        await scored.small.ask(wire.Unsubscribe(0, f"{ch}@{ann}#c", ann, "c"))
    for _ in range(4):
        await scored.decides(bob, await scored.person(), likes=False)
    await scored.decides(bob, ann, likes=False)
    assert (await scored.fit(ann, bob))[bob] < 0.4
    for ch, options in LOOKS.items():
        again = await scored.look(ch, ann, **options)
        assert {key: row.get("score") for key, row, _ in again["state"] if key in (bob, cem)} == {
            bob: 0.5,
            cem: 0.5,
        }
