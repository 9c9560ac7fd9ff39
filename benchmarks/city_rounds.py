"""What several rounds of lists do to a city: who is shown decides, what is decided is learned, and so on.

Two cities with the same people and history. In one everybody gets lists by the model with caps, in the other
by popularity. A round: the first --looked of each list are decided on by the truth; whoever is liked looks at
no more than --attention of those who like them, the likeliest first, and answers. Then the model learns from
the longer log. Matches add up; so does how unequally people have been shown. In one process, without an
engine.

    python -m benchmarks.city_rounds [--users 10000] [--rounds 4] [--quick] [--seed 1]
"""

import argparse
import signal
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import city_truth, city_world, plot, results
from benchmarks.city import City
from benchmarks.city_history import DAY_S, Decided, matches
from benchmarks.city_lists import Shown, candidates, of_edges
from benchmarks.city_people import Integers
from benchmarks.machine import describe
from matching import batch
from matching.metrics import gini

SLOTS, CAP = 10, 12


def lists(city: City, by_model: bool, seed: int) -> Shown:
    """Everybody's lists after what has happened so far."""
    people, history = city.people, city.history
    if not by_model:
        world = city_world.world(people, history, None, seed)
        popular = batch.by_popularity(candidates(world, seed), world.rates)
        return of_edges(batch.show_best(popular, len(people), SLOTS))
    world = city_world.world(people, history, city_world.trained(people, history, seed), seed)
    edges = batch.Edges.together(list(batch.scored(world, batch.by_place(world.population), seed)))
    return of_edges(batch.show(edges, len(people), SLOTS, CAP).edges)


def decided(city: City, shown: Shown, attention: int, chance: np.random.Generator) -> City:
    """The city after these lists were looked at, and likes answered a day later."""
    people, count = city.people, len(city.people)
    begun_s = float(city.history.decided.at_s.max(initial=0.0)) + 1.0
    rater, ratee = shown.viewer, shown.shown
    forward = city_truth.likes(people, rater, ratee)
    yes = chance.random(len(rater)) < forward
    liked = city_truth.likes(people, ratee[yes], rater[yes])
    order = np.lexsort((-liked * forward[yes], ratee[yes]))
    admirer, admired, liked = rater[yes][order], ratee[yes][order], liked[order]
    starts = np.flatnonzero(np.diff(admired, prepend=-1))
    place = np.arange(len(admired)) - np.repeat(starts, np.diff(np.append(starts, len(admired))))
    old = city.history.decided
    known = old.rater * count + old.ratee
    key = admired * count + admirer
    looked = (place < attention) & ~np.isin(key, known) & ~np.isin(key, rater * count + ratee)
    answers = chance.random(int(looked.sum())) < liked[looked]
    at_s = np.concatenate(
        [
            old.at_s,
            begun_s + chance.random(len(rater)) * DAY_S,
            begun_s + DAY_S + chance.random(len(answers)) * DAY_S,
        ]
    )
    in_time = np.argsort(at_s, kind="stable")
    longer = Decided(
        np.concatenate([old.rater, rater, admired[looked]])[in_time],
        np.concatenate([old.ratee, ratee, admirer[looked]])[in_time],
        np.concatenate([old.likes, yes, answers])[in_time],
        at_s[in_time],
        np.concatenate([old.chance, forward, liked[looked]])[in_time],
    )
    return replace(city, history=replace(city.history, decided=longer))


def run(city: City, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Rounds of both kinds."""
    begun_s, count = time.monotonic(), len(city.people)
    had = len(matches(city.history.decided, count)[0])
    found: dict[str, list[dict[str, Any]]] = {}
    for name, by_model in (("model, capped", True), ("popularity", False)):
        now, rows = city, []
        seen: Integers = np.zeros(count, dtype=np.int64)
        for number in range(1, given.rounds + 1):
            shown = lists(now, by_model, given.seed).first(given.looked)
            seen += np.bincount(shown.shown, minlength=count)
            now = decided(now, shown, given.attention, np.random.default_rng([given.seed, number]))
            made = matches(now.history.decided, count)
            matched = np.bincount(np.concatenate(made[:2]), minlength=count)
            rows.append(
                {
                    "round": number,
                    "shown": len(shown.viewer),
                    "matches_since": len(made[0]) - had,
                    "people_with_a_match": int((matched > 0).sum()),
                    "gini_of_exposure": round(gini(seen.astype(np.float64)), 4),
                    "seconds": round(time.monotonic() - begun_s, 1),
                }
            )
            print(f"city_rounds: {name} {rows[-1]}", file=sys.stderr, flush=True)
        found[name] = rows
    return found


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.city_rounds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--users", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--looked", type=int, default=5)
    options.add_argument("--attention", type=int, default=5)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--quick", action="store_true", help="2,000 people, two rounds; not for quoting")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options.parse_args()
    if given.quick:
        given.users, given.rounds = 2_000, 2
    found = run(City.made(given.users, given.seed), given)
    table: list[tuple[str, ...]] = [
        ("lists by", "round", "matches since", "with a match", "Gini of exposure")
    ]
    for name, rows in found.items():
        table += [
            (name, str(row["round"]), *(str(row[key]) for key in ("matches_since", "people_with_a_match")),
             f"{row['gini_of_exposure']:.3f}")
            for row in rows
        ]  # fmt: skip
    machine = describe("xgboost-cpu", "numpy", "polars")
    results.show(machine, table)
    name = "city_rounds_quick" if given.quick else "city_rounds"
    settings = {key: getattr(given, key) for key in ("users", "rounds", "looked", "attention", "seed")}
    path = results.write(name, {"machine": machine, "settings": settings, "rows": found})
    plot.write(
        path.with_suffix(".svg"),
        [
            plot.Panel(
                title,
                "round",
                unit,
                [plot.Line(by, [(row["round"], row[key]) for row in rows]) for by, rows in found.items()],
            )
            for title, unit, key in (
                ("Matches since the first round", "matches", "matches_since"),
                ("How unequally people were shown", "Gini", "gini_of_exposure"),
            )
        ],
    )
    print("written:", path.relative_to(results.FOLDER.parent.parent), "and its plot")


if __name__ == "__main__":
    main()
