"""The transition table, without a database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.connections import (
    Action,
    IllegalTransitionError,
    VersionMismatchError,
    VersionRequiredError,
    step,
    view,
)
from storage.connections import PairRow
from storage.ids import UserId

A = UserId("00000000-0000-7000-8000-00000000000a")
B = UserId("00000000-0000-7000-8000-00000000000b")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
NEW = PairRow(A, B, "none", None, None, low_blocks=False, high_blocks=False, version=0, updated_at=NOW)

actors = st.sampled_from([A, B])
moves = st.lists(st.tuples(actors, st.sampled_from(Action), st.integers(0, 40)), max_size=12)


def play(*actions, pair=NEW, now=NOW):
    """Carries out (actor, action) one after another; `accept` names the current version."""
    for actor, action in actions:
        pair = step(pair, actor, Action(action), now, expected_version=pair.version).pair
    return pair


def states(pair, now=NOW):
    seen = [view(pair, user, now) for user in (A, B)]
    return tuple(each and each.state for each in seen)


def test_a_request_tells_the_other_and_nobody_else():
    outcome = step(NEW, A, Action.REQUEST, NOW)
    assert (outcome.event, outcome.told) == ("requested", (B,))
    assert view(outcome.pair, B, NOW).by == A


def test_crossing_requests_are_one_match():
    outcome = step(play((A, "request")), B, Action.REQUEST, NOW)
    assert (outcome.pair.state, outcome.event, outcome.told) == ("matched", "matched", (A, B))


def test_a_repeated_request_changes_nothing():
    once = play((A, "request"))
    assert step(once, A, Action.REQUEST, NOW).pair == once
    matched = play((A, "request"), (B, "request"))
    assert step(matched, A, Action.REQUEST, NOW).event is None


def test_accept_needs_the_version_that_was_seen():
    pair = play((A, "request"))
    with pytest.raises(VersionRequiredError):
        step(pair, B, Action.ACCEPT, NOW)
    with pytest.raises(VersionMismatchError):
        step(pair, B, Action.ACCEPT, NOW, expected_version=pair.version + 1)
    assert step(pair, B, Action.ACCEPT, NOW, expected_version=pair.version).pair.state == "matched"


@pytest.mark.parametrize(
    ("before", "actor", "action"),
    [
        ([], A, "accept"),
        ([], A, "unmatch"),
        ([], A, "unblock"),
        ([(A, "request")], A, "accept"),
        ([(A, "request")], A, "pass"),
        ([(A, "request")], B, "unmatch"),
        ([(A, "request"), (B, "request")], A, "pass"),
        ([(A, "request"), (B, "request")], A, "accept"),
        ([(A, "block")], A, "request"),
        ([(A, "block")], A, "pass"),
        ([(B, "pass")], A, "accept"),
    ],
)
def test_an_illegal_transition_is_refused(before, actor, action):
    with pytest.raises(IllegalTransitionError):
        play(*before, (actor, action))


def test_a_pass_looks_to_the_other_as_if_nothing_had_happened():
    asked = play((A, "request"))
    passed = step(asked, B, Action.PASS, NOW)
    assert passed.told == ()
    assert view(passed.pair, A, NOW) == view(asked, A, NOW)
    assert states(play((B, "pass"))) == ("none", "declined")


def test_a_request_under_a_pass_looks_sent_and_reaches_nobody():
    outcome = step(play((B, "pass")), A, Action.REQUEST, NOW)
    assert (outcome.event, outcome.told) == (None, ())
    assert states(outcome.pair) == ("requested", "declined")


def test_a_decliner_who_asks_after_all_matches_at_once_if_the_request_stands():
    assert play((A, "request"), (B, "pass"), (B, "request")).state == "matched"
    assert states(play((B, "pass"), (B, "request"))) == ("requested", "requested")


def test_when_both_passed_each_sees_their_own_pass():
    both = play((A, "pass"), (B, "pass"))
    assert states(both) == ("declined", "declined")
    assert states(play((A, "request"), pair=both)) == ("requested", "declined")


def test_a_pass_cools_down_after_30_days_and_a_request_expires_after_7():
    later = NOW + timedelta(days=30, seconds=1)
    assert states(play((B, "pass")), later) == ("none", "none")
    assert step(play((B, "pass")), A, Action.REQUEST, later).told == (B,)
    assert states(play((A, "request")), NOW + timedelta(days=7, seconds=1)) == ("expired", "expired")
    assert states(play((A, "request")), NOW + timedelta(days=7)) == ("requested", "requested")


def test_a_block_is_invisible_and_ends_a_match():
    outcome = step(play((A, "request"), (B, "request")), A, Action.BLOCK, NOW)
    assert outcome.told == ()
    assert states(outcome.pair) == ("blocked", None)
    assert states(play((A, "unblock"), pair=outcome.pair)) == ("none", "none")


@pytest.mark.parametrize("action", list(Action))
def test_whatever_the_blocked_one_does_finds_nobody(action):
    outcome = step(play((A, "block")), B, action, NOW, expected_version=1)
    assert not outcome.found
    assert view(outcome.pair, A, NOW) == view(play((A, "block")), A, NOW)


def test_a_block_by_the_blocked_holds_when_the_first_is_lifted():
    pair = play((A, "block"), (B, "block"))
    assert states(pair) == ("blocked", None)
    assert states(play((A, "unblock"), pair=pair)) == (None, "blocked")
    assert states(play((A, "block"), (B, "block"), (B, "unblock"), (A, "unblock"))) == ("none", "none")


@given(moves)
def test_no_sequence_shows_a_blocked_person_the_one_who_blocked_first(sequence):
    pair, now, first = NEW, NOW, None
    for actor, action, hours in sequence:
        now += timedelta(hours=hours * 6)
        try:
            outcome = step(pair, actor, action, now, expected_version=pair.version)
        except IllegalTransitionError:
            continue
        if outcome.pair != pair and outcome.pair.version == pair.version:
            assert outcome.told == ()
        assert outcome.pair.version - pair.version in (0, 1)
        assert actor not in outcome.told or outcome.event == "matched"
        pair = outcome.pair
        blockers = {user for user, on in ((A, pair.low_blocks), (B, pair.high_blocks)) if on}
        first = None if not blockers else first if first in blockers else next(iter(blockers))
        if first is not None:
            assert view(pair, first, now).state == "blocked"
            assert view(pair, B if first == A else A, now) is None
        else:
            assert all(view(pair, user, now) is not None for user in (A, B))
            assert pair.state != "matched" or states(pair, now) == ("matched", "matched")


@given(moves)
def test_the_table_knows_no_sides(sequence):
    """Mirrored actors make the mirrored pair."""
    mirror = {A: B, B: A, None: None}
    straight, mirrored, now = NEW, NEW, NOW
    for actor, action, hours in sequence:
        now += timedelta(hours=hours * 6)
        outcomes = []
        for pair, who in ((straight, actor), (mirrored, mirror[actor])):
            try:
                outcomes.append(step(pair, who, action, now, expected_version=pair.version).pair)
            except IllegalTransitionError:
                outcomes.append(pair)
        straight, mirrored = outcomes
        assert mirrored == replace(
            straight,
            acting=mirror[straight.acting],
            requester=mirror[straight.requester],
            low_blocks=straight.high_blocks,
            high_blocks=straight.low_blocks,
        )
