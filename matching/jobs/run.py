"""One run of a job: what it is asked to do, how far it is, and what it has done for good (ML-3).

The same parameters are the same run. A run that was killed goes on after the last step that it stored; a step
is stored in one transaction with what it made. What is open in the parameters ("all there is") is settled
when the run begins and kept with it, so that going on means the same as having gone on.
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from matching.jobs.engine import connect
from storage import jobs
from storage.jobs import RunRow, StepRow
from storage.registry import blob, put_blob

TELL_EVERY_S = 1.0
Resolve = Callable[[Any], Awaitable[Mapping[str, Any]]]
"""From a connection to what the open parameters come to now."""


class Run:
    """Made by `opened`."""

    def __init__(self, connection: Any, row: RunRow) -> None:
        self.connection = connection
        self.row = row
        self._told_s = 0.0

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def parameters(self) -> dict[str, Any]:
        """Those asked for and those settled, in one."""
        return {**self.row.parameters["asked"], **self.row.parameters["settled"]}

    async def done(self, name: str) -> StepRow | None:
        """Return what a step made, if it is done."""
        return await jobs.step(self.connection, self.id, name)

    async def step(self, name: str, make: Callable[[], Awaitable[tuple[bytes, dict[str, Any]]]]) -> bytes:
        """Return the bytes of a step: those stored, or else made and stored now."""
        found = await self.done(name)
        if found is not None and found.blob_sha256 is not None:
            stored = await blob(self.connection, found.blob_sha256)
            if stored is not None:  # or somebody in it was erased: it is to be made again
                self.tell(f"{name}: done before")
                return stored
        made, result = await make()
        async with self.connection.transaction():
            await jobs.forget_steps(self.connection, self.id, [name])
            sha256 = await put_blob(self.connection, made)
            await jobs.save_step(self.connection, self.id, name, StepRow(sha256, result))
        self.tell(f"{name}: done")
        return made

    async def commit(self, name: str, act: Callable[[Any], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Return the result of a step that changes the database, stored in the transaction that does."""
        found = await self.done(name)
        if found is not None:
            return found.result
        async with self.connection.transaction():
            result = await act(self.connection)
            await jobs.save_step(self.connection, self.id, name, StepRow(None, result))
        self.tell(f"{name}: done")
        return result

    async def forget(self, *names: str) -> None:
        """Have steps done again."""
        await jobs.forget_steps(self.connection, self.id, list(names))

    async def forget_all(self) -> None:
        """Have everything done again."""
        await jobs.forget_all_steps(self.connection, self.id)

    async def progress(self, step: str, done: int, of: int) -> None:
        """Say how far a step is, at most once a second, and at its end."""
        now_s = time.monotonic()
        if done < of and now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        self.tell(f"{step}: {done} of {of}")
        await jobs.progressed(self.connection, self.id, {"step": step, "done": done, "of": of})

    def tell(self, line: str) -> None:
        print(f"[{self.id}] {line}", file=sys.stderr, flush=True)


@asynccontextmanager
async def opened(
    database_url: str, kind: str, asked: Mapping[str, Any], resolve: Resolve, *, again: bool = False
) -> AsyncIterator[Run]:
    """The run of these parameters, held by this process: one that was not finished, or else a new one, or the
    finished one that comes to the same (its `row.result` is there then; `again`: never that).

    Raises RunTakenError if another process works on it. A run that ends with an exception has failed, unless
    the process was killed; asked for again it goes on.
    """
    connection = await connect(database_url, kind)
    try:
        async with jobs.held(connection, kind, json.dumps(asked, sort_keys=True)):
            row = await jobs.unfinished(connection, kind, asked)
            if row is None:
                settled = dict(await resolve(connection))
                if again:
                    settled["at"] = time.time_ns()
                row = await jobs.start(connection, kind, {"asked": dict(asked), "settled": settled})
            else:
                row = await jobs.start(connection, kind, row.parameters)
            run = Run(connection, row)
            run.tell(f"{'done before' if row.state == 'done' else 'begins'}: {json.dumps(run.parameters)}")
            try:
                yield run
            except Exception as wrong:
                if not connection.is_closed():
                    await jobs.finish(connection, run.id, "failed", {"error": str(wrong) or repr(wrong)})
                raise
    finally:
        await connection.close()


async def finished(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """Note the result and return it with the run's id."""
    whole = {"run": run.id, **result}
    await jobs.finish(run.connection, run.id, "done", whole)
    return whole


def asked_of(arguments: Namespace, *ignored: str) -> dict[str, Any]:
    """Return the parameters that a run is known by."""
    return {name: value for name, value in sorted(vars(arguments).items()) if name not in ignored}
