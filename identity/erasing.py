"""Erasing what matching learned of a person, out of what it knows of others, too (ML-11)."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from matching.tally import PRIOR, Tally
from storage import departures, erasing_matching
from storage.erasing_matching import GivenRow

Change = tuple[int, int, int, int, float]


def corrections(user: str, given: Iterable[GivenRow]) -> dict[str, Change]:
    """What others' tallies change by (given, given_yes, received, received_yes, surprise) for replaying the
    log without this person to give them again. `given` are all decisions of theirs and of their raters.

    A surprise is counted from what its rater had given until then, so that of everybody whom somebody judged
    after having judged this person changes, too.
    """
    before: dict[str, Tally] = defaultdict(Tally)
    after: dict[str, Tally] = defaultdict(Tally)
    changes: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0, 0.0])
    for row in given:
        then, now = before[row.rater].give_rate(PRIOR), after[row.rater].give_rate(PRIOR)
        before[row.rater].gave(row.likes)
        if row.rater == user:
            change = changes[row.ratee]
            change[2] -= 1
            change[3] -= row.likes
            change[4] -= row.likes - then
        elif row.ratee == user:
            change = changes[row.rater]
            change[0] -= 1
            change[1] -= row.likes
        else:
            after[row.rater].gave(row.likes)
            if then != now:
                changes[row.ratee][4] += then - now
    changes.pop(user, None)
    return {
        person: (int(each[0]), int(each[1]), int(each[2]), int(each[3]), each[4])
        for person, each in changes.items()
    }


async def erase_if_due(pool: Any, user: str, now: datetime) -> bool:
    """Erases an account whose time has come; whether it did. What fails half way is done when asked again."""
    async with pool.acquire() as connection:
        async with connection.transaction():
            await erasing_matching.lock_log(connection)  # nobody decides meanwhile, so no more than this here
            if not await departures.due(connection, user, now):
                return False
            changes = corrections(user, await erasing_matching.given_around(connection, user))
            await erasing_matching.forget_decisions(connection, user)
            await erasing_matching.correct_tallies(connection, changes)
        async with connection.transaction():
            if not await departures.due(connection, user, now):
                return False  # by another process
            await erasing_matching.erase(connection, user)
            await departures.bury(connection, user, now)
    return True
