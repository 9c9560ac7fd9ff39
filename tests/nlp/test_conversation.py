"""The figures of a room, streamed, against the same figures taken of the whole log at once (NLP-5…8)."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp import conversation as folded
from nlp import coordination, dynamics, quality
from nlp.conversation import Conversation, Verdict
from nlp.quality import marks_of

MINUTE_MS = 60_000
LIMIT_MS = 600_000

WORDS = [
    "the",
    "a",
    "is",
    "and",
    "very",
    "it",
    "we",
    "of",
    "some",
    "dog",
    "runs",
    "please",
    "thanks",
    "why?",
    "?",
]
TEXTS = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join))
VERDICTS = st.one_of(
    st.none(),
    st.just(Verdict()),
    st.builds(
        Verdict,
        harm=st.just(0.5),
        sentiment=st.one_of(st.just(0.25), st.integers(-10_000, 10_000).map(lambda n: n / 10_000)),
        labels=st.fixed_dictionaries({"offence.offensive": st.sampled_from([0.25, 0.5, 1.0])}),
    ),
)
MESSAGE = st.tuples(
    st.just("said"), st.sampled_from("abcdef"), st.integers(0, 15 * MINUTE_MS), TEXTS, VERDICTS, st.booleans()
)
EVENT = st.tuples(st.sampled_from(["came", "retracted", "happened"]), st.sampled_from("abcdefg"))
LOGS = st.lists(st.one_of(MESSAGE, MESSAGE, MESSAGE, EVENT), max_size=60)
BUSY = st.lists(MESSAGE, min_size=20, max_size=60)


def fold(state: Conversation, log: list[Any], offset: int = 0, at_ms: int = 0) -> int:
    """Streams a log; the time of its last message."""
    for entry in log:
        offset += 1
        if entry[0] == "said":
            _, user, passed_ms, text, verdict, wanted = entry
            at_ms += passed_ms
            marks = quality.NO_MARKS if text is None else marks_of(text)
            state.said(offset, user, at_ms, marks, verdict, wanted=wanted)
        elif entry[0] == "came":
            state.came(offset, entry[1])
        elif entry[0] == "retracted":
            state.retracted(offset)
        else:
            state.happened(offset)
    return at_ms


class Whole:
    """The oracle: the whole log is there, every figure is written as its definition reads."""

    def __init__(self, log: list[Any], people: int, window: int, slope_window: int) -> None:
        self.said: list[dict[str, Any]] = []
        at_ms = 0
        for place, entry in enumerate(log):
            if entry[0] == "said":
                at_ms += entry[2]
                said = {"at": at_ms, "user": entry[1], "text": entry[3], "verdict": entry[4]}
                self.said.append(said | {"wanted": entry[5], "place": place})
        self.log = log
        self.known = list(dict.fromkeys(m["user"] for m in self.said))[:people]
        self.window, self.slope_window = window, slope_window
        self.pairs = list(pairwise(self.said))
        self.replies = [
            (one, other)
            for one, other in self.pairs
            if one["user"] != other["user"] and other["at"] - one["at"] <= LIMIT_MS
        ]

    def turns(self) -> list[int]:
        starts = [m for i, m in enumerate(self.said) if i == 0 or self._begins(*self.pairs[i - 1])]
        return [sum(m["user"] == user for m in starts) for user in self.known]

    @staticmethod
    def _begins(one: dict[str, Any], other: dict[str, Any]) -> bool:
        return one["user"] != other["user"] or other["at"] - one["at"] > LIMIT_MS

    def turn_balance(self) -> float | None:
        turns = self.turns()
        if len(turns) < 2:
            return None
        apart = sum(abs(x - y) for x in turns for y in turns)
        return float(1 - Fraction(apart, 2 * len(turns) * sum(turns)))

    def entropy(self) -> float | None:
        if len(self.known) < 2:
            return None
        said = [m for m in self.said if m["user"] in self.known]
        shares = [sum(m["user"] == user for m in said) / len(said) for user in self.known]
        return sum(share * math.log(1 / share) for share in shares) / math.log(len(self.known))

    def network(self) -> dict[tuple[str, str], int]:
        """(who replied, to whom) → how often, of those who are told apart."""
        found: dict[tuple[str, str], int] = {}
        for one, other in self.replies:
            if one["user"] in self.known and other["user"] in self.known:
                edge = other["user"], one["user"]
                found[edge] = found.get(edge, 0) + 1
        return found

    def reciprocity(self) -> float | None:
        edges = self.network()
        returned = sum(
            min(edges.get((x, y), 0), edges.get((y, x), 0)) for x, y in combinations(self.known, 2)
        )
        return 2 * returned / sum(edges.values()) if edges else None

    def centralization(self) -> float | None:
        n = len(self.known)
        if n < 3:
            return None
        edges = self.network()
        degree = [sum((x, y) in edges or (y, x) in edges for y in self.known if y != x) for x in self.known]
        star = (n - 1) * (n - 2)
        return sum(max(degree) - each for each in degree) / star

    def newcomers(self) -> tuple[int, int, int]:
        """(followed, within the limit, ms of these) of first messages of those who came before they spoke."""
        followed = within = waited = 0
        for user in self.known:
            first = next(m for m in self.said if m["user"] == user)
            came = any(e[0] == "came" and e[1] == user for e in self.log[: first["place"]])
            later = [m for m in self.said if m["place"] > first["place"] and m["user"] != user]
            if came and later:
                followed += 1
                passed = later[0]["at"] - first["at"]
                if passed <= LIMIT_MS:
                    within, waited = within + 1, waited + passed
        return followed, within, waited

    def slope(self) -> float | None:
        """Least squares by its textbook formula, over means."""
        y = [m["verdict"].sentiment for m in self.said if m["verdict"] and m["verdict"].sentiment is not None]
        y = [Fraction(round(each * 10_000), 10_000) for each in y][-self.slope_window :]
        if len(y) < 3:
            return None
        x = [Fraction(i) for i in range(len(y))]
        mx, my = sum(x) / len(x), sum(y) / len(y)
        top = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
        return float(top / sum((a - mx) ** 2 for a in x))

    def coordination(self) -> tuple[int, float | None]:
        def words(m: dict[str, Any]) -> set[str]:
            return set(re.findall("[a-z']+", m["text"] or ""))

        def is_english(m: dict[str, Any]) -> bool:
            found = re.findall("[a-z']+", m["text"] or "")
            known = any(set(found) & group for group in coordination.CLASSES.values())
            return known or 0 < len(found) < 4

        kept = [(a, b) for a, b in self.replies if is_english(a) and is_english(b)][-self.window :]
        per_class = []
        for group in coordination.CLASSES.values():
            asked = [(a, b) for a, b in kept if words(a) & group]
            if asked:
                given_asked = Fraction(sum(bool(words(b) & group) for _, b in asked), len(asked))
                always = Fraction(sum(bool(words(b) & group) for _, b in kept), len(kept))
                per_class.append(given_asked - always)
        return len(kept), float(sum(per_class) / len(per_class)) if per_class else None


def near(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, abs=1e-9)


@settings(deadline=None, max_examples=150)
@given(st.one_of(LOGS, BUSY))
def test_what_is_streamed_is_what_the_whole_log_gives(log: list[Any]) -> None:
    with small_limits():
        compare(log)


def compare(log: list[Any]) -> None:
    state = Conversation()
    fold(state, log)
    whole = Whole(log, dynamics.PEOPLE_LIMIT, coordination.WINDOW, quality.SLOPE_WINDOW)
    figures = state.quality, state.dynamics
    said = whole.said
    assert state.last_offset == len(log)
    assert figures[0].messages == len(said)
    assert figures[0].questions == sum("?" in (m["text"] or "") for m in said)
    assert figures[0].polite == sum(
        bool({"please", "thanks"} & set((m["text"] or "").split()))
        and (len((m["text"] or "").replace("?", "").split()) < 4 or any_function_word(m["text"]))
        for m in said
    )
    assert figures[0].replies == len(whole.replies)
    assert figures[0].latency_ms == sum(other["at"] - one["at"] for one, other in whole.replies)
    assert figures[0].unscored == sum(m["verdict"] is None and m["wanted"] for m in said)
    assert figures[0].abstained == sum(m["verdict"] == Verdict() for m in said)
    assert figures[0].retracted == sum(entry[0] == "retracted" for entry in log)
    assert figures[0].slope.per_step() == near(
        None if whole.slope() is None else (whole.slope() or 0) * quality.SCALE
    )
    assert [each.user for each in figures[1].people] == whole.known
    assert [each.turns for each in figures[1].people] == whole.turns()
    assert figures[1].others == sum(m["user"] not in whole.known for m in said)
    assert figures[1].turn_balance() == near(whole.turn_balance())
    assert figures[1].participation_entropy() == near(whole.entropy())
    assert figures[1].reciprocity() == near(whole.reciprocity())
    assert figures[1].centralization() == near(whole.centralization())
    turns = whole.turns()
    assert figures[1].dominance() == near(max(turns) / sum(turns) if len(turns) > 1 else None)
    assert (figures[1].newcomers, figures[1].welcomed, figures[1].welcome_ms) == whole.newcomers()
    exchanges, value = whole.coordination()
    assert len(state.coordination.exchanges) == exchanges
    assert state.coordination.value() == near(value)


def any_function_word(text: str | None) -> bool:
    words = set(re.findall("[a-z']+", text or ""))
    return any(words & group for group in coordination.CLASSES.values())


@contextmanager
def small_limits() -> Iterator[None]:
    """So small that each log runs into them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamics, "PEOPLE_LIMIT", 4)
        patch.setattr(coordination, "WINDOW", 4)
        patch.setattr(quality, "SLOPE_WINDOW", 3)
        yield


@settings(deadline=None, max_examples=80)
@given(LOGS, st.data())
def test_a_state_goes_on_exactly_wherever_it_was_written_and_read(log: list[Any], data: Any) -> None:
    """NLP-8: a hand-off, a restart."""
    with small_limits():
        whole = Conversation()
        fold(whole, log)
        state, done, at_ms = Conversation(), 0, 0
        while done < len(log):
            size = data.draw(st.integers(1, len(log) - done))
            at_ms = fold(state, log[done : done + size], done, at_ms)
            done += size
            state = Conversation.decoded(state.encoded())
        assert state == whole


def test_the_state_has_a_bound_and_an_update_no_memory_of_all_that_was() -> None:
    state = Conversation()
    texts = ["the dog is here and we see it?", "thanks, some of them were very good"]
    for n in range(20_000):
        verdict = Verdict(sentiment=0.1, labels={"emotion.joy": 0.5})
        state.said(n + 1, f"person-{n % 97}", n * 1000, marks_of(texts[n % 2]), verdict, wanted=True)
        state.came(n + 1, f"late-{n}")
    first = len(state.encoded())
    for n in range(20_000, 22_000):
        state.said(n + 1, f"person-{n % 97}", n * 1000, marks_of(texts[n % 2]), Verdict(), wanted=True)
    assert len(state.encoded()) < first + 500
    assert first < 64_000


def test_of_few_people_or_few_messages_no_figures_are_told() -> None:
    state = Conversation()
    for n in range(40):
        state.said(n + 1, "ab"[n % 2], n, marks_of("the end"), Verdict(sentiment=1.0), wanted=True)
    assert state.summary()["figures"] is None
    state.said(41, "c", 41, marks_of("hm"), Verdict(sentiment=-1.0), wanted=True)
    assert state.summary()["figures"] is None
    for n in range(41, 50):
        state.said(n + 1, "c", n, marks_of("hm"), None, wanted=False)
    told = state.summary()["figures"]
    assert told["messages"] == 50
    state.said(51, "a", 51, marks_of("hm"), Verdict(sentiment=-1.0), wanted=True)
    assert state.summary()["figures"] == told, "what one message changed must not show"
    assert state.summary()["scored"] == 42


def test_a_forgotten_person_is_named_nowhere_and_counts_stay() -> None:
    state = Conversation()
    for n, user in enumerate(["ann", "bob", "ann", "cat"]):
        state.came(n, user)
        state.said(n + 1, user, n, marks_of("hello you"), None, wanted=False)
    before = state.figures()
    state.forget("ann")
    state.forget("cat")
    assert "ann" not in state.encoded().decode()
    assert "cat" not in state.encoded().decode()
    assert state.figures() == before
    assert state.own("ann") is None
    assert state.own("bob") is not None


@pytest.mark.parametrize(
    ("text", "is_question", "is_polite", "is_english"),
    [
        ("Could you pass it on?", True, True, True),
        ("where? there!", True, False, True),
        ("see https://x.org/?q=1 for it", False, False, True),
        ("Wo bleibt ihr denn alle heute", False, False, False),
        ("ok", False, False, True),
        ("\u3069\u3053\uff1f", True, False, False),
        ("don\u2019t worry, it is fine", False, False, True),
    ],
)
def test_what_a_text_shows(text: str, is_question: bool, is_polite: bool, is_english: bool) -> None:
    marks = quality.marks_of(text)
    assert (marks.is_question, marks.is_polite, marks.is_english) == (is_question, is_polite, is_english)


def test_a_long_text_costs_no_more_than_its_beginning() -> None:
    assert quality.marks_of("x" * quality.READ_CHARACTERS + " please?").is_polite is False
    assert folded.TOLD_EVERY > 1
