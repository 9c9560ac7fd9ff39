"""What people decide about each other, learned in the transaction that makes it true (ML-1)."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from identity.connections import Action
from matching.tally import PRIOR, Tally
from storage.decisions import TallyRow, append, last_answer, save_tally, tallies
from storage.ids import UserId
from storage.outbox import notify

LIKES: dict[Action, bool] = {Action.REQUEST: True, Action.ACCEPT: True, Action.PASS: False}
"""Actions that are decisions, and which way."""


async def learn(  # noqa: PLR0917 - a row
    connection: Any,
    rater: UserId,
    ratee: UserId,
    likes: bool,
    at: datetime,
    model: str | None = None,
    source: str | None = None,
) -> None:
    """Appends a decision and counts it for both. Within `lock_both`.

    Somebody who answers as they last did says nothing new, and is not counted: else an ask that is taken back
    and made again (by a block, or unmatching) would count for more people than one.
    """
    if await last_answer(connection, rater, ratee) is likes:
        return
    await append(connection, rater, ratee, likes, at, model, source)
    rows = await tallies(connection, [rater, ratee])
    gave, got = (Tally(**asdict(rows.get(person, TallyRow()))) for person in (rater, ratee))
    got.got(likes, gave.give_rate(PRIOR))
    gave.gave(likes)
    for person, tally in ((rater, gave), (ratee, got)):
        await save_tally(connection, person, TallyRow(**asdict(tally)))
    await notify(connection, [("decision", rater), ("decision", ratee)])
