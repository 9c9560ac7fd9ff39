"""Who is suggested to whom: live and in batch, and nobody who may not be shown now (MATCH-6, MATCH-8)."""

import json
import random
from datetime import UTC, date, datetime

import numpy as np
import pytest
from people_models import registered, serves

from matching.live import yyyymmdd
from serve_app.matching import NoMatcher
from storage.erasing_matching import erase
from storage.ids import new_id
from storage.recommendations import may_be_shown

BATCH = "/v1/recommendations/people"
LIVE = "/v1/matches"


@pytest.fixture
async def matched(town, beside):
    """The application and a Matcher that knows nothing until it is told to read, and then what was so."""
    town.app.state.services.matcher = beside
    return town


async def read_all(town):
    service = town.app.state.services.matcher.service
    await service.start()
    for task in service._tasks:
        task.cancel()  # it is stale from here on


async def batch(town, me, kind, rows):
    """Rows as a batch writes them: (subject, score, detail)."""
    await town.pool.execute("DELETE FROM recommendations WHERE user_id = $1 AND kind = $2", me.user, kind)
    await town.pool.executemany(
        "INSERT INTO recommendations (user_id, kind, rank, subject_id, score, detail, model, run_id) "
        "VALUES ($1, $2, $3, $4, $5, $6::json, 'people-1', 'run')",
        [(me.user, kind, rank, subject, score, json.dumps(detail))
         for rank, (subject, score, detail) in enumerate(rows)],
    )  # fmt: skip


def users_of(page):
    return [item["user"] for item in page["items"]]


async def both(me):
    """Who is suggested to me, live and of the batch."""
    return set(users_of(await me.get(LIVE))), set(users_of(await me.get(BATCH)))


async def test_the_live_answer_is_the_matchers_best_first(matched):
    ada, bob, cleo, *crowd = await matched.people(6)
    for each in crowd:  # bob is liked, cleo is not
        await each.expect("POST", "/v1/decisions", {"user": bob.user, "like": True}, 200)
        await each.expect("POST", "/v1/decisions", {"user": cleo.user, "like": False}, 200)
    await read_all(matched)
    page = await ada.get(LIVE)
    assert (page["live"], page["model"], page["next"]) == (True, "baseline", None)
    scores = {item["user"]: item["score"] for item in page["items"]}
    assert list(scores) == sorted(scores, key=scores.get, reverse=True)
    assert scores[bob.user] > scores[cleo.user]
    assert set(scores) == {each.user for each in (bob, cleo, *crowd)}
    assert len((await ada.get(f"{LIVE}?limit=2"))["items"]) == 2
    item = page["items"][0]
    await ada.expect("POST", "/v1/decisions",
                     {"user": item["user"], "like": True, "model": item["model"], "source": item["source"]},
                     200)  # fmt: skip


PARTINGS = {
    "I block them": lambda me, them: me.put(f"/v1/connections/{them.user}", {"action": "block"}),
    "they block me": lambda me, them: them.put(f"/v1/connections/{me.user}", {"action": "block"}),
    "I like them": lambda me, them: me.put(f"/v1/connections/{them.user}", {"action": "request"}),
    "I pass them": lambda me, them: me.put(f"/v1/connections/{them.user}", {"action": "pass"}),
    "they are unlisted": lambda _, them: prefer(them, listed=False),
    "they are a hidden ghost": lambda _, them: haunt(them),
    "they seek others": lambda _, them: prefer(them, gender="man", seeks=["man"]),
    "I seek others": lambda me, _: prefer(me, seeks=["woman"]),
    "they are too young for me": lambda me, _: prefer(me, age_from=80),
    "I am too young for them": lambda _, them: prefer(them, age_from=80),
}


async def haunt(who, mode="hidden"):
    ghost = {"mode": mode, "duration_s": 900}
    await who.put("/v1/me/visibility", {"audience": "everyone", "precision": "r8", "ghost": ghost})


async def prefer(who, **said):
    answer = await who.ask("PUT", "/v1/me/preferences", said, headers={"If-Match": "*"})
    assert answer.status_code == 200


async def test_who_may_not_be_shown_is_gone_at_once_though_the_matcher_has_heard_nothing(matched):
    cleo, *others = await matched.people(1 + 2 * len(PARTINGS))
    await read_all(matched)
    for (why, parting), ada, bob in zip(PARTINGS.items(), others[::2], others[1::2], strict=True):
        await batch(matched, ada, "people", [(bob.user, 0.9, {}), (cleo.user, 0.8, {})])
        await batch(matched, ada, "pick", [(bob.user, 0.9, {})])
        live, rows = await both(ada)
        assert bob.user in live, why
        assert rows == {bob.user, cleo.user}, why
        assert users_of(await ada.get("/v1/recommendations/pick")) == [bob.user], why
        await parting(ada, bob)
        live, rows = await both(ada)
        assert bob.user not in live | rows, why
        assert users_of(await ada.get("/v1/recommendations/pick")) == [], why


async def test_the_gate_and_the_matcher_draw_the_same_line(matched):
    """Whom the Matcher would show is whom the gate lets pass, where both know the same (MATCH-6, MATCH-8)."""
    dice, people = random.Random(3), await matched.people(14)
    genders, goals = ["woman", "man", "other"], ["dating", "friends", "chess"]
    for each in people:
        low = dice.choice([18, 18, 25])
        await prefer(
            each, listed=dice.random() < 0.9, gender=dice.choice([None, *genders]), age_from=low,
            seeks=dice.sample(genders, dice.choice([0, 0, 2])),
            goals=dice.sample(goals, dice.choice([0, 0, 1])), age_to=dice.choice([35, 150, 150]),
        )  # fmt: skip
        born = date(2026 - dice.randrange(18, 50), dice.randrange(1, 13), dice.randrange(1, 29))
        await matched.pool.execute("UPDATE users SET birth_date = $2 WHERE id = $1", each.user, born)
    for _ in range(12):
        me, them = dice.sample(people, 2)
        action = dice.choice(["request", "pass", "block"])
        await me.ask("PUT", f"/v1/connections/{them.user}", {"action": action})
    await read_all(matched)
    service, today = matched.app.state.services.matcher.service, datetime.now(UTC).date()
    ids = [each.user for each in people]
    table = service.people
    rows = table.rows(ids)
    shown = 0
    for number, me in enumerate(ids):
        fits = table.fits(int(rows[number]), rows, np.zeros(len(ids)), yyyymmdd(today)) & table.is_shown[rows]
        out = table.decided(int(rows[number]))
        would = {ids[place] for place in np.flatnonzero(fits) if int(rows[place]) not in out}
        async with matched.pool.acquire() as connection:
            assert await may_be_shown(connection, me, ids, today) == would
        shown += len(would)
    assert 20 < shown < 14 * 13 - 40


async def test_who_takes_no_part_is_suggested_to_nobody_and_is_suggested_nobody(matched):
    ada, *others = await matched.people(5)
    await read_all(matched)
    for bob, status in zip(others, ["paused", "suspended", "deleting", "erased"], strict=True):
        for me, them in ((ada, bob), (bob, ada)):
            await batch(matched, me, "people", [(them.user, 0.9, {})])
        await matched.pool.execute("UPDATE users SET status = $2 WHERE id = $1", bob.user, status)
        live, rows = await both(ada)
        assert bob.user not in live | rows, status
        assert await both(bob) == (set(), set()), status


async def test_a_batch_is_told_as_one_and_stands_in_while_the_matcher_is_away(matched):
    ada, bob, cleo = await matched.people(3)
    await read_all(matched)
    assert (await ada.get(BATCH))["live"] is True  # no batch yet
    assert await ada.get("/v1/recommendations/pick") == {
        "items": [], "next": None, "model": None, "as_of": None, "live": False,
    }  # fmt: skip
    detail = {"forward": 0.8, "backward": 0.9, "source": "collaborative", "why": [["age_gap", 0.25]]}
    await batch(matched, ada, "people", [(ada.user, 0.99, {}), (bob.user, 0.84, detail)])
    page = await ada.get(BATCH)
    assert (page["live"], page["model"]) == (False, "people-1")
    assert page["items"] == [
        {
            "user": bob.user,
            "score": 0.84,
            "model": "people-1",
            "source": "collaborative",
            "why": [{"feature": "age_gap", "effect": 0.25}],
        }
    ]
    matched.app.state.services.matcher = NoMatcher()
    assert await ada.get(LIVE) == page
    problem = await cleo.get(LIVE, 503)
    assert (problem["code"], problem["temporary"], problem["retry_ms"]) == (100, True, 1000)


async def test_proposed_groups_lose_who_may_not_be_shown_and_fall_with_them(matched):
    ada, bob, cleo, dan = await matched.people(4)
    await read_all(matched)
    path = "/v1/recommendations/groups"
    everybody = {"members": [each.user for each in (ada, bob, cleo, dan)], "why": [["mean_score", 0.7]]}
    await batch(matched, ada, "groups", [(new_id(), 0.7, everybody)])
    [group] = (await ada.get(path))["items"]
    assert set(group["members"]) == {bob.user, cleo.user, dan.user}
    assert group["why"] == [{"feature": "mean_score", "effect": 0.7}]
    await bob.put(f"/v1/connections/{ada.user}", {"action": "block"})
    [group] = (await ada.get(path))["items"]
    assert set(group["members"]) == {cleo.user, dan.user}
    await prefer(cleo, listed=False)
    assert (await ada.get(path))["items"] == []


async def test_proposed_groups_keep_to_the_limits_of_now(matched):
    """What was so when the batch ran need not be so any more, either way."""
    ada, bob, cleo, dan = await matched.people(4)
    changes = {
        "they seek others": lambda: prefer(bob, seeks=["other"]),
        "I am too young for them": lambda: prefer(bob, age_from=80),
        "another goal": lambda: prefer(bob, goals=["chess"]),
        "a hidden ghost": lambda: haunt(bob),
    }
    await prefer(ada, goals=["friends"])
    path = "/v1/recommendations/groups"
    everybody = {"members": [each.user for each in (ada, bob, cleo, dan)], "why": []}
    await batch(matched, ada, "groups", [(new_id(), 0.7, everybody)])
    for why, change in changes.items():
        await prefer(bob)
        [group] = (await ada.get(path))["items"]
        assert set(group["members"]) == {bob.user, cleo.user, dan.user}, why
        await change()
        [group] = (await ada.get(path))["items"]
        assert set(group["members"]) == {cleo.user, dan.user}, why
    await cleo.expect("POST", "/v1/decisions", {"user": ada.user, "like": True}, 200)
    [group] = (await ada.get(path))["items"]
    assert cleo.user in group["members"], "who has decided may be company"


async def test_a_frozen_ghost_is_suggested_as_ever(matched):
    """Others go on seeing the last place from before: whoever vanished from lists would be known to hide."""
    ada, bob = await matched.people(2)
    await read_all(matched)
    await batch(matched, ada, "people", [(bob.user, 0.9, {})])
    await haunt(bob, "frozen")
    live, rows = await both(ada)
    assert bob.user in live & rows


async def test_groups_i_am_invited_to_are_told_by_several_who_suit_me_never_by_one(matched):
    owner, ada, *crowd = await matched.people(6)
    await matched.pool.execute("UPDATE users SET who_can_add_me = 'nobody' WHERE id = $1", ada.user)
    members = [each.user for each in (ada, *crowd[:2])]
    room = (await owner.post("/v1/rooms", {"name": "Walks", "members": members}))["id"]
    other = (await owner.post("/v1/rooms", {"name": "Private", "members": [each.user for each in crowd]}))[
        "id"
    ]
    await read_all(matched)
    path = "/v1/recommendations/groups"
    [found] = (await ada.get(path))["items"]
    assert (found["room"], found["name"], found["members"]) == (room, "Walks", [])
    assert found["why"] == [{"feature": "likely_people", "effect": 3.0}]  # the owner and two
    assert other != room
    await ada.put(f"/v1/connections/{crowd[0].user}", {"action": "block"})
    assert (await ada.get(path))["items"] == []
    # An invitation by somebody blocked is none, however many others suit.
    await ada.put(f"/v1/connections/{crowd[0].user}", {"action": "unblock"})
    await owner.put(f"/v1/connections/{ada.user}", {"action": "block"})
    assert (await ada.get(path))["items"] == []


async def test_places_are_those_that_i_may_see(matched):
    ada, bob = await matched.people(2)
    await read_all(matched)
    square = {"type": "Point", "coordinates": [13.4, 52.5]}
    fence = (await bob.post("/v1/fences", {
        "type": "Feature", "geometry": square, "properties": {"name": "Café", "radius_m": 100},
    }))["id"]  # fmt: skip
    path = "/v1/recommendations/places"
    assert (await ada.get(path))["items"] == []
    await batch(matched, ada, "places", [(new_id(), 0.9, {}), (fence, 0.8, {"why": [["visits", 2]]})])
    page = await ada.get(path)
    assert [(item["fence"], item["name"], item["score"]) for item in page["items"]] == [(fence, "Café", 0.8)]
    await bob.put(f"/v1/connections/{ada.user}", {"action": "block"})
    assert (await ada.get(path))["items"] == []


async def test_interests_are_the_matchers_map(matched):
    people = await matched.people(4)
    for number, each in enumerate(people):
        await prefer(each, interests=["Jazz", "climbing"] if number else ["jazz"])
    await read_all(matched)
    page = await people[0].get("/v1/recommendations/interests")
    told = {each["tag"]: each["people"] for item in page["items"] for each in item["tags"]}
    assert told == {"jazz": 4, "climbing": 3}
    assert all(-1 <= item[axis] <= 1 for item in page["items"] for axis in "xy")
    assert page["next"] is None


async def test_limits_and_wrong_kinds(matched):
    ada = await matched.person()
    await read_all(matched)
    for path in (LIVE, BATCH, "/v1/recommendations/groups", "/v1/recommendations/places"):
        assert (await ada.get(f"{path}?limit=0", 422))["code"] == 107
        assert (await ada.get(f"{path}?limit=x", 422))["code"] == 107
        await ada.get(f"{path}?limit=100000")
    await ada.get("/v1/recommendations/enemies", 404)
    await (await matched.anybody()).get(LIVE, 401)


async def test_a_pass_is_not_to_be_seen_on_any_route(matched, pool):
    """Whoever watches all lists while somebody passes on them sees nothing of it: not at once, nor when
    scores are told anew (docs/decisions/0264)."""
    ada, bob, *crowd = await matched.people(9)
    for each in crowd[:6]:
        await bob.expect("POST", "/v1/decisions", {"user": each.user, "like": False}, 200)
    async with pool.acquire() as connection:
        await serves(connection, await registered(connection, 0.4))
    await read_all(matched)
    beside = matched.app.state.services.matcher
    await batch(matched, ada, "people", [(bob.user, 0.9, {}), (crowd[0].user, 0.8, {})])
    await batch(matched, ada, "pick", [(bob.user, 0.9, {})])

    async def seen():
        pages = [await ada.get(path) for path in (f"{LIVE}?limit=300", BATCH, "/v1/recommendations/pick")]
        return [{**page, "as_of": None} for page in pages]

    before = await seen()
    assert all(bob.user in users_of(page) for page in before)
    await bob.expect("POST", "/v1/decisions", {"user": ada.user, "like": False}, 200)
    while not await beside.service.catch_up():
        pass
    row = beside.service.people.row_of[ada.user]
    assert beside.service.people.tally[row][2] == 1, "it has heard of it"
    assert await seen() == before
    beside.now_s = 3_600.0
    assert await seen() == before


async def test_an_interest_is_suggested_all_day_until_it_is_taken_up_and_that_is_noted(matched):
    ada, *others = await matched.people(6)
    for number, each in enumerate(others):
        await prefer(each, interests=["jazz", "piano"] if number else ["jazz", "opera"])
    await prefer(ada, interests=["piano"])
    await read_all(matched)
    path, stored = "/v1/recommendations/interests", "SELECT * FROM content_choices WHERE user_id = $1"
    suggested = (await ada.get(path))["suggested"]
    assert suggested in {"jazz", "opera"}
    assert (await ada.get(path))["suggested"] == suggested
    [row] = await matched.pool.fetch(stored, ada.user)
    odds = json.loads(row["propensities"])
    assert set(odds) >= {"popular", "close", "rare"}
    assert sum(odds.values()) == pytest.approx(1)
    assert (row["tag"], row["taken_at"]) == (suggested, None)
    await prefer(ada, interests=["piano", "chess"])
    assert (await matched.pool.fetch(stored, ada.user))[0]["taken_at"] is None
    await prefer(ada, interests=["piano", suggested])
    assert (await matched.pool.fetch(stored, ada.user))[0]["taken_at"] is not None
    assert (await ada.get(path))["suggested"] is None
    async with matched.pool.acquire() as connection, connection.transaction():
        await erase(connection, ada.user)
    assert await matched.pool.fetch(stored, ada.user) == []
