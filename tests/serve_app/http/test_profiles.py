"""My account, and what others see of it."""

import pytest

from storage.ids import new_id


async def test_my_account_shows_me_everything_and_its_version(town):
    ada = await town.person()
    answer = await ada.ask("GET", "/v1/me")
    me = answer.json()
    assert (me["id"], me["handle"], me["visibility"]) == (
        ada.user, ada.handle, {"audience": "everyone", "precision": "r8", "ghost": None})  # fmt: skip
    assert answer.headers["etag"] == f'"{me["version"]}"'


async def test_a_change_needs_the_version_that_was_read(town):
    ada = await town.person()
    etag = (await ada.ask("GET", "/v1/me")).headers["etag"]
    wish = {"who_can_add_me": "nobody"}
    assert (await ada.ask("PATCH", "/v1/me", wish)).status_code == 412
    changed = await ada.ask("PATCH", "/v1/me", wish, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["who_can_add_me"]) == (200, "nobody")
    assert (await ada.ask("PATCH", "/v1/me", wish, headers={"If-Match": etag})).status_code == 412
    assert (await ada.ask("PATCH", "/v1/me", wish, headers={"If-Match": "*"})).status_code == 200
    assert (await ada.ask("PATCH", "/v1/me", wish, headers={"If-Match": '"x"'})).status_code == 412


async def test_a_taken_handle_changes_nothing(town):
    ada, bob = await town.people(2)
    answer = await ada.ask("PATCH", "/v1/me", {"handle": bob.handle.upper()}, headers={"If-Match": "*"})
    assert answer.status_code == 409
    assert (await ada.get("/v1/me"))["handle"] == ada.handle


async def test_visibility_is_stored_with_its_event(town):
    ada = await town.person()
    wish = {"audience": "nobody", "precision": "hidden"}
    assert await ada.put("/v1/me/visibility", wish) == wish | {"ghost": None}
    assert (await ada.get("/v1/me"))["visibility"] == wish | {"ghost": None}
    await ada.put("/v1/me/visibility", {"audience": "all", "precision": "r8"}, 422)
    assert await town.pool.fetchval("SELECT count(*) FROM outbox WHERE type = 'user.visibility_changed'") == 1


async def test_strangers_see_a_handle_and_matches_an_age(town):
    ada, bob = await town.people(2)
    assert await ada.get(f"/v1/users/{bob.user}") == {"id": bob.user, "handle": bob.handle}
    await ada.put(f"/v1/connections/{bob.user}", {"action": "request"})
    await bob.put(f"/v1/connections/{ada.user}", {"action": "request"})
    assert (await ada.get(f"/v1/users/{bob.user}"))["age"] > 18


@pytest.mark.parametrize("status", ["pending", "paused", "suspended", "deleting", "erased"])
async def test_who_does_not_take_part_is_not_found(town, status):
    ada, bob = await town.people(2)
    await town.pool.execute("UPDATE users SET status = $2 WHERE id = $1", bob.user, status)
    await ada.get(f"/v1/users/{bob.user}", 404)


async def test_nobody_a_malformed_id_and_a_block_are_answered_alike(town):
    ada, bob = await town.people(2)
    await ada.put(f"/v1/connections/{bob.user}", {"action": "block"})
    answers = [
        await asker.get(path, 404)
        for asker, path in (
            (ada, f"/v1/users/{bob.user}"),
            (bob, f"/v1/users/{ada.user}"),
            (ada, f"/v1/users/{new_id()}"),
            (ada, "/v1/users/me"),
            (ada, f"/v1/users/{bob.user.upper()}"),
        )
    ]
    for answer in answers:
        trace_id = answer.pop("trace_id")
        assert len(trace_id) == 32
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["code"] == 103
    assert bob.user not in str(answers)


async def test_a_ghost_begins_goes_on_and_ends(town):
    """GEO-22: with a timer; what is left out stays as it is, null ends it."""
    ada = await town.person()
    seen = {"audience": "matches", "precision": "r8"}
    begun = await ada.put("/v1/me/visibility", seen | {"ghost": {"mode": "frozen", "duration_s": 3600}})
    assert begun["ghost"]["mode"] == "frozen"
    assert (await ada.put("/v1/me/visibility", seen | {"precision": "r9"}))["ghost"] == begun["ghost"]
    assert (await ada.get("/v1/me"))["visibility"] == seen | {"precision": "r9", "ghost": begun["ghost"]}
    since = await town.pool.fetchval("SELECT ghost_since FROM users WHERE id = $1", ada.user)
    longer = await ada.put("/v1/me/visibility", seen | {"ghost": {"mode": "hidden", "duration_s": 7200}})
    assert longer["ghost"]["until"] > begun["ghost"]["until"]
    assert await town.pool.fetchval("SELECT ghost_since FROM users WHERE id = $1", ada.user) == since
    assert await town.pool.fetchval("SELECT count(*) FROM reminders WHERE key = $1", ada.user) == 1
    assert (await ada.put("/v1/me/visibility", seen | {"ghost": None}))["ghost"] is None
    assert await town.pool.fetchval("SELECT count(*) FROM reminders WHERE key = $1", ada.user) == 0


@pytest.mark.parametrize(
    "ghost",
    [
        {"mode": "frozen"},
        {"mode": "seen", "duration_s": 60},
        {"mode": "hidden", "duration_s": 60, "until": "2030-01-01T00:00:00Z"},
        {"mode": "hidden", "until": "2020-01-01T00:00:00Z"},
        {"mode": "hidden", "duration_s": 0},
        {"mode": "hidden", "until": "2999-01-01T00:00:00Z"},
    ],
)
async def test_a_ghost_without_an_end_is_refused(town, ghost):
    ada = await town.person()
    await ada.put("/v1/me/visibility", {"audience": "matches", "precision": "r8", "ghost": ghost}, 422)
    assert (await ada.get("/v1/me"))["visibility"]["ghost"] is None
