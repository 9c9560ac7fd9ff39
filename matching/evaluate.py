"""`python -m matching.evaluate speed-dating | gowalla | encounters`: figures from files, one JSON line at
the end.

Progress goes to standard error; the last line of standard output is one JSON object. Every run names the
SHA-256 of its files, the split and the seed (ML-13).
"""

import argparse
import hashlib
import json
import math
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from matching import encounters, places
from matching.dating_profile import PROFILE
from matching.decisions import LeakError
from matching.metrics import interval
from matching.protocols import evenings_kept, later_kept, named_evenings, pairs_kept
from matching.speed_dating import ANSWERS, SCHEDULE, read

FIGURES = ("decision_auc", "match_auc", "ndcg5")
PROTOCOLS = {"A": pairs_kept, "B": later_kept, "C": evenings_kept}


def _listed(names: tuple[str, ...]) -> str:
    return textwrap.fill(", ".join(names), 92, break_on_hyphens=False).replace("\n", "\n" + " " * 16)


SPEED_DATING = f"""
Two-sided matching on the speed-dating experiment of Fisman and Iyengar ("Gender Differences in Mate
Selection: Evidence from a Speed Dating Experiment", QJE 2006): a row a directed date, columns as its authors
published them.

protocols
  A  5-fold by unordered pair (both directions of a pair in one fold), dealt by the seed
  B  of each evening the first 60 % of rounds are known, the last 40 % are asked
  C  5-fold by evening, dealt by the seed: nobody in a kept evening has decided anything (profile only)
  --test-waves: C with these evenings kept; without --train-waves all others train. That is the top level:
  profiles alone, so popularity + selectivity says .5 there. Beside it, of the kept evenings: `A` and `B`, the
  training evenings known whole, and `online`: as they pass, each round asked with the rounds before it known.

figures
  decision_auc  AUC of p(i says yes to j) over directed dates
  match_auc     AUC of the harmonic mean of both directions over pairs
  ndcg5         nDCG@5 of each rater's asked partners (of one fold) by p(i says yes to j), mean over the
                lists that hold both a yes and a no
  ece           expected calibration error, ten bins
  baseline      the same of popularity + selectivity: log-odds of the shrunk received rate of j plus those of
                the shrunk give rate of i, from the same known labels
  paired        with --runs: mean of model - baseline over the seeds and its 95 % bootstrap interval

features, all known before the date
  columns read  {_listed(SCHEDULE + ANSWERS)}
  made of them  {_listed(PROFILE)};
                and for the cold model every answer as the rater's, by the rater's gender, as the ratee's, and
                of either beside the others of that side in the evening
  from labels   rates given and received, residual attractiveness, crossed effects: of known labels only,
                for training out-of-fold (10 folds of pairs)

  Unknown columns are ignored. The run is refused if an answer differs within a person, is off its scale, or
  tells more of its person's outcome than answers do, alone or together; if the order does; or if an encoding
  follows labels of its own fold (matching/dating_leaks.py says what cannot be caught). Scorecards,
  later questionnaires, race, origin, zip code, income and religion are no features.

seed
  deals the folds, and goes to the trees and to feature dropout; the same seed gives the same figures.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one evaluation; 0 done, 2 refused."""
    options = _parser().parse_args(arguments)
    try:
        found = options.run(options)
    except (LeakError, ArithmeticError, ValueError, OSError) as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 2
    known = _without_nan(found)
    print(json.dumps(known) if options.json else json.dumps(known, indent=2))
    return 0


def _without_nan(found: Any) -> Any:
    """A figure that so few rows do not have is null: JSON knows no nan."""
    if isinstance(found, dict):
        return {name: _without_nan(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_without_nan(value) for value in found]
    return None if isinstance(found, float) and math.isnan(found) else found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m matching.evaluate", description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(required=True)

    def task(name: str, text: str, run: object) -> argparse.ArgumentParser:
        found = tasks.add_parser(name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        found.set_defaults(run=run)
        found.add_argument("--json", action="store_true", help="the result on one line, the last one")
        found.add_argument("--seed", type=_from(0), default=0, metavar="N")
        return found

    dating = task("speed-dating", SPEED_DATING, _speed_dating)
    dating.add_argument("--data", type=Path, required=True, help="events.csv")
    dating.add_argument(
        "--test-waves", type=_waves, nargs="+", metavar="WAVE", help="evenings to keep: 6 13 17, or 6,13,17"
    )
    dating.add_argument(
        "--train-waves", type=_waves, nargs="+", metavar="WAVE", help="evenings to train on (all others)"
    )
    dating.add_argument("--protocols", type=_protocols, default=list(PROTOCOLS), help="which of A,B,C (all)")
    dating.add_argument(
        "--runs", type=_from(1), default=1, metavar="N", help="seeds from --seed on, with a paired interval"
    )
    gowalla = task("gowalla", places.__doc__ or "", _gowalla)
    gowalla.add_argument("--train", type=Path, required=True, help="a line: user, then places")
    gowalla.add_argument("--test", type=Path, required=True)
    gowalla.add_argument("--method", choices=places.METHODS, default=places.METHODS[0])
    met = task("encounters", encounters.__doc__ or "", _encounters)
    met.add_argument(
        "--contacts",
        "--data",
        type=Path,
        required=True,
        help="a line: time, person, person[, circle, circle]",
    )
    return parser


def _digest(path: Path) -> str:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.name} sha256 {found}", flush=True)
    return found


def _from(least: int) -> Callable[[str], int]:
    def number(word: str) -> int:
        if not (word.isdecimal() and int(word) >= least):
            raise argparse.ArgumentTypeError(f"{word!r} is no whole number from {least} on")
        return int(word)

    return number


def _waves(word: str) -> list[int]:
    parts = word.replace(",", " ").split()
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{word!r} is no number of an evening: 6 13 17, or 6,13,17")
    return [int(part) for part in parts]


def _protocols(word: str) -> list[str]:
    names = word.split(",")
    if strange := sorted(set(names) - set(PROTOCOLS)):
        raise argparse.ArgumentTypeError(
            f"no protocol {', '.join(strange)}; there are {', '.join(PROTOCOLS)}"
        )
    return names


def _all_of(parts: list[list[int]] | None) -> list[int] | None:
    return None if parts is None else [wave for part in parts for wave in part]


def _speed_dating(options: argparse.Namespace) -> dict[str, Any]:
    digest = _digest(options.data)
    evenings = read(options.data)
    test, train = _all_of(options.test_waves), _all_of(options.train_waves)
    if train is not None and test is None:
        raise ValueError("--train-waves needs --test-waves")
    about: dict[str, Any] = {
        "task": "speed-dating",
        "sha256": digest,
        "seed": options.seed,
        "rows": len(evenings.decisions),
        "rows_without_partner": evenings.dropped,
    }
    if test is not None:
        return {**about, "test_waves": test, **named_evenings(evenings, test, train, options.seed)}
    for name in options.protocols:
        found = []
        for seed in range(options.seed, options.seed + options.runs):
            started = time.monotonic()
            found.append(PROTOCOLS[name](evenings, seed))
            took_s = time.monotonic() - started
            print(f"{name} seed {seed}: {json.dumps(found[-1])} {took_s:.0f} s", file=sys.stderr, flush=True)
        about[name] = found[0] if len(found) == 1 else _over_seeds(found, options.seed)
    return about


def _over_seeds(found: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    figures = (*FIGURES, "ece")
    mean: dict[str, Any] = {name: float(np.mean([one[name] for one in found])) for name in figures}
    mean["baseline"] = {name: float(np.mean([one["baseline"][name] for one in found])) for name in figures}
    paired = {}
    for name in FIGURES:
        gains = np.array([one[name] - one["baseline"][name] for one in found], dtype=np.float64)
        paired[name] = {"gain": float(gains.mean()), "interval": interval(gains, seed)}
    return {**mean, "paired": paired, "runs": len(found)}


def _gowalla(options: argparse.Namespace) -> dict[str, Any]:
    digests = [_digest(options.train), _digest(options.test)]
    started = time.monotonic()
    found = places.evaluate(options.train, options.test, options.method, options.seed)
    took_s = round(time.monotonic() - started, 1)
    return {"task": "gowalla", "sha256": digests, "seed": options.seed, **found, "took_s": took_s}


def _encounters(options: argparse.Namespace) -> dict[str, Any]:
    digest = _digest(options.contacts)
    return {"task": "encounters", "sha256": digest, **encounters.evaluate(options.contacts)}


if __name__ == "__main__":
    sys.exit(main())
