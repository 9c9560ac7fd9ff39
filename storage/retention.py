"""Which bytes of models, datasets and steps of jobs are kept, and the removal of the others (ML-5, ML-11).

Kept of models, of each name: what an alias names, what one named within MOVED_WITHIN, the champions before
the present one to which `rollback` would go next, and the newest versions; never one that somebody was
erased from and that no alias names: nothing may be made of it. Kept of datasets: what a kept model was
trained on, and the newest. Kept of both: whatever a run names that goes on or may go on. Rows stay, with
`pruned_at`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.registry import ALIASES, ModelRow, Move, lock, moves, names, served, versions

MOVED_WITHIN = timedelta(days=30)
ROLLBACKS = 3
"""Earlier champions that stay, however long ago they served."""
LOCK_WAIT_S = 5.0
"""Runs that begin wait for as long, at the most, as this waits for others."""
JUST_COME = timedelta(hours=1)
"""Bytes that are younger may be about to be named: whoever stores bytes that are there makes them young."""


@dataclass(frozen=True, slots=True)
class Keep:
    """`versions` is how many of the newest of each name stay; `age` for how long datasets do, and the steps
    of a run that was not finished.
    """

    versions: int
    age: timedelta


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: model versions, datasets, steps of jobs; and how many bytes that freed."""

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    steps: int = 0
    freed_bytes: int = 0


async def prune(
    connection: Any, keep: Keep, now: datetime, lock_wait_s: float = LOCK_WAIT_S
) -> Pruned | None:
    """Remove what is not kept, in one transaction. None: another process is at it. Raises what Postgres
    raises, also where something is held by others for longer than it waits; then nothing is changed.

    A run that begins meanwhile waits for the end of it, so that none is told of bytes that are then gone.
    """
    async with connection.transaction():
        is_alone = await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('retention', 0))"
        )
        if not is_alone:
            return None
        await connection.execute(f"SET LOCAL lock_timeout = {round(lock_wait_s * 1_000)}")
        await connection.execute("LOCK TABLE job_runs IN SHARE ROW EXCLUSIVE MODE")
        every = await names(connection)
        # As those who register models do, and those who erase people: else each could wait for the other.
        for name in every:
            await lock(connection, name)
        await connection.execute("SELECT FROM datasets ORDER BY sha256 FOR UPDATE")
        named = await _named_by_runs(connection, now - keep.age)
        steps = await _done_steps(connection, now - keep.age)
        models: list[str] = []
        for name in every:
            found = await versions(connection, name)
            moved = [each for alias in ALIASES for each in await moves(connection, name, alias)]
            models += [
                row.version for row in unneeded(found, moved, keep.versions, now) if row.version not in named
            ]
        await connection.execute(
            "UPDATE models SET pruned_at = $2 WHERE version = ANY($1::text[])", models, now
        )
        datasets = [
            row[0]
            for row in await connection.fetch(
                "SELECT d.sha256 FROM datasets d JOIN blobs b USING (sha256) WHERE d.created_at < $1 "
                "AND d.pruned_at IS NULL "
                "AND NOT EXISTS (SELECT FROM models m WHERE m.dataset_sha256 = d.sha256 "
                "AND m.pruned_at IS NULL)",
                now - keep.age,
            )
            if row[0] not in named
        ]
        await connection.execute(
            "UPDATE datasets SET pruned_at = $2 WHERE sha256 = ANY($1::text[])", datasets, now
        )
        await connection.execute("DELETE FROM dataset_people WHERE sha256 = ANY($1::text[])", datasets)
        return Pruned(tuple(models), tuple(datasets), steps, await _drop_blobs(connection, now - JUST_COME))


def unneeded(found: Sequence[ModelRow], moved: Sequence[Move], newest: int, now: datetime) -> list[ModelRow]:
    """Return those of one name's versions (the newest first) whose bytes nothing needs but perhaps a run.
    `moved` are all moves of its aliases, each alias' in order.
    """
    there = [row for row in found if row.pruned_at is None]
    fit = [row for row in there if row.erased_at is None]
    wanted = {row.version for row in fit[:newest]}
    for move in moved:
        if move.at >= now - MOVED_WITHIN:
            wanted |= {move.to_version or "", move.from_version or ""}
    usable = {row.version for row in fit}
    before = served([move for move in moved if move.alias == "champion"])[:-1]
    wanted |= set([each for each in reversed(before) if each in usable][:ROLLBACKS])
    return [
        row for row in there if not row.aliases and (row.erased_at is not None or row.version not in wanted)
    ]


async def _named_by_runs(connection: Any, since: datetime) -> str:
    """All that runs say which go on, or may go on: what they name is theirs."""
    rows = await connection.fetch(
        "SELECT r.kind, r.parameters, r.updated_at, coalesce((SELECT string_agg(s.result::text, ' ') "
        "FROM job_steps s WHERE s.run_id = r.id), '') AS results FROM job_runs r WHERE r.state <> 'done'"
    )
    named = [
        f"{row['parameters']} {row['results']}"
        for row in rows
        if row["updated_at"] >= since or not await _is_free(connection, row)
    ]
    return " ".join(named)


async def _done_steps(connection: Any, since: datetime) -> int:
    """Lets the bytes go of steps that nobody will ask for: of runs that are done, or were left long ago."""
    rows = await connection.fetch(
        "SELECT r.id, r.kind, r.parameters, r.updated_at, r.state FROM job_runs r "
        "WHERE EXISTS (SELECT FROM job_steps s WHERE s.run_id = r.id AND s.blob_sha256 IS NOT NULL)"
    )
    gone = [
        row["id"]
        for row in rows
        if row["state"] == "done" or (row["updated_at"] < since and await _is_free(connection, row))
    ]
    done = await connection.execute(
        "UPDATE job_steps SET blob_sha256 = NULL WHERE run_id = ANY($1::text[]) AND blob_sha256 IS NOT NULL",
        gone,
    )
    return int(done.split()[-1])


async def _is_free(connection: Any, run: Any) -> bool:
    """Say whether no process works on the run (storage.jobs.held); until the transaction ends none can."""
    key = json.dumps(json.loads(run["parameters"])["asked"], sort_keys=True)
    return bool(
        await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", f"job:{run['kind']}:{key}"
        )
    )


async def _drop_blobs(connection: Any, since: datetime) -> int:
    """Removes bytes that nothing names and that came before `since`."""
    freed = await connection.fetchval(
        "WITH gone AS (DELETE FROM blobs b WHERE b.created_at < $1 "
        "AND NOT EXISTS (SELECT FROM models m WHERE m.blob_sha256 = b.sha256 AND m.pruned_at IS NULL) "
        "AND NOT EXISTS (SELECT FROM datasets d WHERE d.sha256 = b.sha256 AND d.pruned_at IS NULL "
        "AND d.erased_at IS NULL) "
        "AND NOT EXISTS (SELECT FROM job_steps s WHERE s.blob_sha256 = b.sha256) "
        "RETURNING length(b.bytes) AS size) SELECT coalesce(sum(size), 0)::bigint FROM gone",
        since,
    )
    return int(freed)
