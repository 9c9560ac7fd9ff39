"""Filters on publications: equality on top-level fields."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.filters import FIELDS_LIMIT, TEXT_LIMIT, VALUES_LIMIT, check_filter, fits
from actors.stream import Publication, Stream

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5, "", "a", "1"])
BODIES = st.dictionaries(
    st.sampled_from("abc"), SCALARS | st.lists(SCALARS) | st.dictionaries(st.just("a"), SCALARS)
)
FILTERS = st.dictionaries(st.sampled_from("abc"), SCALARS | st.lists(SCALARS, min_size=1))


def json(value: Any) -> bytes:
    """JSON tells true from 1; numbers are told apart by value alone."""
    return msgspec.json.encode(float(value) if type(value) is int else value)


@given(FILTERS, BODIES)
def test_a_body_fits_if_each_field_is_one_of_those_wanted_as_json_has_it(wanted: Any, body: Any) -> None:
    expected = True
    for name, values in wanted.items():
        texts = {json(value) for value in (values if isinstance(values, list) else [values])}
        expected &= json(body.get(name)) in texts
    assert fits(wanted, body) is expected


@pytest.mark.parametrize("body", [None, 1, "type", ["type"], [{"type": "x"}]])
def test_what_is_no_object_fits_no_filter(body: Any) -> None:
    assert not fits({"type": None}, body)
    assert not fits({}, body)


@pytest.mark.parametrize(
    "wrong",
    [
        {str(n): 1 for n in range(FIELDS_LIMIT + 1)},
        {"a": []},
        {"a": [1] * (VALUES_LIMIT + 1)},
        {"a": "x" * (TEXT_LIMIT + 1)},
        {"x" * (TEXT_LIMIT + 1): 1},
    ],
)
def test_a_filter_has_its_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="filter"):
        check_filter(wrong)


def stream(*kinds: str) -> Stream:
    made = Stream("e")
    for offset, kind in enumerate(kinds, 1):
        made.append(Publication(offset, 1, f"i{offset}", "u", "", b'{"type":"%s"}' % kind.encode()))
    return made


def offsets(reply: dict[str, Any]) -> list[int]:
    return [publication["o"] for publication in reply["pubs"]]


def test_a_filtered_recovery_is_whole_without_what_was_not_wanted() -> None:
    reply = stream("a", "b", "a", "b").subscribed("v", epoch="e", offset=1, limit=0, wanted={"type": "a"})
    assert (reply["recovered"], reply["offset"], offsets(reply)) == (True, 4, [3])


def test_the_newest_of_a_filter_are_the_newest_that_fit() -> None:
    made = stream("a", "a", "b", "a", "b")
    reply = made.subscribed("v", epoch="", offset=-1, limit=2, wanted={"type": "a"})
    assert offsets(reply) == [2, 4]


@pytest.mark.parametrize("position", [("", -1), ("e", 1), ("other", 0)])
def test_a_cache_holds_the_newest_value_that_one_may_see(position: tuple[str, int]) -> None:
    made = stream("a", "b")
    made.append(Publication(3, 1, "i3", "blocked", "", b"{}"))
    reply = made.subscribed(
        "v", epoch=position[0], offset=position[1], limit=0, hidden={"blocked"}, mode="cache"
    )
    assert (offsets(reply), reply["offset"], reply["mode"]) == ([2], 3, "cache")
    assert reply["recovered"] is reply["was_recovering"] is False
    assert offsets(Stream("e").subscribed("v", epoch="", offset=-1, limit=0, mode="cache")) == []
