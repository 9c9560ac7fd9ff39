"""What decisions made of pairs: the engine's own transitions, one after the other (identity.connections)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.city_history import DAY_S, DAYS, History
from identity.connections import Action, step
from storage.connections import PairRow
from storage.ids import UserId

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """What was told of a change; `type` without its prefix."""

    type: str
    by: str
    low: str
    high: str
    version: int
    at_s: float
    told: list[str]


def _steps(history: History, ids: Sequence[str]) -> Iterator[tuple[int, float, UserId, UserId, Action]]:
    decided = history.decided
    for number, (rater, ratee, likes, at_s) in enumerate(
        zip(
            decided.rater.tolist(),
            decided.ratee.tolist(),
            decided.likes.tolist(),
            decided.at_s.tolist(),
            strict=True,
        )
    ):
        action = Action.REQUEST if likes else Action.PASS
        yield number, at_s, UserId(ids[rater]), UserId(ids[ratee]), action
    for number, (one, other) in enumerate(zip(*(side.tolist() for side in history.blocked), strict=True)):
        yield len(decided) + number, DAYS * DAY_S, UserId(ids[one]), UserId(ids[other]), Action.BLOCK


def folded(history: History, ids: Sequence[str]) -> tuple[list[PairRow], list[Event]]:
    """The last row of every pair, and events in their order. `updated_at` counts from BEGIN."""
    rows: dict[tuple[str, str], PairRow] = {}
    events = []
    for _, at_s, me, other, action in _steps(history, ids):
        low, high = sorted((me, other))
        at = BEGIN + timedelta(seconds=at_s)
        row = rows.get((low, high)) or PairRow(low, high, "none", None, None, False, False, 0, at)
        outcome = step(row, me, action, at)
        rows[low, high] = outcome.pair
        if outcome.event is not None:
            version = outcome.pair.version
            events.append(Event(outcome.event, me, low, high, version, at_s, sorted(outcome.told)))
    return list(rows.values()), events
