"""A made-up population for the Matcher, written straight into an engine's database; and two models for it."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Self

import asyncpg
import numpy as np
import numpy.typing as npt

from matching import artefact, rank
from matching.artefact import PeopleModel
from matching.pair_features import FEATURES, HISTORY
from matching.tally import PRIOR, Tally

DECISIONS_EACH = 20
TAGS, TAGS_EACH = 400, 8
GENDERS = ("woman", "man")
_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Crowd:
    """People with ids, what they want, and decisions in order: an even one seeks an odd one."""

    users: list[str]
    born: list[date]
    interests: list[list[str]]
    rater: npt.NDArray[np.int64]
    ratee: npt.NDArray[np.int64]
    likes: npt.NDArray[np.bool_]
    tallies: list[Tally]

    @classmethod
    def made(cls, known: list[str], count: int, seed: int) -> Self:
        """`known` are the first of them; others are new. Who is liked more is liked by more."""
        chance = np.random.default_rng(seed)
        users = [*known, *(str(uuid.UUID(bytes=chance.bytes(16))) for _ in range(count - len(known)))]
        tags = np.minimum(chance.zipf(1.3, (count, TAGS_EACH)) - 1, TAGS - 1)
        rater = np.repeat(np.arange(count), DECISIONS_EACH)
        ratee = (chance.integers(0, count // 2, len(rater)) * 2 + (rater + 1) % 2) % count
        pairs = np.unique(np.stack([rater, ratee], axis=1)[rater != ratee], axis=0)
        pairs = pairs[chance.permutation(len(pairs))]
        charm = chance.normal(size=count)
        likes = chance.random(len(pairs)) < 1 / (1 + np.exp(0.5 - charm[pairs[:, 1]]))
        tallies = [Tally() for _ in users]
        for one, other, yes in zip(*pairs.T.tolist(), likes.tolist(), strict=True):
            rate = tallies[one].give_rate(PRIOR)
            tallies[one].gave(yes)
            tallies[other].got(yes, rate)
        born = [date(1960 + int(year), 6, 1) for year in chance.integers(0, 45, count)]
        return cls(
            users,
            born,
            [sorted({f"tag {tag}" for tag in row}) for row in tags.tolist()],
            pairs[:, 0],
            pairs[:, 1],
            likes,
            tallies,
        )

    async def store(self, database_url: str) -> None:
        """Writes them by COPY; the first are accounts already."""
        connection = await asyncpg.connect(database_url)
        ids = [uuid.UUID(user) for user in self.users]
        have = {row["id"] for row in await connection.fetch("SELECT id FROM users")}
        new = [(one, f"made-{n}", self.born[n]) for n, one in enumerate(ids) if one not in have]
        await _copy(connection, "users", ["id", "handle", "birth_date"], new)
        await _copy(
            connection,
            "preferences",
            ["user_id", "gender", "seeks", "interests"],
            ((one, GENDERS[n % 2], [GENDERS[(n + 1) % 2]], self.interests[n]) for n, one in enumerate(ids)),
        )
        for column in ("rater_id", "ratee_id"):  # minutes of looking up ids that stand a few lines above
            await connection.execute(f"ALTER TABLE decisions DROP CONSTRAINT decisions_{column}_fkey")
        decided = zip(self.rater.tolist(), self.ratee.tolist(), self.likes.tolist(), strict=True)
        await _copy(
            connection,
            "decisions",
            ["rater_id", "ratee_id", "likes", "at"],
            ((ids[one], ids[other], yes, _AT) for one, other, yes in decided),
        )
        await _copy(
            connection,
            "match_tallies",
            ["user_id", "given", "given_yes", "received", "received_yes", "surprise"],
            (
                (one, tally.given, tally.given_yes, tally.received, tally.received_yes, tally.surprise)
                for one, tally in zip(ids, self.tallies, strict=True)
            ),
        )
        await connection.execute("ANALYZE")
        await connection.close()


def models() -> tuple[bytes, bytes]:
    """Two artefacts of the size that training makes; what they say is of no matter here."""

    def made(seed: int) -> bytes:
        chance = np.random.default_rng(seed)
        rows = chance.normal(size=(5_000, len(FEATURES)))
        noise = chance.normal(size=len(rows))
        labels = (rows[:, :4].sum(axis=1) + rows[:, -4:].sum(axis=1) + noise > 0).astype(np.float64)
        fitted = rank.fit(rows, labels, HISTORY, seed)
        return artefact.write(PeopleModel(fitted, FEATURES, PRIOR, artefact.references_of(FEATURES, rows)))

    return made(1), made(2)


async def _copy(connection: Any, table: str, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    await connection.copy_records_to_table(table, columns=columns, records=rows)
