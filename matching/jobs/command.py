"""How every job is started and how it ends: help, errors in a sentence, one JSON object last (ML-3)."""

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import ray

from matching.artefact import ArtefactError
from matching.decisions import LeakError
from matching.jobs.engine import EngineSite, NoEngineError, site
from storage.jobs import RunTakenError
from storage.registry import RegistryError

REFUSED = 2
"""The exit code of a job that did its work and whose answer is no."""


class JobError(Exception):
    """What was asked for can't be done; the message says why and what to do."""


EXPECTED = (
    ArtefactError, JobError, LeakError, NoEngineError, RegistryError, RunTakenError, ValueError,
)  # fmt: skip


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m matching.jobs.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Runs on an engine: submit it as `hereabouts status` says. Progress goes to stderr; the last "
        "line of stdout is one JSON object. Killed half way and asked for again, it goes on where it was.",
    )


def run(
    arguments: argparse.ArgumentParser, job: Callable[[EngineSite, argparse.Namespace], dict[str, Any]]
) -> int:
    """Parse, run, print the result; return the exit code. What goes wrong is the last line too, {"error"};
    where nobody expected it, its traceback is on stderr.
    """
    given = arguments.parse_args()
    try:
        result = job(site(), given)
    except EXPECTED as wrong:
        result = {"error": str(wrong), "kind": type(wrong).__name__}
    except Exception as wrong:  # noqa: BLE001 - of the job, the engine or a worker: it is told
        traceback.print_exc()
        said = [line for line in str(wrong).splitlines() if line.strip()] or [""]
        result = {"error": f"{type(wrong).__name__}: {said[-1]}", "kind": type(wrong).__name__}
    finally:
        ray.shutdown()
    if "error" in result:
        print(f"{arguments.prog}: {result['error']}", file=sys.stderr, flush=True)
    print(json.dumps(result), flush=True)
    return 1 if "error" in result else REFUSED if result.get("refused") else 0
