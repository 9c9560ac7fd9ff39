"""The log of likes and passes, and what it adds up to for each person (MATCH-4, ML-12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.offsets import AFTER, Offset


@dataclass(frozen=True, slots=True)
class DecisionRow:
    offset: Offset
    rater: str
    ratee: str
    likes: bool
    at: datetime
    model: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class TallyRow:
    """As `matching.features.Tally`."""

    given: int = 0
    given_yes: int = 0
    received: int = 0
    received_yes: int = 0
    surprise: float = 0.0


async def lock_both(connection: Any, one: str, other: str) -> None:
    """The right to append decisions of these two until the transaction ends. To be asked for before the
    transaction writes anything: its id is given out at the first write, and is what orders the log. Waits
    for an erasure (storage.erasing_matching.lock_log), which waits for all who hold it.
    """
    low, high = sorted((one, other))
    await connection.execute(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('decisions', 0)), "
        "pg_advisory_xact_lock(hashtextextended('decision:' || $1, 0)), "
        "pg_advisory_xact_lock(hashtextextended('decision:' || $2, 0))",
        low,
        high,
    )


async def append(  # noqa: PLR0917 - a row
    connection: Any,
    rater: str,
    ratee: str,
    likes: bool,
    at: datetime,
    model: str | None = None,
    source: str | None = None,
) -> None:
    """Appends a decision. Within `lock_both`."""
    assert connection.is_in_transaction(), "a decision belongs to the transaction that made it true"
    await connection.execute(
        "INSERT INTO decisions (rater_id, ratee_id, likes, at, model, source) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        rater,
        ratee,
        likes,
        at,
        model,
        source,
    )


async def last_answer(connection: Any, rater: str, ratee: str) -> bool | None:
    """Whether the rater's last decision about the other was a like; None: there was none."""
    likes: bool | None = await connection.fetchval(
        "SELECT likes FROM decisions WHERE rater_id = $1 AND ratee_id = $2 ORDER BY seq DESC LIMIT 1",
        rater,
        ratee,
    )
    return likes


async def read(connection: Any, after: Offset, limit: int) -> list[DecisionRow]:
    """What was decided after an offset, in order, up to the oldest transaction that still runs."""
    rows = await connection.fetch(
        "SELECT xid::text::bigint AS xid, seq, rater_id::text, ratee_id::text, likes, at, model, source "
        f"FROM decisions WHERE {AFTER.format('$1', '$2')} ORDER BY xid, seq LIMIT $3",
        str(after.xid),
        after.seq,
        limit,
    )
    return [DecisionRow(Offset(row[0], row[1]), *row[2:]) for row in map(tuple, rows)]


async def tallies(connection: Any, people: Sequence[str]) -> dict[str, TallyRow]:
    """Of those who have decided or were decided on."""
    rows = await connection.fetch(
        "SELECT user_id::text, given, given_yes, received, received_yes, surprise FROM match_tallies "
        "WHERE user_id = ANY($1::uuid[])",
        people,
    )
    return {row[0]: TallyRow(*row[1:]) for row in map(tuple, rows)}


async def save_tally(connection: Any, person: str, tally: TallyRow) -> None:
    """Within `lock_both`."""
    await connection.execute(
        "INSERT INTO match_tallies (user_id, given, given_yes, received, received_yes, surprise) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id) DO UPDATE SET given = $2, given_yes = $3, "
        "received = $4, received_yes = $5, surprise = $6",
        person,
        tally.given,
        tally.given_yes,
        tally.received,
        tally.received_yes,
        tally.surprise,
    )
