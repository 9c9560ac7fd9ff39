"""What one person is told of scores, and what these may not tell of others (MATCH-17)."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.score_book import BOOK_LIMIT, ScoreBook
from matching.arrays import logit, sigmoid
from matching.reciprocal import harmonic
from matching.tally import PRIOR, Tally
from matching.telling import NOTICED, RECEIVED_STEP
from storage.decisions import TallyRow


def book(**known: float) -> ScoreBook:
    made = ScoreBook()
    _, is_all = made.asks(list(known))
    assert is_all
    made.told("m1", dict(known), 1_000, is_all=True)
    return made


def test_the_first_question_is_of_all_and_the_next_of_those_who_are_new():
    made = book(a=0.5, b=-1.0)
    assert made.known == {"a": 0.5, "b": -1.0}
    assert not made.lacks(["a", "b"])
    assert made.lacks(["a", "c"])
    assert made.asks(["a", "b", "c"]) == (["c"], False)
    made.is_stale = True
    assert made.asks(["a", "c"]) == (["a", "c"], True)
    assert made.asks(["a", "c"]) == (["c"], False)


def test_a_score_is_rounded_and_follows_only_what_is_noticed():
    made = book(a=0.4444)
    assert made.known["a"] == 0.44
    for near_by in (0.40, 0.484):
        made.told("m1", {"a": near_by}, 0, is_all=False)
        assert made.known["a"] == 0.44
    made.told("m1", {"a": 0.44 + NOTICED}, 0, is_all=False)
    assert made.known["a"] == 0.49
    made.told("m1", {"a": -1.0}, 0, is_all=False)
    assert made.known["a"] == -1.0


def test_nobody_is_shown_two_models_at_once():
    made = book(a=0.5, b=0.6)
    made.told("m2", {"c": 0.7}, 0, is_all=False)
    assert (made.model, made.is_stale, made.known) == ("m1", True, {"a": 0.5, "b": 0.6})
    _, is_all = made.asks(["a", "c"])
    made.told("m2", {"a": 0.52, "c": 0.7}, 0, is_all=is_all)
    assert (made.model, made.is_stale, made.known) == ("m2", False, {"a": 0.52, "c": 0.7})


def test_what_is_remembered_has_a_bound_and_the_oldest_goes():
    made = book(**{f"u{number}": 0.5 for number in range(BOOK_LIMIT)})
    made.told("m1", {"new": 0.5, "u0": 0.5}, 0, is_all=False)
    assert len(made.known) == BOOK_LIMIT
    assert {"new", "u0"} <= made.known.keys()
    assert "u1" not in made.known


def test_all_are_asked_anew_once_their_time_has_come():
    made = book(a=0.5)
    assert not made.is_due(999)
    assert made.is_due(1_000)
    assert not made.is_due(1_000)
    assert made.lacks([])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_ones_own_decisions_count_at_once_and_what_others_decide_by_the_step(
    decided: list[tuple[bool, bool]],
) -> None:
    """(was it mine, was it a like), one after the other."""
    made, tally = ScoreBook(), Tally()
    counted = made.counts(TallyRow())
    for is_mine, likes in decided:
        if is_mine:
            tally.gave(likes)
        else:
            tally.got(likes, PRIOR)
        now = TallyRow(tally.given, tally.given_yes, tally.received, tally.received_yes, tally.surprise)
        before, counted = counted, made.counts(now)
        assert (counted.given, counted.given_yes) == (tally.given, tally.given_yes)
        assert 0 <= tally.received - counted.received < RECEIVED_STEP
        changed = (counted.received, counted.received_yes, counted.surprise) != (
            before.received, before.received_yes, before.surprise,
        )  # fmt: skip
        assert changed is (counted.received - before.received >= RECEIVED_STEP)


@given(
    st.integers(5, 40), st.integers(0, 60), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40),
)  # fmt: skip
def test_a_pass_by_somebody_who_passed_on_five_before_is_not_told(
    passes: int, likes: int, mine_liked: int, mine_passed: int, gave: int
) -> None:
    """By the baseline's formula, whatever else is known of the two; somebody who passed on fewer can be told
    by as much as .13, whomever they passed on (docs/decisions/0230)."""
    viewer = Tally(gave + 1, gave, mine_liked + mine_passed, mine_liked)
    other, after = Tally(passes + likes, likes, 10, 5), Tally(passes + likes + 1, likes, 10, 5)

    def score(theirs: Tally) -> float:
        forward, backward = (
            sigmoid(logit(np.array([one.give_rate(PRIOR)])) + logit(np.array([two.received_rate(PRIOR)])))
            for one, two in ((viewer, theirs), (theirs, viewer))
        )
        return float(harmonic(forward, backward)[0])

    made = book(them=score(other))
    shown = dict(made.known)
    made.is_stale = True
    made.asks(["them"])
    made.told("m1", {"them": score(after)}, 0, is_all=True)
    assert made.known == shown
