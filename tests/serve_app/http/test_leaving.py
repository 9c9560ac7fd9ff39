"""Giving up an account: out of everything at once, and nothing left of it when its time has come (ML-11)."""

import asyncio
import json
import shutil
import tempfile
import time
from dataclasses import astuple, replace
from hashlib import sha256

import pytest

from actors.directory import Directory, DirectoryConfig
from actors.placement import slot_of
from actors.shard import Shard, ShardConfig
from matching.tally import PRIOR, Tally
from storage import decisions, positions, registry
from storage.ids import new_id
from storage.offsets import Offset
from storage.positions import Place, SlotPlaces


def with_grace(town, seconds):
    services = town.app.state.services
    services.config = replace(services.config, erase_grace_s=seconds)


async def erased(town, who):
    async with asyncio.timeout(20):
        while not await town.pool.fetchval(
            "SELECT erased_at IS NOT NULL FROM departures WHERE user_id = $1", who.user
        ):
            await asyncio.sleep(0.05)


async def decide(me, them, like):
    await me.expect("POST", "/v1/decisions", {"user": them.user, "like": like}, 200)


async def learned_of(town, *people):
    """A dataset that holds these people, and a model made of it: the dataset's hash and the version."""
    stored = json.dumps([each.user for each in people]).encode()
    async with town.pool.acquire() as connection, connection.transaction():
        digest = await registry.put_blob(connection, stored)
        await connection.execute(
            "INSERT INTO datasets (sha256, name, from_offset, to_offset, row_count, spec) "
            "VALUES ($1, 'people', '0.0', '9.9', 1, '{}')", digest,
        )  # fmt: skip
        await connection.executemany(
            "INSERT INTO dataset_people (sha256, user_id) VALUES ($1, $2)",
            [(digest, each.user) for each in people],
        )
        version = await registry.add_version(
            connection, "people", b"of " + stored, lineage={}, metrics={}, dataset_sha256=digest
        )
    assert digest == sha256(stored).hexdigest()
    return digest, version


async def step_of_a_job(town, *people):
    """What a job was at, of everybody there was: its hash."""
    async with town.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO job_runs (id, kind, parameters, state) VALUES ('r', 'recommend', '{}', 'running')"
        )
        digest = await registry.put_blob(connection, repr(people).encode())
        await connection.execute(
            "INSERT INTO job_steps (run_id, step, blob_sha256) VALUES ('r', 'lists', $1)", digest
        )
    return digest


async def rows_about(town, user):
    """Tables that still name a person, but for what says that they left and the logs of rooms."""
    columns = await town.pool.fetch(
        "SELECT c.table_name AS t, c.column_name AS c FROM information_schema.columns c "
        "JOIN information_schema.tables USING (table_schema, table_name) WHERE table_schema = 'public' "
        "AND table_type = 'BASE TABLE' AND data_type = 'uuid'"
    )
    found = {
        row["t"]
        for row in columns
        if await town.pool.fetchval(f'SELECT count(*) FROM {row["t"]} WHERE "{row["c"]}" = $1', user)
    }
    return {name for name in found if not name.startswith("message")} - {"users", "departures"}


async def test_nothing_is_left_of_an_account_but_an_id(engine):
    with_grace(engine, 0)
    ada, bob, cleo, dan = await engine.people(4)
    at = {"lat": 52.52, "lon": 13.4, "acc_m": 5, "t_ms": round(time.time() * 1000)}
    await ada.post("/v1/positions", at, 200)
    for me, them, like in ((ada, bob, True), (bob, ada, True), (bob, cleo, True), (cleo, ada, False),
                           (cleo, bob, True), (ada, dan, False), (bob, dan, True)):  # fmt: skip
        await decide(me, them, like)
    answer = await ada.ask("PUT", "/v1/me/preferences", {"interests": ["jazz"]}, headers={"If-Match": "*"})
    assert answer.status_code == 200
    room = (await ada.post("/v1/rooms", {"name": "Walks", "members": [bob.user]}))["id"]
    await ada.post(f"/v1/rooms/{room}/messages", {"d": {"text": "hello"}})
    group, among = new_id(), json.dumps({"members": [ada.user, bob.user]})
    for viewer, kind, subject, detail in (
        (ada, "people", cleo.user, "{}"), (dan, "people", ada.user, "{}"), (ada, "groups", group, "{}"),
        (dan, "groups", group, among), (dan, "pick", bob.user, "{}"),
    ):  # fmt: skip
        await engine.pool.execute(
            "INSERT INTO recommendations (user_id, kind, rank, subject_id, score, detail, model, run_id) "
            "VALUES ($1, $2, 0, $3, 0.5, $4::json, 'people-1', 'run')", viewer.user, kind, subject, detail,
        )  # fmt: skip
    with_ada, of_ada = await learned_of(engine, ada, bob)
    without, of_others = await learned_of(engine, bob, cleo)

    step = await step_of_a_job(engine, ada)
    gone = await ada.expect("DELETE", "/v1/me", None, 200)
    assert gone["status"] == "deleting"
    await ada.get("/v1/me", 401)
    await ada.expect("DELETE", "/v1/me", None, 401)
    await erased(engine, ada)

    assert await rows_about(engine, ada.user) <= {"trail_erasures"}
    valkey = engine.app.state.services.valkey
    assert not await positions.load_all(valkey, [(slot_of("user", ada.user), ada.user)])
    logged = await positions.read_logs(valkey, [slot_of("user", ada.user)])
    assert ada.user.encode() not in logged["user"].tolist()
    log = await decisions_of(engine)
    assert {(row.rater, row.ratee) for row in log} == {
        (bob.user, cleo.user), (cleo.user, bob.user), (bob.user, dan.user),
    }  # fmt: skip
    await tallies_are_of(engine, log, (bob, cleo, dan))
    rows = await engine.pool.fetch("SELECT kind FROM recommendations")
    assert [row["kind"] for row in rows] == ["pick"]
    async with engine.pool.acquire() as connection:
        for dropped in (with_ada, step):
            assert await registry.blob(connection, dropped) is None
        assert await registry.blob(connection, without) is not None
        marked = {row.version: row.erased_at for row in await registry.versions(connection, "people")}
    assert marked[of_ada] is not None
    assert marked[of_others] is None
    assert await engine.pool.fetchval("SELECT erased_at FROM datasets WHERE sha256 = $1", with_ada)
    # Bob, who was matched with her, knows nobody of the kind; the room is his now.
    assert (await bob.get("/v1/connections"))["items"] != []
    assert ada.user not in {each["user"] for each in (await bob.get("/v1/connections"))["items"]}
    await bob.get(f"/v1/users/{ada.user}", 404)
    found = await bob.get(f"/v1/rooms/{room}")
    assert (found["owner"], [each["user"] for each in found["members"]]) == (bob.user, [bob.user])
    # The handle is free, and whoever has it now is somebody else.
    fresh = await (await engine.anybody()).post(
        "/v1/auth/register", {"handle": ada.handle, "password": "correct horse", "birth_date": "1990-01-01"}
    )
    assert fresh["user"] != ada.user


async def decisions_of(town):
    async with town.pool.acquire() as connection:
        return await decisions.read(connection, Offset(), 1_000)


async def tallies_are_of(town, log, people):
    replayed = {each.user: Tally() for each in people}
    for row in log:
        replayed[row.ratee].got(row.likes, replayed[row.rater].give_rate(PRIOR))
        replayed[row.rater].gave(row.likes)
    async with town.pool.acquire() as connection:
        stored = await decisions.tallies(connection, list(replayed))
    for user, tally in stored.items():
        assert astuple(tally) == pytest.approx(astuple(replayed[user]))


async def test_until_its_time_has_come_an_account_is_there_for_nobody(engine):
    ada, bob = await engine.people(2)
    await decide(ada, bob, like=True)
    await decide(bob, ada, like=True)
    dataset, _ = await learned_of(engine, ada, bob)
    await ada.expect("DELETE", "/v1/me", None, 200)
    for table, column in (("datasets", "sha256"), ("models", "dataset_sha256")):
        at = await engine.pool.fetchval(f"SELECT erased_at FROM {table} WHERE {column} = $1", dataset)
        assert at is not None, "nothing more is made of it"
    assert (await bob.get("/v1/connections"))["items"] == []
    await bob.get(f"/v1/users/{ada.user}", 404)
    await bob.put(f"/v1/connections/{ada.user}", {"action": "unmatch"}, 404)
    assert await engine.pool.fetchval("SELECT status FROM users WHERE id = $1", ada.user) == "deleting"
    assert len(await decisions_of(engine)) == 2
    await engine.pool.execute("UPDATE departures SET due_at = now() - interval '1 second'")
    await engine.pool.execute("UPDATE reminders SET due_at = now() WHERE name = 'account:erase'")
    await engine.pool.execute("SELECT pg_notify('hereabouts', 'reminder:')")
    await erased(engine, ada)
    assert await decisions_of(engine) == []


async def test_a_shard_that_starts_later_erases_who_was_never_live_there(town, database_url, valkey_url):
    """The sweep is a reminder: it survives whatever was down when the account was given up."""
    with_grace(town, 0)
    ada = await town.person()
    slot, valkey = slot_of("user", ada.user), town.app.state.services.valkey
    place = Place(52.5, 13.4, 5.0, 1, 1, "", None)
    await valkey.flushdb()  # another test's slot may stand under a later epoch
    await positions.save(valkey, [SlotPlaces(slot, 0, {ada.user: place})])
    await ada.expect("DELETE", "/v1/me", None, 200)
    assert await positions.load_all(valkey, [(slot, ada.user)]) == {ada.user: place}
    run_dir = tempfile.mkdtemp(prefix="hb-run-")
    directory = Directory(DirectoryConfig(run_dir, database_url, 1))
    await directory.start()
    shard = Shard(ShardConfig(run_dir, database_url, valkey_url, 0))
    await shard.start()
    await erased(town, ada)
    assert not await positions.load_all(valkey, [(slot, ada.user)])
    await shard.stop()
    await directory.stop()
    shutil.rmtree(run_dir)


async def test_an_account_with_a_password_is_given_up_with_it(town):
    who = {"handle": "ada", "password": "correct horse", "birth_date": "1990-12-10"}
    signed_in = await (await town.anybody()).post("/v1/auth/register", who)
    ada = await town.client(signed_in["access_token"])
    for body in (None, {}, {"password": "wrong horse"}):
        answer = await ada.request("DELETE", "/v1/me", json=body)
        assert (answer.status_code, answer.json()["code"]) == (401, 101)
    assert (await ada.request("DELETE", "/v1/me", json={"pass": "x"})).status_code == 422
    assert (await ada.request("DELETE", "/v1/me", json={"password": "correct horse"})).status_code == 200
    anybody = await town.anybody()
    refreshed = {"refresh_token": signed_in["refresh_token"]}
    await anybody.post("/v1/auth/refresh", refreshed, 401)
    await anybody.post("/v1/auth/login", {"handle": "ada", "password": "correct horse"}, 401)
    await anybody.post("/v1/auth/register", who, 409)  # kept until it is erased
