"""Recovery against an oracle that keeps everything (RT-1, RT-2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.protocol import RECOVERY_LIMIT
from actors.stream import WINDOW, Publication, Stream


def publication(offset: int, user: str = "ann") -> Publication:
    return Publication(offset, 1_000 + offset, f"id-{offset}", user, f"c{offset}", b'{"n":%d}' % offset)


def stream_of(top: int) -> Stream:
    stream = Stream("epoch")
    for offset in range(1, top + 1):
        stream.append(publication(offset))
    return stream


@given(
    top=st.integers(0, 3 * WINDOW // 2),
    offset=st.integers(0, 2 * WINDOW),
    epoch=st.sampled_from(["epoch", "old"]),
)
def test_recovery_is_all_that_was_missed_or_nothing(top: int, offset: int, epoch: str) -> None:
    result = stream_of(top).subscribed("bob", epoch=epoch, offset=offset, limit=0)
    missed = list(range(offset + 1, top + 1))
    whole = epoch == "epoch" and offset <= top and len(missed) <= RECOVERY_LIMIT
    assert result["was_recovering"]
    assert result["recovered"] == whole
    assert [p["o"] for p in result["pubs"]] == (missed if whole else [])
    assert result["offset"] == top


@given(top=st.integers(0, WINDOW + 50), limit=st.integers(0, RECOVERY_LIMIT))
def test_without_a_position_the_newest_are_given(top: int, limit: int) -> None:
    result = stream_of(top).subscribed("bob", epoch="", offset=-1, limit=limit)
    assert [p["o"] for p in result["pubs"]] == list(range(1, top + 1))[-limit:] * (limit > 0)
    assert (result["recovered"], result["was_recovering"]) == (False, False)


def test_an_offset_that_does_not_follow_is_refused() -> None:
    stream = stream_of(3)
    for wrong in (3, 5):
        with pytest.raises(ValueError, match="does not follow"):
            stream.append(publication(wrong))


def test_only_the_sender_sees_the_cid_and_the_hidden_are_left_out() -> None:
    stream = Stream("epoch")
    stream.append(publication(1, "ann"))
    stream.append(publication(2, "eve"))
    mine = stream.subscribed("ann", epoch="epoch", offset=0, limit=0, hidden={"eve"})
    assert [(p["o"], p.get("cid")) for p in mine["pubs"]] == [(1, "c1")]
    assert mine["offset"] == 2
    theirs = stream.subscribed("bob", epoch="epoch", offset=0, limit=0)
    assert all("cid" not in p for p in theirs["pubs"])
