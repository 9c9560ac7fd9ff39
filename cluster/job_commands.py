"""The commands for those who look after models: `job`, `models` (ML-3, ML-5)."""
# ruff: noqa: PLC0415

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from cluster.errors import OperatorError
from cluster.settings import inherited_environment, load

JOB = """\
Run a command on the engine as Ray's job server runs it, and follow it to its end: what `ray job submit` does
with the address and the token that `hereabouts status` prints. `python` is the engine's:
    hereabouts job -- python -m matching.jobs.train
Exits as the job did: 0 if it succeeded.
"""

MODELS = """\
Versions of models and what serves. `promote` lets a version serve if the gate let it pass (train asks it;
--force overrules it, and that is written down); `rollback` puts back what served before, and asked
twice goes back twice, to the baseline at last. The Matcher swaps with no request dropped.
A version [trained on somebody erased since] is not promoted any more; one that is [pruned] can't be, its
bytes are gone (docs/operations.md says what is kept).
"""


def _data(arguments: argparse.Namespace) -> Path:
    return load({"data": arguments.data}).settings.data


def _job(arguments: argparse.Namespace) -> int:
    from cluster import engine, layout, processes

    place = layout.layout_of(_data(arguments))
    state = engine.read(place.state) if place.data.is_dir() else None
    if state is None or not processes.is_alive(state.supervisor) or state.ray_dashboard_url is None:
        raise OperatorError(f"no engine runs on {place.data}", "start one with `hereabouts up`")
    if not arguments.command:
        raise OperatorError("no command to run", "hereabouts job -- python -m matching.jobs.train --help")
    ray = str(Path(sys.executable).with_name("ray"))
    more = ["--no-wait"] if arguments.no_wait else []
    environment = {
        **inherited_environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.ray_token_path),
    }
    os.execve(  # noqa: S606 (this process becomes Ray's command)
        ray,
        [ray, "job", "submit", "--address", state.ray_dashboard_url, *more, "--", *arguments.command],
        environment,
    )


def _models(arguments: argparse.Namespace) -> int:
    from storage.registry import RegistryError

    try:
        answer = asyncio.run(_asked(arguments))
    except RegistryError as refused:
        raise OperatorError(str(refused)) from None
    print(json.dumps(answer, indent=2) if arguments.json else _table(answer))
    return 0


async def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    import asyncpg

    from cluster.embedded.postgres import stored_url
    from storage import registry

    settings = load({"data": arguments.data}).settings
    try:
        connection = await asyncpg.connect(settings.database_url or stored_url(settings.data), timeout=10)
    except (OSError, asyncpg.PostgresError) as wrong:
        raise OperatorError(f"no database answers for {settings.data}", "is the engine up?") from wrong
    try:
        if arguments.action == "promote":
            await _promote(connection, arguments.name, arguments.version, forced=arguments.force)
        elif arguments.action == "rollback":
            await registry.rollback(connection, arguments.name, moved_by="operator")
        return {name: await _of(connection, name) for name in await registry.names(connection)}
    finally:
        await connection.close()


async def _promote(connection: Any, name: str, version: str | None, *, forced: bool) -> None:
    """By the verdict that its training kept, if what it was judged against serves still."""
    from storage import registry

    row = None if version is None else await registry.find(connection, name, version)
    if version is None or row is None:
        raise OperatorError(
            f"{name} has no version {version or '(which?)'}", "`hereabouts models` lists what there is"
        )
    async with connection.transaction():
        now = await registry.champion(connection, name)
        serving = registry.BASELINE if now is None else now.version
        verdict = row.metrics.get("verdict") or {"promote": False, "objections": ["the gate was never asked"]}
        if verdict.get("against", serving) not in (serving, version):
            said = f"judged against {verdict['against']}, but {serving} serves: evaluate it again"
            verdict = {**verdict, "promote": False, "objections": [*verdict["objections"], said]}
        await registry.promote(connection, name, version, verdict, moved_by="operator", forced=forced)


async def _of(connection: Any, name: str) -> dict[str, Any]:
    from storage import registry

    serving = await registry.champion(connection, name)
    return {
        "serving": registry.BASELINE if serving is None else serving.version,
        "attention": None if serving is None else registry.attention(serving),
        "versions": [
            {
                "version": row.version,
                "aliases": list(row.aliases),
                "created_at": row.created_at.isoformat(timespec="seconds"),
                "erased_at": None if row.erased_at is None else row.erased_at.isoformat(timespec="seconds"),
                "pruned_at": None if row.pruned_at is None else row.pruned_at.isoformat(timespec="seconds"),
                "metrics": {
                    key: value for key, value in row.metrics.items() if isinstance(value, int | float)
                },
                "verdict": row.metrics.get("verdict"),
                "lineage": row.lineage,
            }
            for row in await registry.versions(connection, name)
        ],
        "moves": [
            {
                "to": move.to_version,
                "why": move.why,
                "by": move.moved_by,
                "at": move.at.isoformat(timespec="seconds"),
            }
            for move in await registry.moves(connection, name)
        ],
    }


def _table(answer: dict[str, Any]) -> str:
    lines = []
    for name, found in answer.items():
        lines.append(f"{name}: {found['serving']} serves")
        if found["attention"] is not None:
            lines.append(f"  ! {found['attention']}")
        for each in found["versions"]:
            figures = ", ".join(f"{key} {value:g}" for key, value in each["metrics"].items())
            marks = "".join(f" [{alias}]" for alias in each["aliases"])
            marks += " [trained on somebody erased since]" if each["erased_at"] else ""
            marks += f" [pruned {each['pruned_at'][:10]}]" if each["pruned_at"] else ""
            lines.append(f"  {each['version']}{marks}  {each['created_at']}  {figures}")
            said = (each["verdict"] or {}).get("objections", ())
            lines.extend(f"      the gate: {objection}" for objection in said)
    return "\n".join(lines) or "no models yet: the baseline serves"


def add(commands: Any, where: argparse.ArgumentParser, as_json: argparse.ArgumentParser) -> None:
    """Adds both to the parser of the command line."""
    job = commands.add_parser(
        "job",
        parents=[where],
        help="run a job on the engine: `hereabouts job -- python -m matching.jobs.train`",
        description=JOB,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    job.add_argument("--no-wait", action="store_true", help="return when it is submitted")
    job.add_argument("command", nargs="*", metavar="COMMAND", help="and its arguments, after --")
    job.set_defaults(run=_job)

    models = commands.add_parser(
        "models",
        parents=[where, as_json],
        help="versions of models: list, promote, rollback",
        description=MODELS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models.add_argument("action", nargs="?", default="list", choices=["list", "promote", "rollback"])
    models.add_argument("version", nargs="?", metavar="VERSION", help="to promote")
    models.add_argument("--name", default="people", help="of the model to move (default: people)")
    models.add_argument("--force", action="store_true", help="promote whatever the gate said")
    models.set_defaults(run=_models)
