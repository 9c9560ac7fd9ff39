"""People who decide about each other as a stated model has it: straight into the database, as the engine
would have stored it.

log-odds of a yes = 0.2 + how ready the rater is + how liked the ratee + 0.9 a shared interest − 0.09 a year
between them.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from matching.dataset import BORN, LOG, SAID, Sources
from matching.tally import PRIOR, Tally

TAGS = ("chess", "jazz", "climbing", "bread", "rivers", "cinema")
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
Label = Callable[["Town", int, int, bool], bool]


@dataclass
class Town:
    """People of two genders, one row each."""

    ids: list[str]
    genders: list[str]
    born: list[date]
    interests: list[list[str]]
    choosy: Any
    liked: Any
    chance: np.random.Generator
    tallies: dict[int, Tally] = field(default_factory=dict)
    day: int = 0
    tokens: list[str] = field(default_factory=list)
    """Of their accounts, where they have one."""

    @classmethod
    def made(cls, people: int, seed: int, ids: list[str] | None = None) -> "Town":
        chance = np.random.default_rng(seed)
        return cls(
            ids or [str(uuid.uuid4()) for _ in range(people)],
            ["woman" if place % 2 else "man" for place in range(people)],
            [date(1975 + int(chance.integers(0, 30)), 6, 1) for _ in range(people)],
            [sorted(chance.choice(TAGS, 2, replace=False).tolist()) for _ in range(people)],
            chance.normal(-0.2, 1.0, people),
            chance.normal(0, 1.3, people),
            chance,
        )

    def log_odds(self, rater: int, ratee: int) -> float:
        shared = len(set(self.interests[rater]) & set(self.interests[ratee]))
        years = abs(self.born[rater].year - self.born[ratee].year)
        return float(self.choosy[rater] + self.liked[ratee] + 0.9 * shared - 0.09 * years + 0.2)

    async def settle(self, connection: Any) -> None:
        """Store who they are, also of accounts that are there."""
        await connection.executemany(
            "INSERT INTO users (id, handle, birth_date) VALUES ($1, $2, $3) "
            "ON CONFLICT (id) DO UPDATE SET birth_date = $3",
            [(one, f"d{one[:13]}", born) for one, born in zip(self.ids, self.born, strict=True)],
        )
        await connection.executemany(
            "INSERT INTO preferences (user_id, gender, seeks, interests) VALUES ($1, $2, $3, $4)",
            [
                (one, gender, ["man" if gender == "woman" else "woman"], tags)
                for one, gender, tags in zip(self.ids, self.genders, self.interests, strict=True)
            ],
        )

    def draw(self, count: int, label: Label | None = None) -> list[tuple[int, int, bool, datetime]]:
        """Return decisions of men about women and the other way round, and count them; `label` may say
        otherwise.
        """
        rows = []
        for place in range(count):
            rater = int(self.chance.integers(0, len(self.ids)))
            ratee = int(self.chance.integers(0, len(self.ids) // 2)) * 2 + 1 - rater % 2
            likes = bool(self.chance.random() < 1 / (1 + np.exp(-self.log_odds(rater, ratee))))
            if label is not None:
                likes = label(self, rater, ratee, likes)
            gave, got = self.tallies.setdefault(rater, Tally()), self.tallies.setdefault(ratee, Tally())
            rate = gave.give_rate(PRIOR)
            gave.gave(likes)
            got.got(likes, rate)
            rows.append((rater, ratee, likes, BEGIN + timedelta(days=self.day, seconds=place)))
        self.day += 1
        return rows

    def sources(self, count: int, label: Label | None = None) -> Sources:
        """Return decisions as a job reads them, each in a transaction of its own, all said before."""
        drawn = self.draw(count, label)
        log = pl.DataFrame(
            [
                (10 + place, place, self.ids[rater], self.ids[ratee], likes, at, None, None)
                for place, (rater, ratee, likes, at) in enumerate(drawn)
            ],
            schema=LOG,
            orient="row",
        )
        said = pl.DataFrame(
            [
                (one, 1, gender, [], tags, "{}", None)
                for one, gender, tags in zip(self.ids, self.genders, self.interests, strict=True)
            ],
            schema=SAID,
            orient="row",
        )
        return Sources(log, said, pl.DataFrame({"user": self.ids, "born": self.born}, schema=BORN))

    async def decide(self, connection: Any, count: int, label: Label | None = None) -> None:
        """Append drawn decisions, in one transaction."""
        rows = [
            (self.ids[rater], self.ids[ratee], likes, at)
            for rater, ratee, likes, at in self.draw(count, label)
        ]
        async with connection.transaction():
            await connection.executemany(
                "INSERT INTO decisions (rater_id, ratee_id, likes, at) VALUES ($1, $2, $3, $4)", rows
            )
            await connection.executemany(
                "INSERT INTO match_tallies (user_id, given, given_yes, received, received_yes, surprise) "
                "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id) DO UPDATE SET given = $2, "
                "given_yes = $3, received = $4, received_yes = $5, surprise = $6",
                [
                    (
                        self.ids[one],
                        each.given,
                        each.given_yes,
                        each.received,
                        each.received_yes,
                        each.surprise,
                    )
                    for one, each in self.tallies.items()
                ],
            )
