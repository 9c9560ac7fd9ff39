"""What one person is told of how they and others fit: one model's scores at a time (MATCH-17). Pure.

A score holds both directions, so it could tell what the other one did a moment ago. It does not follow each
decision (docs/decisions/0230): it is rounded, changes only by NOTICED or more, is asked anew at a time that
nobody knows beforehand, and what others decided about the person counts by RECEIVED_STEP at once.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from matching.telling import DIGITS, NOTICED, RENEW_S, is_step
from storage.decisions import TallyRow

NONE = -1.0
"""There is no score of these two."""

RENEW_MS = round(RENEW_S * 1_000)

BOOK_LIMIT = 500
"""Pairs that are remembered: the oldest go. Of somebody who wants more at once the first ones count."""


@dataclass(slots=True)
class ScoreBook:
    """One person's."""

    model: str = ""
    known: dict[str, float] = field(default_factory=dict)
    """Other → score in [0, 1], or NONE, as it is shown: all of `model`."""
    is_stale: bool = True
    """All that is wanted is to be asked, whatever is known."""
    due_ms: int = 0
    """When all is asked anew."""
    counted: TallyRow | None = None
    """The tally that scores are made with."""

    def lacks(self, wanted: Iterable[str]) -> bool:
        """Whether something is to be asked for these."""
        return self.is_stale or any(user not in self.known for user in wanted)

    def asks(self, wanted: Collection[str]) -> tuple[list[str], bool]:
        """Whom to ask about now, and whether that is all who are wanted. Whoever gets no answer says so by
        `is_stale`.
        """
        if wanted and (self.is_stale or not self.known):
            self.is_stale = False
            return list(wanted), True
        return [user for user in wanted if user not in self.known], False

    def told(self, model: str, scores: Mapping[str, float], renew_at_ms: int, *, is_all: bool) -> None:
        """Takes an answer, of all who were wanted when it was asked for or of some. No one is shown two
        models at once: what is of another one than is known is taken only if it is of all.
        """
        if model != self.model:
            if not is_all:
                self.is_stale = True
                return
            self.model, self.known = model, {}
        for user, score in scores.items():
            before = self.known.pop(user, NONE)
            now = NONE if score < 0 else round(min(score, 1.0), DIGITS)
            is_noticed = (before < 0) is not (now < 0) or abs(now - before) >= NOTICED - 1e-9
            self.known[user] = now if is_noticed else before
        if is_all:
            self.due_ms = renew_at_ms
        for user in list(self.known)[: max(0, len(self.known) - BOOK_LIMIT)]:
            if user not in scores:
                del self.known[user]

    def without(self, users: AbstractSet[str]) -> None:
        """Nothing is known of these any more: they were blocked."""
        for user in users & self.known.keys():
            del self.known[user]

    def counts(self, tally: TallyRow) -> TallyRow:
        """The tally that scores are made with now: the person's own decisions at once, those of others by
        RECEIVED_STEP.
        """
        before = self.counted
        if before is None or is_step(before.received, tally.received):
            self.counted = tally
        else:
            self.counted = replace(before, given=tally.given, given_yes=tally.given_yes)
        return self.counted

    def is_due(self, now_ms: int) -> bool:
        """Once the time has come: all is to be asked anew."""
        if self.is_stale or not self.model or now_ms < self.due_ms:
            return False
        self.is_stale = True
        return True
