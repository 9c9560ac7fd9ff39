"""`presence:matches` of one person: those of their matches who are online, as these say themselves. Pure.

Each match's actor tells the whole of what this person may see of it, with a version; this works out who came
and who left. A match that does not answer is asked again; one whose shard was lost says for 15 s who is
there, and not who is missing (`is_complete`), so that nobody is seen to leave who did not.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from actors import messages as wire
from actors.attendance import Listeners
from actors.presence import Diff

MATCHES_LIMIT = 1_000
"""Matches that are followed; of somebody with more, the first by id."""

ASK_AGAIN_MS = 3_000

Meta = dict[str, Any]


@dataclass(slots=True)
class MatchesView:
    """What all connections of one person that watch their matches hold."""

    listeners: Listeners = field(default_factory=Listeners)
    asked: frozenset[str] = frozenset()
    held: dict[str, dict[str, Meta]] = field(default_factory=dict)
    """Match → ref → meta."""
    versions: dict[str, int] = field(default_factory=dict)
    doubts: dict[str, int] = field(default_factory=dict)
    """Matches who may not know that they are watched, and since when."""
    asked_again_ms: int = 0

    def metas(self, matched: AbstractSet[str]) -> list[Meta]:
        """All that is shown."""
        return [meta for who, own in self.held.items() if who in matched for meta in own.values()]

    def heard(self, told: wire.MatchOnline, matched: AbstractSet[str]) -> Diff | None:
        """A match told what there is of it. What is older than what is known changes nothing."""
        who = told.who
        if who not in matched or told.version < self.versions.get(who, 0):
            return None
        self.versions[who] = told.version
        before = self.held.get(who, {})
        now = {meta["ref"]: meta for meta in told.metas}
        self.doubts.pop(who, None)
        if not told.is_complete:
            gone = {*told.left, *(meta.get("prev") for meta in told.metas)}
            now = {ref: meta for ref, meta in before.items() if ref not in gone} | now
        return self._shows(who, now)

    def unanswered(self, who: str, now_ms: int) -> None:
        """A match's actor could not be asked."""
        if who in self.asked:
            self.doubts.setdefault(who, now_ms)

    def moved(self, whom: AbstractSet[str], now_ms: int) -> list[str]:
        """These matches' actors begin anew somewhere: who is to be asked."""
        again = sorted(self.asked & whom)
        for who in again:
            self.doubts.setdefault(who, now_ms)
        return again

    def due(self, now_ms: int) -> list[str]:
        """Who is to be asked again now."""
        if not self.doubts or now_ms - self.asked_again_ms < ASK_AGAIN_MS:
            return []
        self.asked_again_ms = now_ms
        return list(self.doubts)

    def reviewed(self, matched: AbstractSet[str]) -> tuple[list[Diff], list[str]]:
        """Matches changed: what is not shown any more, and who is to be asked."""
        diffs = [self._shows(who, {}) for who in self.held.keys() - matched]
        for who in self.asked - matched:
            self.doubts.pop(who, None)
            self.versions.pop(who, None)
        return [diff for diff in diffs if diff is not None], self.asks(matched)

    def asks(self, matched: AbstractSet[str]) -> list[str]:
        """Who is to be asked for the first time."""
        wanted = frozenset(sorted(matched)[:MATCHES_LIMIT])
        new = sorted(wanted - self.asked)
        self.asked = wanted
        return new

    def _shows(self, who: str, now: dict[str, Meta]) -> Diff | None:
        before = self.held.pop(who, {})
        if now:
            self.held[who] = now
        joins = [meta for ref, meta in now.items() if before.get(ref) != meta]
        leaves = [meta for ref, meta in before.items() if ref not in now]
        return Diff(who, joins, leaves) if joins or leaves else None
