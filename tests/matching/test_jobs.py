"""What jobs keep: runs that go on, datasets that come out the same, and nothing of the erased (ML-2, ML-3,
ML-11, ML-12).
"""

import json
from datetime import UTC, datetime, timedelta

import pytest
from deciding import Town

from matching import dataset
from matching.decisions import LeakError
from matching.jobs import command, features, run, train
from matching.jobs.command import JobError
from matching.jobs.engine import code_version
from matching.pair_features import FEATURES
from storage import datasets, erasing_matching, registry, retention
from storage.jobs import RunTakenError
from storage.offsets import Offset
from storage.registry import ErasedError, PrunedError


def asked(module, *arguments):
    parser = module._parser() if module is features else module.parser()
    return parser.parse_args(arguments)


@pytest.fixture
async def town(pool):
    town = Town.made(40, 5)
    async with pool.acquire() as connection:
        await town.settle(connection)
        await town.decide(connection, 300)
        await town.decide(connection, 300)
    return town


async def test_a_range_asked_for_later_gives_the_same_bytes(pool, database_url, town):
    first = await features.main(database_url, asked(features))
    assert (first["rows"], first["people"], first["features"]) == (600, 40, len(FEATURES))
    async with pool.acquire() as connection:
        await town.decide(connection, 100)
        await connection.execute("UPDATE preferences SET interests = '{else}'")
    again = await features.main(database_url, asked(features, "--to", first["to"], "--seed", "1"))
    assert (again["dataset"], again["run"] != first["run"]) == (first["dataset"], True)
    assert (await features.main(database_url, asked(features)))["rows"] == 700


@pytest.mark.usefixtures("town")
async def test_rows_before_the_range_count_and_are_not_in_it(pool, database_url):
    whole = await features.main(database_url, asked(features))
    async with pool.acquire() as connection:
        rows = dataset.read((await datasets.load(connection, whole["dataset"]))[1])
        second = f"{rows['xid'][300]}.{rows['seq'][300]}"
        part = await features.main(database_url, asked(features, "--from", second, "--to", whole["to"]))
        assert part["rows"] == 300
        assert dataset.read((await datasets.load(connection, part["dataset"]))[1]).equals(rows[300:])


@pytest.mark.usefixtures("town")
async def test_a_planted_column_stops_the_job_and_is_named(pool, database_url):
    with pytest.raises(LeakError, match="'outcome'"):
        await features.main(database_url, asked(features, "--with", "planted:outcome"))
    kept = await features.main(database_url, asked(features, "--with", "planted:of_the_day"))
    assert kept["features"] == len(FEATURES) + 1
    async with pool.acquire() as connection:
        states = await connection.fetch("SELECT state, result FROM job_runs ORDER BY started_at")
    assert [row["state"] for row in states] == ["failed", "done"]
    assert "outcome" in states[0]["result"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("planted:of_half", "rows"),
        ("planted:named_as_another", "rater_age"),
        ("planted:broken", "no_such_column"),
        ("planted:no_columns", "list"),
        ("planted:nowhere", "nowhere"),
        ("no_module_of_this_name:made", "no_module_of_this_name"),
        ("planted", "MODULE:FUNCTION"),
    ],
)
@pytest.mark.usefixtures("town")
async def test_a_column_of_ones_own_that_cannot_be_used_is_refused_by_its_name(database_url, name, says):
    with pytest.raises(JobError, match=says) as refused:
        await features.main(database_url, asked(features, "--with", name))
    assert f"--with {name}" in str(refused.value)


def test_what_nobody_expected_is_told_in_the_last_line_too(monkeypatch, capsys):
    monkeypatch.setattr(command, "site", lambda: None)
    monkeypatch.setattr("sys.argv", ["job"])

    def job(_, __):
        raise ZeroDivisionError("a worker said:\n  division by zero\n")

    assert command.run(command.parser("some", ""), job) == 1
    out, err = capsys.readouterr()
    said = json.loads(out.splitlines()[-1])
    assert said == {"error": "ZeroDivisionError:   division by zero", "kind": "ZeroDivisionError"}
    assert "Traceback" in err


async def test_a_decision_from_the_future_stops_the_job(pool, database_url, town):
    async with pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO decisions (rater_id, ratee_id, likes, at) VALUES ($1, $2, true, $3)",
            town.ids[0],
            town.ids[1],
            datetime.now(UTC) + timedelta(days=1),
        )
    with pytest.raises(LeakError, match="dated after now"):
        await features.main(database_url, asked(features))


@pytest.mark.usefixtures("town")
async def test_a_dataset_that_was_pruned_is_made_again_as_it_was(pool, database_url):
    first = await features.main(database_url, asked(features))
    async with pool.acquire() as connection:
        await connection.execute("UPDATE blobs SET created_at = created_at - interval '2 hours'")
        later = datetime.now(UTC) + timedelta(days=40)
        done = await retention.prune(connection, retention.Keep(1, timedelta(days=30)), later)
        assert done.datasets == (first["dataset"],)
        with pytest.raises(PrunedError, match="build the features again"):
            await train.main(database_url, asked(train, "--dataset", first["dataset"]))
        assert await features.main(database_url, asked(features)) == first
        assert (await datasets.load(connection, first["dataset"]))[0].row_count == first["rows"]


async def nothing_open(_):
    return {}


async def test_a_run_goes_on_after_the_steps_that_it_stored(pool, database_url):
    made = []

    async def work(fails):
        async with run.opened(database_url, "test", {"of": 1}, nothing_open) as one:
            for name in ("first", "second"):

                async def make(name=name):
                    made.append(name)
                    if fails and name == "second":
                        raise RuntimeError("killed")
                    return name.encode(), {}

                assert await one.step(name, make) == name.encode()
            return await run.finished(one, {"ok": True})

    with pytest.raises(RuntimeError):
        await work(fails=True)
    whole = await work(fails=False)
    assert made == ["first", "second", "second"]
    assert (await pool.fetchval("SELECT state FROM job_runs WHERE id = $1", whole["run"])) == "done"


async def test_two_processes_do_not_work_on_one_run(database_url):
    async with run.opened(database_url, "test", {"of": 1}, nothing_open):
        with pytest.raises(RunTakenError):
            async with run.opened(database_url, "test", {"of": 1}, nothing_open):
                pass
        async with run.opened(database_url, "test", {"of": 2}, nothing_open) as other:
            assert other.row.state == "running"


async def test_who_leaves_is_in_no_dataset_and_who_is_erased_is_trained_on_by_nobody(
    pool, database_url, town
):
    gone, other = town.ids[0], town.ids[1]
    whole = await features.main(database_url, asked(features))
    async with pool.acquire() as connection:
        await connection.execute("UPDATE users SET status = 'deleting' WHERE id = $1", gone)
        without = await features.main(database_url, asked(features, "--seed", "2"))
        assert without["people"] == 39
        rows = dataset.read((await datasets.load(connection, without["dataset"]))[1])
        assert gone not in {*rows["rater"], *rows["ratee"]}
        assert other in {*rows["rater"], *rows["ratee"]}
        async with connection.transaction():
            await erasing_matching.erase(connection, gone)
        assert not (await datasets.find(connection, without["dataset"])).is_erased
    with pytest.raises(ErasedError, match="build the features again"):
        await train.main(database_url, asked(train, "--dataset", whole["dataset"]))


async def test_features_asked_for_again_after_somebody_left_are_others(pool, database_url, town):
    """What they left says: build the features again. That must not give the same ones."""
    whole = await features.main(database_url, asked(features))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE users SET status = 'deleting' WHERE id = $1", town.ids[0])
        await erasing_matching.mark(connection, town.ids[0])
    again = await features.main(database_url, asked(features))
    assert again["run"] == whole["run"]
    assert again["dataset"] != whole["dataset"]
    assert again["people"] == 39


async def test_a_training_asked_for_again_after_an_erasure_is_another_one(pool, database_url, town):
    """Nothing was decided since, so it is the same run; but the model that it made may not serve any more."""
    arguments = asked(train, "--later", "0.99")
    parameters = {**run.asked_of(arguments), "code": code_version()}

    def resolve(connection):
        return features.settled(connection, None)

    async def made():
        return b"a model", {}

    async with run.opened(database_url, "train", parameters, resolve) as at:
        built = await features.build(at, Offset(), Offset.parse(at.parameters["to"]), (), 0)
        await at.step("fit", made)

        async def register(connection):
            sha256 = built["dataset"]
            version = await registry.add_version(
                connection, "people", b"a model", lineage={}, metrics={}, dataset_sha256=sha256
            )
            return {"version": version}

        version = await at.commit("register", register)
        await run.finished(at, version)
    assert (await train.main(database_url, arguments))["version"] == version["version"]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE users SET status = 'deleting' WHERE id = $1", town.ids[0])
        await erasing_matching.mark(connection, town.ids[0])
    with pytest.raises(JobError, match="6 rows to train on"):  # so it has begun
        await train.main(database_url, arguments)
    async with run.opened(database_url, "train", parameters, resolve) as at:
        found = await at.done("dataset")
        assert found.result["dataset"] != built["dataset"]
        assert found.result["people"] == 39
        assert await at.done("fit") is None
        assert await at.done("register") is None


async def test_a_dataset_that_never_was_is_refused(database_url):
    with pytest.raises(JobError, match=r"there is no dataset abc; matching\.jobs\.features"):
        await train.main(database_url, asked(train, "--dataset", "abc"))
    with pytest.raises(JobError, match="eta"):
        await train.main(database_url, asked(train, "--set", "ETA=1"))
    with pytest.raises(JobError, match="no decisions"):
        await train.main(database_url, asked(train))
