"""`scores` of one person: those who are recommended to them, each with a score and whose it is (MATCH-17).
Pure.

Who it is about comes from the batch run, or from the recommender where there was none; how well they fit from
the same book as the scores of `near`.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from actors.map_views import MapViews
from actors.near import HOLD_MS
from actors.score_book import NONE, ScoreBook
from matching.telling import DIGITS

CHANNEL = "scores@"
READ_AGAIN_MS = 300_000
"""Who pauses, or changes what they look for, is found so soon."""

LIMIT = 50
"""People in the map."""

ASK_AGAIN_MS = 300_000
"""Whoever is left with few is recommended others so often at most."""

RETRY_MS = 15_000
"""The recommender did not answer."""


class Suggested(NamedTuple):
    """Somebody who is recommended, as it was stored or answered; below 0: their score is not known."""

    score: float
    model: str
    source: str


@dataclass(slots=True)
class ScoresState:
    """For all connections of one person."""

    maps: MapViews = field(default_factory=MapViews)
    rows: dict[str, Suggested] = field(default_factory=dict)
    """Best first, as suggested."""
    held: set[str] = field(default_factory=set)
    """Whose rows stay as clients have them."""
    held_until_ms: int = 0
    is_batch: bool = False
    """They are of a batch run."""
    read_at_ms: int = 0
    """When the batch run's rows, and who still may be shown, were read."""
    ask_at_ms: int = 0
    """The recommender is not asked before."""

    @property
    def is_wanted(self) -> bool:
        """Somebody listens, or may come back to it."""
        return bool(self.maps.views or self.maps.kept.by_epoch)

    def wants_more(self, now_ms: int) -> bool:
        """Whether the recommender is to be asked: there is little left of what it said."""
        return not self.is_batch and len(self.rows) < LIMIT // 2 and now_ms >= self.ask_at_ms

    def suggests(self, rows: Iterable[tuple[str, Suggested]]) -> None:
        """A batch run recommends these, best first; or nobody any more."""
        self.rows = dict(list(rows)[:LIMIT])
        self.is_batch = bool(self.rows)
        self.held &= self.rows.keys()

    def adds(self, rows: Iterable[tuple[str, Suggested]]) -> None:
        """These are recommended, too. Who was stays: nobody is to learn by it that they were passed on."""
        for user, row in rows:
            if len(self.rows) < LIMIT:
                self.rows.setdefault(user, row)

    def holds(self, users: Iterable[str], now_ms: int) -> None:
        """Clients hold rows of these, of an activation that is lost: they stay until there are scores. Where
        no batch run says otherwise these are who is recommended.
        """
        if not self.is_batch:
            self.adds((user, Suggested(NONE, "", "")) for user in sorted(users))
        self.held |= self.rows.keys() & set(users)
        self.held_until_ms = now_ms + HOLD_MS

    def forgets(self, user: str) -> None:
        """Somebody is no more."""
        self.rows.pop(user, None)
        self.held.discard(user)

    def lets_go(self) -> None:
        """From now on the map shows what is known."""
        self.held, self.held_until_ms = set(), 0

    def leaves(self, allowed: AbstractSet[str]) -> None:
        """Of those who are recommended only these still may be."""
        self.rows = {user: row for user, row in self.rows.items() if user in allowed}
        self.held &= self.rows.keys()

    def shown(self, book: ScoreBook, blocked: AbstractSet[str]) -> dict[str, Any]:
        """What the map holds now, all of one model: a suggestion's own score only before there are others."""
        rows: dict[str, Any] = {}
        for user, suggested in self.rows.items():
            score, model = book.known.get(user), book.model
            if score is None and user not in self.held and model in ("", suggested.model):
                score, model = suggested.score, suggested.model
            if score is not None and score >= 0 and user not in blocked:
                row = {"user": user, "score": round(score, DIGITS), "model": model}
                rows[user] = row | {"source": suggested.source}
        return rows
