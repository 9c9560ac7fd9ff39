"""What people are, want and answer: one row a person (MATCH-6, MATCH-11)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.ids import UserId


@dataclass(frozen=True, slots=True)
class Preferences:
    """As the table `preferences` says; these defaults, of version 0, are of who never said anything.

    `answers` maps a question to `{"answer", "accepts", "weight"}`, `weight` in points (0, 1, 10, 50, 250).
    """

    is_listed: bool = True
    gender: str | None = None
    seeks: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    age_from: int = 18
    age_to: int = 150
    within_m: int | None = None
    interests: tuple[str, ...] = ()
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    values_21: tuple[float, ...] | None = None
    version: int = 0


_COLUMNS = (
    "is_listed, gender, seeks, goals, age_from, age_to, within_m, interests, answers, values_21, version"
)


async def load_preferences(connection: Any, user: UserId) -> Preferences:
    """A person's preferences."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM preferences WHERE user_id = $1", user)
    if row is None:
        return Preferences()
    return Preferences(
        row["is_listed"],
        row["gender"],
        tuple(row["seeks"]),
        tuple(row["goals"]),
        row["age_from"],
        row["age_to"],
        row["within_m"],
        tuple(row["interests"]),
        json.loads(row["answers"]),
        None if row["values_21"] is None else tuple(round(value, 4) for value in row["values_21"]),
        row["version"],
    )


async def save_preferences(
    connection: Any, user: UserId, wanted: Preferences, version: int | None
) -> int | None:
    """Replaces them if they still have `version` (None: whatever they have). Returns the new version, or None
    when it is another, or the account is not there any more.
    """
    saved: int | None = await connection.fetchval(
        # The lock keeps an erasure waiting until this is committed, for it to be found and erased.
        """WITH me AS (SELECT id FROM users WHERE id = $1 AND status IN ('active', 'paused') FOR SHARE)
        INSERT INTO preferences AS p (user_id, is_listed, gender, seeks, goals, age_from, age_to, within_m,
            interests, answers, values_21)
        SELECT id, $3, $4, $5, $6, $7, $8, $9, $10, $11::json, $12 FROM me
        WHERE coalesce($2::bigint, 0) = 0 OR EXISTS (SELECT 1 FROM preferences WHERE user_id = $1)
        ON CONFLICT (user_id) DO UPDATE SET is_listed = $3, gender = $4, seeks = $5, goals = $6,
            age_from = $7, age_to = $8, within_m = $9, interests = $10, answers = $11::json, values_21 = $12,
            version = p.version + 1, updated_at = now()
        WHERE $2::bigint IS NULL OR p.version = $2::bigint
        RETURNING version""",
        user,
        version,
        wanted.is_listed,
        wanted.gender,
        list(wanted.seeks),
        list(wanted.goals),
        wanted.age_from,
        wanted.age_to,
        wanted.within_m,
        list(wanted.interests),
        json.dumps(wanted.answers),
        None if wanted.values_21 is None else list(wanted.values_21),
    )
    return saved
