"""`python -m nlp.train emotion …`: a head from labelled texts, into a folder."""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from nlp import labelled
from nlp.bundle import FILE
from nlp.encoder import MissingExtraError
from nlp.extra import missing
from nlp.models import Head, Heads
from nlp.training import METHODS, RISK, Settings, chosen_method, forget, train

REFIT_BELOW = 20_000

ABOUT = f"""
Train a head (emotion, sentiment, offence or any other name) on labelled texts. It writes OUT/{FILE} and
OUT/card.json. The last line of standard output is one JSON object: the figures on
the validation texts, SHA-256 of data and model, seed. Progress goes to standard error.

files
{(labelled.__doc__ or "").split(chr(10) * 2, 1)[1].rstrip()}
  The label set is what the training labels hold. If one text of them has several labels, or none, the head
  says each label by itself (a logistic each, with a cut of its own, chosen on the validation texts);
  else it says one of them (softmax).
  TweetEval (github.com/cardiffnlp/tweeteval): --train-text train_text.txt --train-labels train_labels.txt …
  with numbers, one a text; --names anger,joy,optimism,sadness names them.
  GoEmotions (CC BY 4.0): --train-text train.tsv --val-text dev.tsv --mapping emotions.txt; its columns are
  text, numbers with commas between, id; one text in eleven has more than one label.

method
  fine-tune  all of MiniLM but its word vectors is trained (torch, the extra `train`), exported to ONNX;
             blended with tf-idf and VADER. A run that was killed goes on after its last epoch
             (OUT/checkpoint.pt, OUT/checkpoint-of-refit.pt).
  frozen     logistic regressions on the packaged MiniLM's vectors, tf-idf and VADER. No torch.
  auto       fine-tune where the extra is installed, else frozen

protocol
  First trained on the training texts only. On the validation texts are chosen: the epoch, the temperature of
  the probabilities, and the confidence below which the head abstains (the lowest at which at most --risk of
  what it answers is wrong there). The figures that are printed are of this model.
  Then trained anew, with the same settings to the last epoch, on training and validation texts together:
  that is the model that is written. Judge it on other texts than these. --no-refit leaves this out.
  Fine-tuning reads the texts three times, less often from 15,000 texts on: an epoch each from 22,500.

seed
  Goes to the order of texts, dropout and the new layer. The same seed on the same machine gives the same
  figures. With --seeds K seeds SEED … SEED+K-1 are trained into OUT/seed-N, and the best on the validation
  texts is OUT/{FILE}; nlp.evaluate then gives the mean over the seeds too.
"""


def to_stderr(line: str) -> None:
    """Print progress where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 done, 2 refused (the data or the installation; said on standard error)."""
    options = _parser().parse_args(arguments)
    try:
        found = run(options)
    except (ValueError, OSError, MissingExtraError) as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nlp.train", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument(
        "--refit",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=f"train anew on training and validation texts once all is chosen (default: of up to "
        f"{REFIT_BELOW:,} training texts; of more it takes long for little)",
    )
    parser.add_argument("--json", action="store_true", help="as always: one JSON object is the last line")
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what the command and the job have in common."""
    parser.add_argument("task", help="name of the head: emotion, sentiment, offence, …")
    for part in ("train", "val"):
        parser.add_argument(f"--{part}-text", type=Path, required=True)
        parser.add_argument(f"--{part}-labels", type=Path)
    add_names(parser)
    parser.add_argument("--harmful", type=listed, default=[], help="labels that a room's rule takes for harm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", choices=METHODS, default="auto")
    parser.add_argument("--risk", type=float, default=RISK, help=f"default: {RISK}")
    parser.add_argument("--threads", type=int, default=2)


def listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to name numbered labels; read them as `options.mapping`."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--mapping", type=Path, help="file with the names of numbered labels")
    either.add_argument("--names", dest="mapping", type=listed, help="those of 0, 1, …: anger,joy,optimism")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train each seed and return what is printed."""
    if options.seeds < 1:
        raise ValueError("--seeds is at least 1")
    method = chosen_method(options.method)
    if options.method == "auto" and missing():
        to_stderr(f"method frozen: {missing()}")
    data = labelled.read(options.train_text, options.train_labels, options.mapping)
    val = labelled.read(options.val_text, options.val_labels, options.mapping, data.labels)
    refit = len(data) <= REFIT_BELOW if options.refit is None else options.refit
    began = time.monotonic()
    trained: dict[int, Head] = {}
    for seed in range(options.seed, options.seed + options.seeds):
        folder = options.out if options.seeds == 1 else options.out / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            seed, method, options.risk, folder, options.threads, refit, tuple(options.harmful)
        )
        trained[seed] = train(options.task, data, val, settings, to_stderr)
        write(Heads([trained[seed]]), folder)
        forget(folder)
        to_stderr(
            f"seed {seed}: macro-F1 {trained[seed].card['val']['macro_f1']:.4f} on the validation texts"
        )
    best = max(trained, key=lambda seed: float(trained[seed].card["val"]["macro_f1"]))
    digest = write(Heads([trained[best]]), options.out)
    each = {str(seed): head.card["val"]["macro_f1"] for seed, head in trained.items()}
    on_val = {
        key: value for key, value in trained[best].card["val"].items() if key not in {"sha256", "texts"}
    }
    return {
        "task": options.task,
        "method": method,
        "seed": best,
        "seeds": {"macro_f1": each, "mean": float(np.mean(list(each.values())))},
        "val": on_val,
        "sha256": {**data.sha256, **val.sha256, "model": digest},
        "model": str(options.out / FILE),
        "took_s": round(time.monotonic() - began, 1),
    }


def write(heads: Heads, folder: Path) -> str:
    """Write the bundle and its card; return the bundle's SHA-256."""
    packed = heads.save(folder / FILE)
    digest = hashlib.sha256(packed).hexdigest()
    cards = {name: dict(head.card) for name, head in heads.heads.items()}
    (folder / "card.json").write_text(
        json.dumps({"sha256": digest, "heads": cards}, indent=2) + "\n", "utf-8"
    )
    return digest


if __name__ == "__main__":
    sys.exit(main())
