"""A synthetic city: people, what they did, and what they would do, by a stated model with known truth.

The same seed gives the same city. Parts: `city_people` (who there is), `city_truth` (who likes whom),
`city_history` (who saw whom, what they decided, who talked, who went where), `city_store` (the history in a
running engine), `city_loop` (learning from it, and whether that helped).

{equations}
Who sees whom: about Poisson(activity) a day and person, activity lognormal(1.0, 0.7); a place at an
exponential distance (3 km) from home, somebody of a gender sought who lives there, seen with a chance of
0.25 + 0.75 / (1 + exp(−1.5 a_j)); only who may be shown (age, gender, goals, distance, both ways). Seven of
ten likes are seen and answered the next day. A pass is a block with 0.002. Matches talk with 0.6, 1 +
Poisson(12 p(i→j) p(j→i)) messages. Three places a person, ln weight = draw + 6 · share of the place's topic
− d / 1.5 km.

What lists lead to is asked of p: a viewer looks at the whole list; the shown answers at most so many of those
who saw them (attention), the likeliest matches first. That sum is the effective matches.

    python -m benchmarks.city [--users 100000] [--seed 1] [--into DIR]

Without --into it only says what there would be; with it the history is written into the engine that runs on
that data folder, and its people are there beside whoever is (handles city-…).
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.city_history import History, happened, matches
from benchmarks.city_people import People
from benchmarks.city_truth import EQUATIONS
from cluster.embedded.postgres import stored_url

USERS = 100_000
DOC = __doc__.replace("{equations}", EQUATIONS)


@dataclass(frozen=True)
class City:
    people: People
    history: History
    seed: int

    @classmethod
    def made(cls, users: int, seed: int) -> Self:
        """People and history take their own streams of chance, so that one can change without the other."""
        people = People.drawn(users, np.random.default_rng([seed, 1]))
        return cls(people, happened(people, np.random.default_rng([seed, 2])), seed)

    def figures(self) -> dict[str, Any]:
        """What there is of it, and how well frequencies keep to the truth, by tenths of p."""
        decided, count = self.history.decided, len(self.people)
        tenth = np.minimum((decided.chance * 10).astype(np.int64), 9)
        sizes = np.maximum(np.bincount(tenth, minlength=10), 1)
        return {
            "users": count,
            "seed": self.seed,
            "side_m": round(self.people.side_m),
            "decisions": len(decided),
            "likes": round(float(decided.likes.mean()), 4),
            "matches": len(matches(decided, count)[0]),
            "blocks": len(self.history.blocked[0]),
            "chats": len(self.history.chats.one),
            "messages": int(self.history.chats.messages.sum()),
            "places": len(self.people.places.topic),
            "visits": len(self.history.visits.person),
            "said_by_tenth": np.round(
                np.bincount(tenth, weights=decided.chance, minlength=10) / sizes, 3
            ).tolist(),
            "seen_by_tenth": np.round(
                np.bincount(tenth, weights=decided.likes, minlength=10) / sizes, 3
            ).tolist(),
        }


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.city",
        description=DOC,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--users", type=int, default=USERS)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--into", type=Path, metavar="DIR", help="the data folder of a running engine")
    given = options.parse_args()
    begun_s = time.monotonic()
    city = City.made(given.users, given.seed)
    found = city.figures()
    if given.into is not None:
        # They import this module.
        from benchmarks.city_engine import redis_url  # noqa: PLC0415
        from benchmarks.city_store import store  # noqa: PLC0415

        def tell(what: str) -> None:
            print(f"city {time.monotonic() - begun_s:6.0f} s  {what}", file=sys.stderr, flush=True)

        asyncio.run(store(stored_url(given.into), redis_url(given.into), city, tell))
    print(json.dumps(found | {"seconds": round(time.monotonic() - begun_s, 1)}))


if __name__ == "__main__":
    main()
