"""From decisions to a model that serves, on the engine that runs (docs/data-science.md explains each step).

    .venv/bin/python docs/data_science.py --data .hereabouts

What a data scientist types, as a program: `hereabouts status`, `ray job submit`, `hereabouts models`. It
needs some thousands of decisions on the engine; docs/data-science.md says how to have them made up.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = Path(sys.executable).parent
SWAP_TRIES, SWAP_LOOK_S = 60, 0.5


def hereabouts(data: str, *arguments: str) -> Any:
    """Return what a command answers as JSON."""
    command = [PROGRAMS / "hereabouts", *arguments, "--data", data, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def submit(ray: dict[str, str], *job: str) -> dict[str, Any]:
    """Have Ray's job server run `python -m …`; show its progress and return its last line."""
    command = [
        PROGRAMS / "ray", "job", "submit", "--address", ray["dashboard_url"], "--", "python", "-m", *job,
    ]  # fmt: skip
    print(f"\n$ {ray['submit']} python -m {shlex.join(job)}", flush=True)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": ray["token_path"]}
    running = subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    answer: dict[str, Any] = {}
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("["):
            print(line, end="", flush=True)
        elif line.startswith("{"):
            answer = json.loads(line)
    running.wait()
    if "error" in answer or not answer:
        sys.exit(answer.get("error", "the job did not get to its end"))
    return answer


def scored_by(url: str, token: str, wanted: str) -> str | None:
    """Return the version on somebody's suggestions, once the Matcher has swapped to the wanted one."""
    request = urllib.request.Request(f"{url}/v1/matches", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    for _ in range(SWAP_TRIES):
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            model: str | None = json.load(answer)["model"]
        if model == wanted:
            break
        time.sleep(SWAP_LOOK_S)
    return model


def walk(data: str, token: str | None = None, tell: Callable[..., None] = print) -> dict[str, Any]:
    """Return what came of each step: features, train, evaluate, serving, a score of it, and back."""
    status = hereabouts(data, "status")
    ray = status["ray"]

    features = submit(ray, "matching.jobs.features")
    tell(f"dataset {features['dataset'][:12]}…: {features['rows']} rows, {features['people']} people")

    train = submit(ray, "matching.jobs.train", "--dataset", features["dataset"])
    metrics, usual = train["metrics"], train["metrics"]["baseline"]
    tell(f"{train['version']}: AUC {metrics['auc']} (baseline {usual['auc']}), ECE {metrics['ece']}")
    tell("promoted" if train["promoted"] else f"refused: {train['objections']}")

    evaluate = submit(ray, "matching.jobs.evaluate", "--version", train["version"])
    for group, found in evaluate["groups"].items():
        tell(f"  {group}: {found['rows']} rows, AUC {found['auc']}, promised {found['bias']:+.3f} too much")
    tell(f"moved since training: {', '.join(evaluate['drift']['moved']) or 'nothing'}")
    tell(f"alarms: {', '.join(evaluate['alarms']) or 'none'}")

    serving = hereabouts(data, "models")["people"]["serving"]
    tell(f"serving: {serving}")
    steps = {"features": features, "train": train, "evaluate": evaluate, "serving": serving}
    if train["promoted"] and token is not None:
        steps["scored_by"] = scored_by(status["url"], token, serving)
        tell(f"on scores: {steps['scored_by']}")
    if train["promoted"]:
        steps["back"] = hereabouts(data, "models", "rollback")["people"]["serving"]
        tell(f"after a rollback: {steps['back']}")
    return steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=".hereabouts", help="the engine's data folder")
    parser.add_argument("--token", help="of somebody whose suggestions are looked at (hereabouts dev-users)")
    arguments = parser.parse_args()
    walk(arguments.data, arguments.token)
