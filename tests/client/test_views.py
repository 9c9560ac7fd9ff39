"""The client's own rules: what it shows, drops, asks for again (RT-2…RT-4)."""

from typing import Any

from rt_client.views import Log, StreamView

from cluster.check import check
from cluster.history import Broken, Channel, entries


def m(offset: int) -> dict[str, Any]:
    return {"o": offset, "t": 0, "i": f"m{offset}", "u": "u", "d": {}}


def push(offset: int) -> dict[str, Any]:
    return {"p": 7, "m": m(offset)}


def result(
    offset: int, pubs: list[int], *, recovered: bool = True, was: bool = True, epoch: str = "e"
) -> dict[str, Any]:
    return {
        "n": 7, "ch": "room:1", "mode": "stream", "epoch": epoch, "offset": offset,
        "recovered": recovered, "was_recovering": was, "pubs": [m(o) for o in pubs],
    }  # fmt: skip


def begun(offset: int = 10) -> tuple[StreamView, Log]:
    log: Log = []
    view = StreamView("a", "room:1", log)
    view.subscribed(result(offset, [], recovered=False, was=False))
    return view, log


def offsets(view: StreamView) -> list[int]:
    return [p["o"] for p in view.publications]


def test_pushes_in_sequence_are_shown() -> None:
    view, log = begun()
    for o in (11, 12, 13):
        view.pushed(push(o))
    assert offsets(view) == [11, 12, 13]
    assert check([entries("a", log)]).faults == []


def test_a_push_from_the_past_is_a_broken_rule() -> None:
    view, log = begun()
    view.pushed(push(10))
    assert offsets(view) == []
    assert any(isinstance(line, Broken) for line in log)


def test_a_gap_asks_for_resubscription_and_shows_nothing_until_it_is_answered() -> None:
    view, log = begun()
    view.pushed(push(12))
    view.pushed(push(13))
    assert view.insufficient
    assert view.position() == {"epoch": "e", "offset": 10}
    view.subscribed(result(13, [11, 12, 13]))
    view.pushed(push(14))
    assert offsets(view) == [11, 12, 13, 14]
    assert check([entries("a", log)]).faults == []


def test_a_partial_list_with_recovered_false_is_a_broken_rule() -> None:
    view, log = begun()
    view.subscribed(result(500, [499, 500], recovered=False))
    assert any(isinstance(line, Broken) for line in log)


def test_past_the_limit_history_is_paged_and_live_pushes_wait_for_it() -> None:
    view, log = begun()
    view.subscribed(result(15, [], recovered=False))
    view.pushed(push(16))
    assert view.position() == {"epoch": "e", "offset": 10}
    view.settle([m(11), m(12), m(13)], done=False)
    assert offsets(view) == [11, 12, 13]
    view.settle([m(14), m(15), m(16)], done=True)
    view.pushed(push(17))
    assert offsets(view) == [11, 12, 13, 14, 15, 16, 17]
    assert not any(isinstance(line, Broken) for line in log)


def test_a_loss_while_paging_resumes_from_what_was_shown() -> None:
    view, _ = begun()
    view.subscribed(result(400, [], recovered=False))
    view.settle([m(11)], done=False)
    assert view.position() == {"epoch": "e", "offset": 11}
    view.subscribed(result(13, [12, 13]))
    assert offsets(view) == [11, 12, 13]


def test_a_new_epoch_starts_over() -> None:
    view, log = begun()
    log.insert(0, Channel(client="a", ch="room:1", memory=True))
    view.subscribed(result(2, [], recovered=False, epoch="f"))
    view.pushed(push(3))
    assert view.position() == {"epoch": "f", "offset": 3}
    assert check([entries("a", log)]).faults == []
