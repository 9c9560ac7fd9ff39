"""All that is kept of a room that is read: aggregates, folded a message at a time in the order of its offsets
(NLP-8, NLP-10). No text, and nothing of a single message but the figures of the newest few hundred.

A fold is a function of the log alone and its state is whole as JSON, so it goes on exactly after a hand-off
or a restart from `last_offset`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from nlp.coordination import Coordination, Exchange
from nlp.dynamics import NOBODY, Dynamics
from nlp.quality import SCALE, Marks, Quality

PEOPLE_LEAST = 3
"""Of fewer people who spoke, figures are as good as figures of a person: only counts are told."""

TOLD_EVERY = 10
"""Figures are told as they were after a multiple of so many messages: whoever asks before and after one
message learns nothing of that message alone."""


class Verdict(msgspec.Struct, frozen=True):
    """What a scorer made of a text. All empty: it abstains."""

    harm: float | None = None
    """In [0, 1]: what a policy's threshold is compared with."""
    sentiment: float | None = None
    """In [−1, 1]."""
    labels: Mapping[str, float] = {}
    """Probabilities, by `<head>.<label>`."""
    models: Mapping[str, str] = {}
    """Head → version of the model."""

    @property
    def abstains(self) -> bool:
        """The scorer would not say."""
        return self.harm is None and self.sentiment is None and not self.labels


class Conversation(msgspec.Struct):
    """The state of a room's figures."""

    last_offset: int = 0
    """Everything up to there is counted."""
    quality: Quality = msgspec.field(default_factory=Quality)
    dynamics: Dynamics = msgspec.field(default_factory=Dynamics)
    coordination: Coordination = msgspec.field(default_factory=Coordination)
    before: int = 0
    """Classes of function words of the message before; with `before_english`."""
    before_english: bool = False
    told: dict[str, Any] | None = None
    """The figures that are told, as of the last multiple of TOLD_EVERY messages."""

    def said(
        self, offset: int, user: str, at_ms: int, marks: Marks, verdict: Verdict | None, *, wanted: bool
    ) -> None:
        """A message by somebody; `verdict` is None where none came in time, `wanted` whether one was to."""
        self.last_offset = offset
        quality = self.quality
        quality.said(marks)
        turn = self.dynamics.said(user, at_ms)
        if turn.latency_ms is not None:
            quality.replied(turn.latency_ms)
            if marks.is_english and self.before_english:
                self.coordination.add(Exchange(turn.index, turn.target, self.before, marks.classes))
        self.before, self.before_english = marks.classes, marks.is_english
        if verdict is None:
            quality.unscored += wanted
        elif verdict.abstains:
            quality.abstained += 1
        else:
            quality.scored += 1
            quality.labelled(dict(verdict.labels))
            if verdict.sentiment is not None:
                quality.felt(verdict.sentiment)
        if quality.messages % TOLD_EVERY == 0:
            self.told = self.figures()

    def retracted(self, offset: int) -> None:
        """A message that was taken back: of it nothing else counts."""
        self.last_offset = offset
        self.quality.retracted += 1

    def happened(self, offset: int) -> None:
        """An event that is no message."""
        self.last_offset = offset

    def came(self, offset: int, user: str) -> None:
        """Somebody joined."""
        self.last_offset = offset
        self.dynamics.came(user)

    def summary(self) -> dict[str, Any]:
        """What members are told: counts as they are, figures as they were last told, if ever."""
        quality = self.quality
        return {
            "messages": quality.messages,
            "speakers": len(self.dynamics.people),
            "scored": quality.scored,
            "unscored": quality.unscored,
            "abstained": quality.abstained,
            "retracted": quality.retracted,
            "figures": self.told,
        }

    def figures(self) -> dict[str, Any] | None:
        """The figures of the room, now; None of fewer than PEOPLE_LEAST speakers. Each is None where there is
        nothing to take it of.
        """
        quality, dynamics = self.quality, self.dynamics
        if len(dynamics.people) < PEOPLE_LEAST:
            return None
        slope = quality.slope.per_step()
        scored = {label: total / (SCALE * quality.scored) for label, total in sorted(quality.labels.items())}
        return {
            "messages": quality.messages,
            "quality": {
                "replies": quality.replies,
                "reply_latency_mean_s": _ratio(quality.latency_ms, 1000 * quality.replies),
                "reply_latency_median_below_s": _ratio(quality.median_latency_ms(), 1000),
                "turn_balance": dynamics.turn_balance(),
                "reciprocity": dynamics.reciprocity(),
                "questions": _ratio(quality.questions, quality.messages),
                "polite": _ratio(quality.polite, quality.english),
                "sentiment": _ratio(quality.sentiment, SCALE * quality.sentiments),
                "sentiment_slope_per_100": _ratio(slope, SCALE / 100),
                "labels": scored,
            },
            "dynamics": {
                "participation_entropy": dynamics.participation_entropy(),
                "centralization": dynamics.centralization(),
                "dominance": dynamics.dominance(),
                "newcomers": dynamics.newcomers,
                "newcomers_answered": _ratio(dynamics.welcomed, dynamics.newcomers),
                "newcomers_answered_after_s": _ratio(dynamics.welcome_ms, 1000 * dynamics.welcomed),
                "messages_of_others": dynamics.others,
            },
            "coordination": {
                "exchanges": len(self.coordination.exchanges),
                "value": self.coordination.value(),
                "by_class": self.coordination.by_class(),
            },
        }

    def own(self, user: str) -> dict[str, Any] | None:
        """One person's own figures, for themselves alone; None where they have said nothing, or are not told
        apart.
        """
        index = self.dynamics.index_of(user)
        if index == NOBODY:
            return None
        person = self.dynamics.people[index]
        others = len(self.dynamics.people) - 1
        towards = self.coordination.of(index)
        return {
            "messages": person.messages,
            "turns": person.turns,
            "centrality": self.dynamics.degrees()[index] / others if others else None,
            "coordination": towards.value() if len(self.dynamics.people) >= PEOPLE_LEAST else None,
            "exchanges": len(towards.exchanges),
        }

    def forget(self, user: str) -> None:
        """Nothing here names this person any more; counts stay."""
        self.dynamics.forget(user)

    def encoded(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def decoded(data: bytes | str) -> "Conversation":
        """Raises msgspec.ValidationError for what `encoded` does not give."""
        return msgspec.json.decode(data, type=Conversation)


def _ratio(part: float | None, whole: float) -> float | None:
    return part / whole if whole and part is not None else None
