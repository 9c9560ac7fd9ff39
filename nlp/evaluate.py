"""`python -m nlp.evaluate emotion | valence …`: figures of text models on files, one JSON line at the end."""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nlp import labelled, valence
from nlp.bundle import FILE
from nlp.encoder import MissingExtraError
from nlp.models import Head, Heads
from nlp.train import add_names
from nlp.training import evaluated

HEAD = f"""
Evaluate a head that nlp.train wrote on labelled texts. No torch.

figures
  macro_f1   mean F1 over the labels; the head is made to answer every text, also what it would abstain from
  f1         by label
  accuracy   share of texts with all labels right
  ece        expected calibration error of the likeliest label, ten equal bins
  abstained  texts by reason: less sure than the threshold chosen in training, or not English
  answered   the same figures over the texts from which it does not abstain, and their share
  seeds      if the folder holds seed-N folders (nlp.train --seeds): macro_f1 of each, mean, deviation

files
{(labelled.__doc__ or "").split(chr(10) * 2, 1)[1].rstrip()}

seed: none here; that of the training is repeated from the model.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one evaluation; 0 done, 2 refused."""
    options = _parser().parse_args(arguments)
    try:
        found = options.run(options)
    except (ValueError, OSError, MissingExtraError) as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 2
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nlp.evaluate", description=(__doc__ or "").splitlines()[0]
    )
    tasks = parser.add_subparsers(required=True, dest="task")

    def task(name: str, text: str, run: object) -> argparse.ArgumentParser:
        found = tasks.add_parser(name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        found.set_defaults(run=run)
        found.add_argument("--json", action="store_true", help="the result on one line, the last one")
        return found

    for name in ("emotion", "sentiment", "offence"):
        head = task(name, HEAD, _head)
        head.add_argument("--model", type=Path, required=True, help="folder or bundle")
        head.add_argument("--text", type=Path, required=True)
        head.add_argument("--labels", type=Path)
        add_names(head)
    ground = task("valence", valence.__doc__ or "", _valence)
    ground.add_argument("--data", type=Path, nargs="+", required=True)
    ground.add_argument("--seed", type=int, default=0)
    ground.add_argument("--folds", type=int, default=10)
    ground.add_argument("--method", choices=valence.METHODS, default=valence.METHODS[0])
    return parser


def _head(options: argparse.Namespace) -> dict[str, Any]:
    bundle = options.model / FILE if options.model.is_dir() else options.model
    head = _named(Heads.load(options.model), options.task)
    data = labelled.read(options.text, options.labels, options.mapping, head.labels)
    found = {
        "task": options.task,
        **evaluated(head, data),
        "seed": head.card.get("seed"),
        "method": head.card.get("method"),
        "sha256": {**data.sha256, "model": hashlib.sha256(bundle.read_bytes()).hexdigest()},
    }
    each = {}
    for folder in sorted(options.model.glob("seed-*/") if options.model.is_dir() else ()):
        figures = evaluated(_named(Heads.load(folder), options.task), data)
        each[folder.name.removeprefix("seed-")] = figures["macro_f1"]
        print(f"{folder.name}: macro-F1 {figures['macro_f1']:.4f}", file=sys.stderr, flush=True)
    if each:
        values = list(each.values())
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        found["seeds"] = {"macro_f1": each, "mean": float(np.mean(values)), "deviation": deviation}
    return found


def _named(heads: Heads, name: str) -> Head:
    if name not in heads.heads:
        raise ValueError(f"the model has no head {name}; it has {', '.join(heads.names)}")
    return heads.heads[name]


def _valence(options: argparse.Namespace) -> dict[str, Any]:
    return {"task": "valence", **valence.evaluate(options.data, options.seed, options.folds, options.method)}


if __name__ == "__main__":
    sys.exit(main())
