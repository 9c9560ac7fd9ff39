"""Train a head that reads messages, register it, and let it serve if the gate says so (NLP-3, ML-3, ML-5).

Protocol: trained and calibrated as nlp.train does (its --help says how) from the given files, which lie on
the machine that the job runs on. The version's name is the head's: emotion, sentiment or offence.
Gate: on the texts of --judge-text (default: the validation texts, on which its threshold was chosen too), the
macro-F1 is better than the champion's by more than one bootstrap standard error of the difference, and the
calibration error at most 0.05 above what chance makes it on as many texts. The first champion to beat is the
baseline: always the commonest label. A champion with other labels can't be compared: then only --force moves
it. Exit code 2: trained and registered, but refused at the gate.
With --judge-text the head that is registered was trained anew on the validation texts too, once all was
chosen on them; without, the gate judges on these, so they stay untrained on.
Resumable: asked for again with the same files, seed and method, it goes on: a fine-tuning after its last
epoch (--work), a finished training with what it stored. Nothing of people on the engine is
read: the data is given.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from matching.jobs import command
from matching.jobs.engine import code_version
from matching.jobs.run import Run, finished, opened
from nlp import gate, labelled
from nlp.encoder import MissingExtraError
from nlp.labelled import Labelled
from nlp.models import Head, Heads
from nlp.train import add_settings
from nlp.training import Settings, chosen_method, evaluated, forget, train
from storage import registry
from storage.registry import BASELINE

KIND = "text"
CODE = Path(__file__).parent.parent


def _fitted(asked: argparse.Namespace, method: str, folder: Path, run: Run) -> bytes:
    data, val = _data(asked)
    folder.mkdir(parents=True, exist_ok=True)
    refit = asked.judge_text is not None  # else the gate judges on the validation texts
    settings = Settings(asked.seed, method, asked.risk, folder, asked.threads, refit, tuple(asked.harmful))
    return Heads([train(asked.task, data, val, settings, run.tell)]).save(folder / "model.zip")


def _data(asked: argparse.Namespace) -> tuple[Labelled, Labelled]:
    data = labelled.read(asked.train_text, asked.train_labels, asked.mapping)
    return data, labelled.read(asked.val_text, asked.val_labels, asked.mapping, data.labels)


def _judging(asked: argparse.Namespace, head: Head) -> Labelled:
    text, labels = (
        (asked.judge_text, asked.judge_labels) if asked.judge_text else (asked.val_text, asked.val_labels)
    )
    return labelled.read(text, labels, asked.mapping, head.labels)


async def _champion(connection: Any, name: str) -> tuple[str, Head | None]:
    """Return the version that serves and its head; BASELINE and None if none does."""
    row = await registry.champion(connection, name)
    if row is None:
        return BASELINE, None
    stored = await registry.blob(connection, row.blob_sha256)
    if stored is None:
        raise command.JobError(f"the bytes of {row.version} are gone; train again")
    return row.version, Heads.load(stored).heads[name]


async def _trained(run: Run, asked: argparse.Namespace, method: str, folder: Path) -> dict[str, Any]:
    async def make() -> tuple[bytes, dict[str, Any]]:
        return await asyncio.to_thread(_fitted, asked, method, folder, run), {"method": method}

    packed = await run.step("fit", make)
    forget(folder)
    head = Heads.load(packed).heads[asked.task]
    judging = await asyncio.to_thread(_judging, asked, head)
    against, champion = await _champion(run.connection, asked.task)
    run.tell(f"judging on {len(judging)} texts, against {against}")
    metrics = await asyncio.to_thread(evaluated, head, judging)
    verdict = {
        **await asyncio.to_thread(gate.verdict, head, champion, judging, asked.seed),
        "against": against,
    }
    lineage = {
        "run": run.id,
        "seed": asked.seed,
        "method": method,
        "code": code_version(CODE),
        "train": head.card["train"],
        "val": {"texts": head.card["val"]["texts"], "sha256": head.card["val"]["sha256"]},
        "judged_on": {"texts": len(judging), "sha256": judging.sha256},
    }

    async def register(connection: Any) -> dict[str, Any]:
        version = await registry.add_version(
            connection,
            asked.task,
            packed,
            lineage=lineage,
            metrics={**metrics, "verdict": verdict},
            card=gate.card(head, metrics),
        )
        await registry.set_alias(
            connection, asked.task, "challenger", version, why="trained", moved_by=run.id
        )
        return {"version": version}

    version = (await run.commit("register", register))["version"]

    async def promote(connection: Any) -> dict[str, Any]:
        serving, _ = await _champion(connection, asked.task)
        objections = list(verdict["objections"])
        if serving != against:
            objections.append(f"judged against {against}, but {serving} serves by now: train again")
        if asked.no_promote:
            return {"promoted": False, "objections": objections}
        if objections and not asked.force:
            return {"promoted": False, "refused": True, "objections": objections}
        given = {**verdict, "promote": not objections, "objections": objections}
        await registry.promote(connection, asked.task, version, given, moved_by=run.id, forced=asked.force)
        return {"promoted": True, "objections": objections}

    moved = await run.commit("promote", promote)
    return {"version": version, **moved, "metrics": metrics, "verdict": verdict}


async def main(database_url: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run the job; the same files, seed and method are the same run."""
    method = chosen_method(asked.method)
    files = [
        path
        for path in (
            *(asked.train_text, asked.train_labels, asked.val_text, asked.val_labels),
            *(asked.judge_text, asked.judge_labels),
        )
        if path is not None
    ]
    known_by = {
        "task": asked.task,
        "method": method,
        "seed": asked.seed,
        "risk": asked.risk,
        "harmful": asked.harmful,
        "mapping": str(asked.mapping or ""),
        "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
        "promote": "no" if asked.no_promote else "force" if asked.force else "gate",
        "code": code_version(CODE),
    }

    async def nothing_open(_: Any) -> dict[str, Any]:
        return {}

    async with opened(database_url, KIND, known_by, nothing_open) as run:
        if run.row.state == "done" and run.row.result is not None:
            return run.row.result
        folder = asked.work or Path(tempfile.gettempdir()) / f"hereabouts-{run.id}"
        return await finished(run, await _trained(run, asked, method, folder))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m nlp.jobs.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Runs on an engine: submit it as `hereabouts status` says, with this module in place of "
        "matching.jobs.train. Progress goes to stderr; the last line of stdout is one JSON object.",
    )
    add_settings(made)
    made.add_argument("--judge-text", type=Path, help="texts that the gate judges on")
    made.add_argument("--judge-labels", type=Path)
    made.add_argument("--work", type=Path, help="folder of the checkpoint (default: one of the run, in the "
                                                "machine's temporary folder)")  # fmt: skip
    made.add_argument("--no-promote", action="store_true", help="register as challenger, and no more")
    made.add_argument(
        "--force", action="store_true", help="let it serve whatever the gate says; written down"
    )
    return made


def job(site: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Run it on this engine; what is wrong with the files or the installation is a sentence."""
    try:
        return asyncio.run(main(site.database_url, asked))
    except (MissingExtraError, OSError) as wrong:
        raise command.JobError(str(wrong)) from wrong


if __name__ == "__main__":
    sys.exit(command.run(parser(), job))
