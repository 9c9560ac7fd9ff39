"""The history checker finds each fault that it is there to find."""

import pytest
from rt_client.checker import Stored, check
from rt_client.log import Acked, Began, Broken, Line, Resumed, Seen, Skipped

CH = "room:1"
STORED = {CH: Stored("e", tuple((o, f"m{o}") for o in range(1, 6)))}


def seen(offset: int, message_id: str | None = None, client: str = "a", epoch: str = "e") -> Seen:
    return Seen(client, CH, epoch, offset, message_id or f"m{offset}", "u", "live")


def acked(offset: int, message_id: str, cid: str = "c") -> Acked:
    return Acked("a", CH, "e", offset, message_id, "u", cid, "durable", False)


def began(offset: int = 0) -> Began:
    return Began("a", CH, "e", offset)


def test_one_history_seen_by_all_has_no_fault() -> None:
    logs: list[list[Line]] = [
        [
            began(),
            seen(1),
            seen(2),
            acked(3, "m3"),
            seen(3),
            Resumed("a", CH, "e", 2, True),
            seen(4),
            seen(5),
        ],
        [Began("b", CH, "e", 3), seen(4, client="b"), seen(5, client="b")],
    ]
    verdict = check(logs, STORED)
    assert verdict.faults == []
    assert (verdict.seen, verdict.acked, verdict.resumes, verdict.resumes_recovered) == (7, 1, 1, 1)


def test_a_recovered_false_begins_anew_only_past_the_limit() -> None:
    past: list[Line] = [began(), seen(1), Resumed("a", CH, "e", 301, False), began(3), seen(4)]
    assert check([past], STORED).faults == []
    within: list[Line] = [began(), seen(1), Resumed("a", CH, "e", 300, False), began(3), seen(4)]
    assert len(check([within], STORED).faults) == 1


@pytest.mark.parametrize(
    "log",
    [
        pytest.param([began(), seen(1), seen(3)], id="gap"),
        pytest.param([began(), seen(1), seen(1)], id="twice"),
        pytest.param([began(), seen(2), seen(1)], id="out of order"),
        pytest.param([began(), seen(1, "other")], id="another id at an offset"),
        pytest.param([began(4), seen(5), seen(6)], id="seen but never stored"),
        pytest.param([acked(6, "m6")], id="acknowledged but never stored"),
        pytest.param([acked(2, "m3")], id="acknowledged at another offset"),
        pytest.param([acked(2, "m2"), acked(3, "m3")], id="one cid at two offsets"),
        pytest.param(
            [began(), seen(1), Skipped("a", CH, "e", 2), seen(3)], id="skip without block or filter"
        ),
        pytest.param([Began("a", CH, "f", 0)], id="durable epoch changed"),
        pytest.param([Broken("a", CH, "e", "a push below the subscribed offset")], id="rule broken"),
    ],
)
def test_each_fault_is_found(log: list[Line]) -> None:
    assert check([log], STORED).faults


def test_two_clients_that_disagree_in_memory_are_found() -> None:
    logs: list[list[Line]] = [
        [Began("a", CH, "e", 0), seen(1, "x")],
        [Began("b", CH, "e", 0), seen(1, "y", client="b")],
    ]
    assert len(check(logs, {}).faults) == 1


def test_a_hole_in_the_stored_history_is_found() -> None:
    assert check([], {CH: Stored("e", ((1, "m1"), (3, "m3")))}).faults


def test_skips_are_fine_where_blocks_are() -> None:
    log: list[Line] = [began(), seen(1), Skipped("a", CH, "e", 2), seen(3)]
    assert check([log], STORED, skips_allowed=True).faults == []
