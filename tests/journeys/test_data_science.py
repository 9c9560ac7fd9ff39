"""A data scientist's way on a running engine, as docs/data-science.md has it, and a job that is killed on it
(ML-3, ML-5, ML-6, ML-11).
"""

import asyncio
import json
import os
import runpy
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from deciding import Town as Deciding
from rt_client.engine import Engine
from rt_client.town import hereabouts, status

from cluster.embedded.postgres import stored_url
from matching import dataset
from matching.jobs.fitting import fit_rows
from matching.rank import Settings
from storage import datasets, erasing_matching, registry

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
PEOPLE, DECISIONS = 150, 5_000


def unlist(url: str, token: str) -> None:
    """They are suggested to nobody any more."""
    request = urllib.request.Request(f"{url}/v1/me/preferences", method="PUT", data=b'{"listed": false}')
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    request.add_header("If-Match", "*")
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=10):
        pass  # whom a test erased has nothing to change


@pytest.fixture(scope="module")
def decided(engine: Engine) -> Iterator[Deciding]:
    """Some have decided on this engine; they are in nobody's way after this module."""
    made = hereabouts(engine.data, "dev-users", "--count", str(PEOPLE), "--prefix", "decides")
    accounts = [json.loads(line) for line in made.splitlines()]
    deciding = Deciding.made(PEOPLE, 3, [each["user"] for each in accounts])
    deciding.tokens = [each["token"] for each in accounts]

    async def settle() -> None:
        connection = await asyncpg.connect(stored_url(engine.data))
        await deciding.settle(connection)
        await deciding.decide(connection, DECISIONS)
        await connection.close()

    asyncio.run(settle())
    yield deciding
    for token in deciding.tokens:
        unlist(engine.url, token)


@pytest.fixture
async def database(engine: Engine, decided: Deciding) -> AsyncIterator[Any]:
    assert decided.ids
    connection = await asyncpg.connect(stored_url(engine.data))
    yield connection
    await connection.close()


class Job:
    """A job that was submitted by the command that `status` prints, and what it says."""

    def __init__(self, engine: Engine, *command: str) -> None:
        line = f"env {status(engine.data)['ray']['submit']} python -m {' '.join(command)}"
        self._running = subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.said: list[str] = []

    def until(self, text: str) -> None:
        """Read on to a line with this in it."""
        assert self._running.stdout is not None
        for line in self._running.stdout:
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"never said {text!r}:\n{''.join(self.said)}")

    def answer(self) -> tuple[dict[str, Any], int]:
        """Read to the end: the last line that is JSON, and the exit code."""
        assert self._running.stdout is not None
        self.said += self._running.stdout.readlines()
        self._running.stdout.close()
        lines = [line for line in self.said if line.startswith("{")]
        return (json.loads(lines[-1]) if lines else {}), self._running.wait(30)


def process_of(engine: Engine, text: str) -> int:
    """The pid of the engine's process with this in its command line or title."""
    supervisor = psutil.Process(json.loads((engine.data / "engine.json").read_text())["supervisor"]["pid"])
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s:
        for each in supervisor.children(recursive=True):
            with suppress(psutil.Error):
                if text in " ".join(each.cmdline()) and each.name() != "sh":
                    return each.pid
        time.sleep(0.02)
    raise AssertionError(f"no process of {text!r}")


async def driver_past_its_dataset(engine: Engine, database: Any) -> int:
    """The pid of the training's process, at the moment that its first step is stored: what it prints comes a
    second later, when a quick one may be done.
    """
    known = await database.fetchval("SELECT count(*) FROM job_steps WHERE step = 'dataset'")
    driver = await asyncio.to_thread(process_of, engine, "-m matching.jobs.train")
    while await database.fetchval("SELECT count(*) FROM job_steps WHERE step = 'dataset'") == known:
        await asyncio.sleep(0.01)
    return driver


async def test_a_job_killed_twice_goes_on_and_makes_what_it_would_have_made(
    engine: Engine, database: Any
) -> None:
    first = Job(engine, "matching.jobs.train", "--no-promote")
    os.kill(await driver_past_its_dataset(engine, database), signal.SIGKILL)
    assert first.answer()[1] == 1
    steps = "SELECT step, done_at FROM job_steps WHERE step = 'dataset' ORDER BY done_at DESC LIMIT 1"
    before = await database.fetchrow(steps)
    second = Job(engine, "matching.jobs.train", "--no-promote")
    os.kill(process_of(engine, "ray::fit"), signal.SIGKILL)
    answer, code = second.answer()
    assert (code, answer["promoted"]) == (0, False), second.said
    assert await database.fetchrow(steps) == before
    assert not any("reading decisions" in line for line in second.said)
    row = await registry.find(database, "people", answer["version"])
    rows = dataset.read((await datasets.load(database, answer["dataset"]))[1])
    unkilled = fit_rows(rows[: answer["rows"]], asdict(Settings()), seed=0)
    assert await registry.blob(database, row.blob_sha256) == unkilled
    assert row.lineage["dataset"] == answer["dataset"]


async def test_the_documents_way_from_decisions_to_a_model_that_serves_and_back(
    engine: Engine, database: Any, decided: Deciding
) -> None:
    program = runpy.run_path(str(ROOT / "docs" / "data_science.py"))
    said: list[str] = []
    found = await asyncio.to_thread(program["walk"], str(engine.data), decided.tokens[1], said.append)
    train = found["train"]
    assert train["metrics"]["auc"] > train["metrics"]["baseline"]["auc"]
    assert (train["promoted"], found["serving"], found["back"]) == (True, train["version"], "baseline"), said
    assert found["scored_by"] == train["version"]
    assert found["evaluate"]["rows"] == train["later"]
    moves = await registry.moves(database, "people")
    assert [move.why for move in moves[-2:]] == ["gate", "rollback"]
    line = f"{status(engine.data)['ray']['submit']} python -m matching.jobs.features"
    assert line.split(" -- ")[1] in (ROOT / "docs" / "data-science.md").read_text()


async def test_somebody_erased_while_a_model_is_trained_is_not_in_it(
    engine: Engine, database: Any, decided: Deciding
) -> None:
    gone = decided.ids[0]
    running = Job(engine, "matching.jobs.train", "--no-promote", "--seed", "5")
    driver = psutil.Process(await driver_past_its_dataset(engine, database))
    driver.suspend()
    async with database.transaction():
        await database.execute("UPDATE users SET status = 'erased' WHERE id = $1", gone)
        await erasing_matching.forget_decisions(database, gone)
        await erasing_matching.mark(database, gone)
    driver.resume()
    answer, code = running.answer()
    assert code == 0, running.said
    assert any("without them" in line for line in running.said)
    people = await database.fetchval(
        "SELECT count(*) FROM dataset_people WHERE sha256 = $1 AND user_id = $2", answer["dataset"], gone
    )
    row = await registry.find(database, "people", answer["version"])
    assert (people, row.erased_at, row.dataset_sha256) == (0, None, answer["dataset"])
    rows = dataset.read((await datasets.load(database, answer["dataset"]))[1])
    assert gone not in {*rows["rater"], *rows["ratee"]}


@pytest.mark.slow
@pytest.mark.usefixtures("decided")
async def test_a_search_that_is_killed_keeps_its_trials_and_beats_or_equals_the_defaults(
    engine: Engine,
) -> None:
    asked = ("matching.jobs.tune", "--trials", "6", "--at-once", "2")
    first = Job(engine, *asked)
    first.until("] trials: ")
    os.kill(process_of(engine, "-m matching.jobs.tune"), signal.SIGKILL)
    assert first.answer()[1] == 1
    second = Job(engine, *asked)
    answer, code = second.answer()
    assert (code, answer["trials"]) == (0, 6), second.said
    assert any("trials done before" in line and " 0 of" not in line for line in second.said)
    assert answer["log_loss"] <= answer["default_log_loss"]


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_above_the_switch_workers_of_ray_train_make_the_trees(engine: Engine, database: Any) -> None:
    alone, _ = Job(engine, "matching.jobs.train", "--no-promote", "--seed", "9").answer()
    asked = ("--no-promote", "--seed", "9", "--switch-rows", "0", "--workers", "2")
    running = Job(engine, "matching.jobs.train", *asked)
    together, code = running.answer()
    assert code == 0, running.said
    assert together["metrics"]["auc"] == pytest.approx(alone["metrics"]["auc"], abs=0.02)
    assert await registry.find(database, "people", together["version"]) is not None
