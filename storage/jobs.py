"""Runs of jobs and the steps that each has done, so that a killed one goes on where it was (ML-3)."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


class RunTakenError(Exception):
    """Another process works on the same run."""


@dataclass(frozen=True, slots=True)
class RunRow:
    id: str
    kind: str
    parameters: dict[str, Any]
    state: str
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step that is done; its bytes, if it has any, are the blob of that name."""

    blob_sha256: str | None
    result: dict[str, Any]


_RUN = "id, kind, parameters, state, result"


def run_id(kind: str, parameters: Mapping[str, Any]) -> str:
    """Return `<kind>-` and twelve digits of what the run is asked to do: the same again is the same run."""
    asked = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(f'{kind} {asked}'.encode()).hexdigest()[:12]}"


@asynccontextmanager
async def held(connection: Any, kind: str, key: str) -> AsyncIterator[None]:
    """Nobody else works on it meanwhile; a process that dies lets go with its connection.

    Raises RunTakenError at once if somebody does.
    """
    name = f"job:{kind}:{key}"
    if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name):
        raise RunTakenError(f"another process works on this {kind} run; wait for its end or stop it")
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)


async def unfinished(connection: Any, kind: str, asked: Mapping[str, Any]) -> RunRow | None:
    """Return the newest run that was asked for in these words and is not done."""
    row = await connection.fetchrow(
        f"SELECT {_RUN} FROM job_runs WHERE kind = $1 AND state <> 'done' "
        "AND parameters::jsonb -> 'asked' = $2::jsonb ORDER BY started_at DESC LIMIT 1",
        kind,
        json.dumps(asked),
    )
    return None if row is None else _row(row)


async def start(connection: Any, kind: str, parameters: Mapping[str, Any]) -> RunRow:
    """Return the run of these parameters: begun now, or found; one that failed runs again."""
    row = await connection.fetchrow(
        "INSERT INTO job_runs (id, kind, parameters, state) VALUES ($1, $2, $3::json, 'running') "
        "ON CONFLICT (id) DO UPDATE SET updated_at = now(), "
        "state = CASE WHEN job_runs.state = 'done' THEN 'done' ELSE 'running' END "
        f"RETURNING {_RUN}",
        run_id(kind, parameters),
        kind,
        json.dumps(parameters),
    )
    return _row(row)


async def find(connection: Any, run: str) -> RunRow | None:
    row = await connection.fetchrow(f"SELECT {_RUN} FROM job_runs WHERE id = $1", run)
    return None if row is None else _row(row)


async def progressed(connection: Any, run: str, progress: Mapping[str, Any]) -> None:
    await connection.execute(
        "UPDATE job_runs SET progress = $2::json, updated_at = now() WHERE id = $1", run, json.dumps(progress)
    )


async def finish(connection: Any, run: str, state: str, result: Mapping[str, Any]) -> None:
    """`state` is done or failed."""
    await connection.execute(
        "UPDATE job_runs SET state = $2, result = $3::json, updated_at = now() WHERE id = $1",
        run,
        state,
        json.dumps(result),
    )


async def step(connection: Any, run: str, name: str) -> StepRow | None:
    """Return what a step made, if it is done."""
    row = await connection.fetchrow(
        "SELECT blob_sha256, result FROM job_steps WHERE run_id = $1 AND step = $2", run, name
    )
    return None if row is None else StepRow(row["blob_sha256"], json.loads(row["result"]))


async def save_step(connection: Any, run: str, name: str, done: StepRow) -> None:
    """Belongs to the transaction that stores what the step made."""
    await connection.execute(
        "INSERT INTO job_steps (run_id, step, blob_sha256, result) VALUES ($1, $2, $3, $4::json)",
        run,
        name,
        done.blob_sha256,
        json.dumps(done.result),
    )


async def forget_steps(connection: Any, run: str, names: list[str]) -> None:
    """They are to be done again: what they made does not count any more."""
    await connection.execute("DELETE FROM job_steps WHERE run_id = $1 AND step = ANY($2)", run, names)


async def forget_all_steps(connection: Any, run: str) -> None:
    """All of a run's."""
    await connection.execute("DELETE FROM job_steps WHERE run_id = $1", run)


def _row(row: Any) -> RunRow:
    result = row["result"]
    return RunRow(
        row["id"],
        row["kind"],
        json.loads(row["parameters"]),
        row["state"],
        None if result is None else json.loads(result),
    )
