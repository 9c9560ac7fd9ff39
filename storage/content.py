"""Which interest was suggested to whom, and what came of it (ML-8)."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.ids import UserId

RIPE = timedelta(days=1)
"""What is not taken up for so long was not; younger choices count for nothing yet."""
KEPT = timedelta(days=90)
LEARNED = timedelta(days=30)
"""So old choices still count for the next ones."""


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """One choice. `propensities` are of every arm that had something to show, the shown one among them."""

    arm: str
    tag: str
    propensities: Mapping[str, float]
    context: Sequence[float]
    at: datetime
    is_taken: bool


_ROW = "arm, tag, propensities, context, at, taken_at IS NOT NULL"


def _row(values: Any) -> ChoiceRow:
    arm, tag, propensities, *rest = values
    return ChoiceRow(arm, tag, json.loads(propensities), *rest)


async def of_day(connection: Any, user: UserId, now: datetime) -> ChoiceRow | None:
    """What is suggested to a person today (UTC), if that was chosen."""
    row = await connection.fetchrow(
        f"SELECT {_ROW} FROM content_choices WHERE user_id = $1 AND day = $2", user, now.date()
    )
    return None if row is None else _row(tuple(row))


async def tallies(connection: Any) -> dict[str, tuple[int, int]]:
    """Return how many of each arm's suggestions were taken up, and how many were not."""
    rows = await connection.fetch("SELECT arm, taken, shown - taken FROM content_tallies")
    return {row[0]: (row[1], row[2]) for row in map(tuple, rows)}


async def add(connection: Any, user: UserId, choice: ChoiceRow) -> ChoiceRow:
    """Note what is shown today; return what was noted first, by whoever. Nothing of who is being erased."""
    await connection.execute(
        "INSERT INTO content_choices (user_id, day, at, arm, tag, propensities, context) "
        "SELECT id, $2, $3, $4, $5, $6::json, $7 FROM users WHERE id = $1 AND status IN ('active', 'paused') "
        "FOR SHARE ON CONFLICT DO NOTHING",
        user, choice.at.date(), choice.at, choice.arm, choice.tag, json.dumps(choice.propensities),
        list(choice.context),
    )  # fmt: skip
    return await of_day(connection, user, choice.at) or choice


async def take(connection: Any, user: UserId, tags: Collection[str], now: datetime) -> None:
    """A person has these interests now: what was suggested within RIPE and is among them was taken up."""
    await connection.execute(
        "UPDATE content_choices SET taken_at = $3::timestamptz WHERE user_id = $1 AND tag = ANY($2::text[]) "
        "AND taken_at IS NULL AND at > $3::timestamptz - $4::interval",
        user, list(tags), now, RIPE,
    )  # fmt: skip


async def count(connection: Any, now: datetime) -> int:
    """Count the arms anew from what is ripe, remove what is old; return how many rows that were. In the
    caller's transaction.
    """
    await connection.execute(
        "WITH counted AS (SELECT arm, count(*) AS shown, count(taken_at) AS taken FROM content_choices "
        "WHERE at > $1 AND at <= $2 GROUP BY arm), gone AS (DELETE FROM content_tallies t "
        "WHERE NOT EXISTS (SELECT FROM counted c WHERE c.arm = t.arm)) "
        "INSERT INTO content_tallies (arm, shown, taken) SELECT arm, shown, taken FROM counted "
        "ON CONFLICT (arm) DO UPDATE SET shown = excluded.shown, taken = excluded.taken",
        now - LEARNED, now - RIPE,
    )  # fmt: skip
    done = await connection.execute("DELETE FROM content_choices WHERE at < $1", now - KEPT)
    return int(done.split()[-1])


async def ripe(connection: Any, since: datetime, until: datetime) -> list[ChoiceRow]:
    """Return the log of choices after `since` up to RIPE before `until`, in order."""
    rows = await connection.fetch(
        f"SELECT {_ROW} FROM content_choices WHERE at > $1 AND at <= $2 ORDER BY at, user_id",
        since, until - RIPE,
    )  # fmt: skip
    return [_row(tuple(row)) for row in rows]
