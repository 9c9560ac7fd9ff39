"""What shows in single messages and between them: questions, politeness, how soon people reply, where the
mood goes (NLP-5). Turn balance and reciprocity, which need who speaks with whom, are in dynamics.py.

Counts are whole numbers (sentiment in 1/10,000), so that a sum is the same in whatever order and pieces.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass

import msgspec

from nlp.coordination import classes_of

REPLY_LIMIT_MS = 600_000
"""What is said later than this after somebody else's message is no reply to it."""

LATENCY_BOUNDS_MS = (1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 60_000, 120_000, 300_000, REPLY_LIMIT_MS)
SCALE = 10_000
SLOPE_WINDOW = 256
"""The mood's slope is that of so many newest scored messages."""

READ_CHARACTERS = 4_000
"""Of a longer text the rest is not looked at."""

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_QUESTION = re.compile(r"\?(?:\s|$|[)\"'!?])")
_QUESTION_MARKS = re.compile(r"[?\u061f\uff1f]")
_POLITE = re.compile(
    r"\b(?:please|thanks|thank you|thx|sorry|apologi[sz]e|excuse me|pardon|appreciate|grateful"
    r"|(?:could|would|can|may) (?:you|i|we)|would you mind|you're welcome)\b"
)
LEAST_WORDS = 4
"""A text of so many words with no English function word is not English, for all that can be said here."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a text shows. `is_english` is False where words are not of English: then nothing is said of
    politeness and function words.
    """

    is_question: bool = False
    is_polite: bool = False
    is_english: bool = False
    classes: int = 0
    """Classes of function words, see coordination.py."""


NO_MARKS = Marks()


def marks_of(text: str) -> Marks:
    """The marks of a text. Politeness: gratitude, apology, please, indirect requests (the strategies of
    Danescu-Niculescu-Mizil et al., "A computational approach to politeness", ACL 2013, that words show).
    """
    lower = text[:READ_CHARACTERS].lower().replace("\u2019", "'")
    words = _WORD.findall(lower)
    classes = classes_of(words)
    is_question = bool(_QUESTION.search(lower)) or bool(_QUESTION_MARKS.search(lower[-1:]))
    is_english = bool(classes) or 0 < len(words) < LEAST_WORDS
    return Marks(is_question, is_english and bool(_POLITE.search(lower)), is_english, classes)


class Slope(msgspec.Struct):
    """Least squares over the newest SLOPE_WINDOW values, x = 0, 1, 2 …; an update is O(1)."""

    values: list[int] = msgspec.field(default_factory=list)
    oldest: int = 0
    total: int = 0
    weighted: int = 0
    """Σ x·value."""

    def add(self, value: int) -> None:
        """The next value."""
        if len(self.values) < SLOPE_WINDOW:
            self.values.append(value)
        else:
            self.total -= self.values[self.oldest]
            self.weighted -= self.total  # each of the others is one place nearer to the beginning
            self.values[self.oldest] = value
            self.oldest = (self.oldest + 1) % SLOPE_WINDOW
        self.weighted += (len(self.values) - 1) * value
        self.total += value

    def per_step(self) -> float | None:
        """Change from one value to the next; None of fewer than three."""
        n = len(self.values)
        if n < 3:
            return None
        x_total = n * (n - 1) // 2
        x_squares = n * (n - 1) * (2 * n - 1) // 6
        return (n * self.weighted - x_total * self.total) / (n * x_squares - x_total * x_total)


class Quality(msgspec.Struct):
    """Counts since reading began; every update is O(1)."""

    messages: int = 0
    questions: int = 0
    english: int = 0
    polite: int = 0
    replies: int = 0
    latency_ms: int = 0
    """Of all replies together."""
    latencies: list[int] = msgspec.field(default_factory=lambda: [0] * len(LATENCY_BOUNDS_MS))
    """Replies by the first bound that they do not exceed."""
    scored: int = 0
    unscored: int = 0
    """A score was wanted and did not come in time."""
    abstained: int = 0
    """The scorer would not say."""
    retracted: int = 0
    sentiment: int = 0
    """Sum over those with a sentiment, in 1/SCALE."""
    sentiments: int = 0
    slope: Slope = msgspec.field(default_factory=Slope)
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    """Label → sum of its probabilities over the scored, in 1/SCALE."""

    def said(self, marks: Marks) -> None:
        """A message."""
        self.messages += 1
        self.questions += marks.is_question
        self.english += marks.is_english
        self.polite += marks.is_polite

    def replied(self, latency_ms: int) -> None:
        """It was a reply, 0 ≤ latency_ms ≤ REPLY_LIMIT_MS."""
        self.replies += 1
        self.latency_ms += latency_ms
        self.latencies[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1

    def felt(self, sentiment: float) -> None:
        """Its sentiment, in [−1, 1]."""
        value = round(sentiment * SCALE)
        self.sentiments += 1
        self.sentiment += value
        self.slope.add(value)

    def labelled(self, probabilities: dict[str, float]) -> None:
        """What the heads made of it."""
        for label, probability in probabilities.items():
            self.labels[label] = self.labels.get(label, 0) + round(probability * SCALE)

    def median_latency_ms(self) -> int | None:
        """The upper bound of the bucket that holds the median reply; None without replies."""
        below = 0
        for bound, count in zip(LATENCY_BOUNDS_MS, self.latencies, strict=True):
            below += count
            if count and 2 * below >= self.replies:
                return bound
        return None
