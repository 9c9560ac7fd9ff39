"""Of who is erased nothing stays in what is known of others (ML-11)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.erasing import corrections
from matching.tally import PRIOR, Tally
from storage.erasing_matching import GivenRow

ROWS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde"), st.booleans()).filter(
        lambda row: row[0] != row[1]
    ),
    max_size=40,
)


def replayed(rows):
    people = {name: Tally() for name in "abcde"}
    for row in rows:
        people[row.ratee].got(row.likes, people[row.rater].give_rate(PRIOR))
        people[row.rater].gave(row.likes)
    return people


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_corrected_tallies_are_those_of_the_log_without_the_person(rows):
    log = [GivenRow(*row) for row in rows]
    raters = {row.rater for row in log if row.ratee == "a"} | {"a"}
    changes = corrections("a", [row for row in log if row.rater in raters])
    before, after = replayed(log), replayed([row for row in log if "a" not in {row.rater, row.ratee}])
    assert "a" not in changes
    for name in "bcde":
        was, now, by = before[name], after[name], changes.get(name, (0, 0, 0, 0, 0.0))
        assert (was.given + by[0], was.given_yes + by[1]) == (now.given, now.given_yes)
        assert (was.received + by[2], was.received_yes + by[3]) == (now.received, now.received_yes)
        assert was.surprise + by[4] == pytest.approx(now.surprise)
