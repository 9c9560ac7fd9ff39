"""The history checker finds each fault that it is there to find, and none where there is none."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cluster.check import Verdict, check
from cluster.history import Entry, read

CH = "room:1"


def sub(offset: int, asked: int | None = None, **given: Any) -> dict[str, Any]:
    """An answered subscription; by position it was recovered unless `given` says otherwise."""
    line = {"kind": "sub", "ch": CH, "epoch": "e", "offset": offset, **given}
    return line if asked is None else {"recovered": True, **line, "from": asked}


def pub(offset: int, **given: Any) -> dict[str, Any]:
    return {"kind": "pub", "ch": CH, "epoch": "e", "offset": offset, "id": f"m{offset}", **given}


def live(offset: int) -> dict[str, Any]:
    return pub(offset, via="live")


def page(offset: int) -> dict[str, Any]:
    return pub(offset, via="page")


def ack(offset: int, **given: Any) -> dict[str, Any]:
    return {"kind": "ack", "ch": CH, "offset": offset, "id": f"m{offset}", **given}


def skip(offset: int) -> dict[str, Any]:
    return {"kind": "skip", "ch": CH, "offset": offset}


END = {"kind": "end", "ch": CH}
MEMORY = {"kind": "channel", "ch": CH, "memory": True}
LOG = [{**pub(offset), "kind": "log"} for offset in range(1, 6)]


def judged(tmp_path: Path, *histories: list[dict[str, Any]], log: Any = LOG, **options: Any) -> Verdict:
    """What the checker says of histories that went through files, a client each."""

    def written(name: str, lines: list[dict[str, Any]]) -> list[Entry]:
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return list(read(path))

    return check(
        [written(f"client{number}", lines) for number, lines in enumerate(histories)],
        [] if log is None else [written("log", log)],
        **options,
    )


SOUND = {
    "live from the start": [sub(0), live(1), live(2), live(3), live(4), live(5), END],
    "the newest with the subscription": [sub(3), pub(2, via="recovered"), pub(3, via="recovered"), live(4)],
    "a resume": [sub(0), live(1), sub(3, 1), pub(2), pub(3), live(4), live(5), END],
    "a resume with nothing missed": [sub(2), sub(2, 2), live(3)],
    "a resume by a client that began elsewhere": [sub(3, 1), pub(2), pub(3)],
    "an acknowledgement before the push": [sub(0), ack(1), live(1), ack(2, cid="a"), ack(2, cid="a")],
    "two users with one cid": [ack(1, cid="a", user="x"), ack(2, cid="a", user="y")],
    "anew without a position": [sub(0), live(1), live(2), sub(2), pub(1), pub(2), live(3)],
    "nothing but publications": [pub(2), pub(3), pub(4)],
    "a relayed publication that was never stored": [ack(6, ack="relay")],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_history_has_no_violation(tmp_path: Path, name: str) -> None:
    assert judged(tmp_path, SOUND[name]).faults == []


PLANTED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "a hole": ("gap", [sub(0), live(1), live(3)]),
    "a hole after the subscription": ("gap", [sub(1), live(3)]),
    "a hole in what was recovered": ("gap", [sub(0), sub(3, 0), pub(1), pub(3)]),
    "recovered, and the end is missing": ("gap", [sub(0), sub(3, 0), pub(1), pub(2), live(4)]),
    "asked from further than it was shown": ("gap", [sub(0), live(1), sub(4, 3)]),
    "one twice": ("twice", [sub(0), live(1), live(2), live(2)]),
    "one again after the resume": ("twice", [sub(0), live(1), live(2), sub(3, 2), pub(2), pub(3)]),
    "out of order": ("order", [sub(0), live(1), live(2), sub(2), live(4), live(3)]),
    "a push that the reply covers": ("order", [sub(3), live(3)]),
    "recovered backwards": ("order", [sub(3), sub(1, 3)]),
    "another id than the log's": ("disagree", [sub(0), pub(1, id="other")]),
    "an id at a second offset": ("disagree", [sub(0), live(1), pub(2, id="m1")]),
    "an ack at another offset": ("disagree", [ack(2, id="m3")]),
    "acknowledged and not stored": ("lost", [ack(4), ack(6)]),
    "seen and not stored": ("unlogged", [sub(4), live(5), live(6)]),
    "one cid at two offsets": ("cid", [ack(2, cid="a"), ack(3, cid="a")]),
    "refused within the limit": ("unrecovered", [sub(0), live(1), sub(5, 1, recovered=False)]),
    "a skip without a block": ("skip", [sub(0), live(1), skip(2), live(3)]),
    "a durable epoch that changed": ("epoch", [sub(0, epoch="f")]),
    "recovered into another epoch": ("epoch", [sub(1), sub(1, 1, epoch="f")]),
    "an epoch without a subscription": ("epoch", [sub(0), live(1), pub(2, epoch="f")]),
    "less than the log at the end": ("short", [sub(0), live(1), live(2), live(3), live(4), END]),
    "less than was promised at the end": ("short", [sub(0), live(1), sub(5, 1), pub(2), END]),
    "a rule that the client saw broken": ("broken", [{"kind": "broken", "what": "x"}]),
    "a position that was overlooked": ("broken", [sub(1), sub(1, 1, was_recovering=False, recovered=False)]),
    "an unknown kind of line": ("malformed", [{"kind": "what"}]),
    "a field of another type": ("malformed", [{**live(1), "offset": "1"}]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_violation_is_found_by_its_kind(tmp_path: Path, name: str) -> None:
    """The same without its last line is sound (or the line before is the planted one)."""
    kind, history = PLANTED[name]
    verdict = judged(tmp_path, history)
    assert kind in {violation.kind for violation in verdict.violations}
    found = next(violation for violation in verdict.violations if violation.kind == kind)
    assert found.file.endswith("client0")
    assert 1 <= found.line <= len(history)


def test_a_violation_names_client_and_line(tmp_path: Path) -> None:
    verdict = judged(tmp_path, [{**line, "client": "ann"} for line in (sub(0), live(1), live(3))])
    (violation,) = verdict.violations
    assert (violation.kind, violation.client, violation.ch, violation.line) == ("gap", "ann", CH, 3)


def test_what_was_lost_may_be_left_out_or_paged_but_not_in_part(tmp_path: Path) -> None:
    """After a `recovered:false` past the limit."""
    log = [{**pub(offset), "kind": "log"} for offset in range(1, 403)]
    lost = [sub(0), live(1), sub(400, 1, recovered=False)]
    assert judged(tmp_path, [*lost, live(401)], log=log).faults == []
    assert judged(tmp_path, [*lost, *map(page, range(2, 401)), live(401)], log=log).faults == []
    assert judged(tmp_path, [*lost, page(2), sub(401, 2, recovered=False)], log=log).faults == []
    assert judged(tmp_path, [*lost, page(2), page(4), live(401)], log=log).violations[0].kind == "gap"
    assert judged(tmp_path, [*lost, live(402)], log=log).violations[0].kind == "gap"
    assert judged(tmp_path, lost, log=log).resumes_past_limit == 1


def test_301_missed_are_past_the_limit_and_300_are_not(tmp_path: Path) -> None:
    for missed, within in ((300, 1), (301, 0)):
        verdict = judged(tmp_path, [sub(0), sub(missed, 0, recovered=False)], log=None)
        assert verdict.resumes_within_limit == within == len(verdict.violations)


def test_two_clients_that_disagree_are_found_without_a_log(tmp_path: Path) -> None:
    verdict = judged(tmp_path, [sub(0), pub(1, id="x")], [sub(0), pub(1, id="y")], log=None)
    assert [violation.kind for violation in verdict.violations] == ["disagree"]
    assert verdict.channels_without_log == 1


def test_a_channel_in_memory_may_start_over(tmp_path: Path) -> None:
    restarted = [sub(0), live(1), sub(0, 1, epoch="f", recovered=False), pub(1, epoch="f", id="n1")]
    assert judged(tmp_path, [MEMORY, *restarted], log=None).faults == []
    assert judged(tmp_path, [MEMORY, *restarted], log=None).resumes_in_memory == 1
    kinds = {violation.kind for violation in judged(tmp_path, restarted, log=None).violations}
    assert kinds == {"epoch", "unrecovered"}


@pytest.mark.parametrize("damage", ["a hole", "a second epoch", "an id twice"])
def test_a_log_that_is_no_log_is_found(tmp_path: Path, damage: str) -> None:
    log = [dict(line) for line in LOG]
    if damage == "a hole":
        del log[2]
    elif damage == "a second epoch":
        log[3]["epoch"] = "f"
    else:
        log[3]["id"] = "m1"
    assert judged(tmp_path, [], log=log).violations


def test_skips_stand_where_blocks_do(tmp_path: Path) -> None:
    history = [sub(0), live(1), skip(2), live(3), sub(5, 3), pub(4), sub(5, 5)]
    assert judged(tmp_path, history, skips_allowed=True).faults == []
    back = [sub(0), live(1), live(2), skip(2)]
    assert judged(tmp_path, back, skips_allowed=True).violations[0].kind == "order"


def test_a_hidden_publication_at_the_end_of_what_was_recovered_is_allowed_with_skips(tmp_path: Path) -> None:
    history = [sub(0), live(1), sub(3, 1), pub(2), live(4), live(5)]
    assert judged(tmp_path, history, skips_allowed=True).faults == []
    assert judged(tmp_path, history).violations


def test_many_clients_may_share_a_file(tmp_path: Path) -> None:
    lines = [
        {**line, "client": client}
        for pair in zip([sub(0), live(1), live(2)], [sub(1), live(2), live(3)], strict=True)
        for client, line in zip("ab", pair, strict=True)
    ]
    verdict = judged(tmp_path, lines)
    assert verdict.faults == []
    assert (verdict.clients, verdict.publications_seen) == (2, 4)


def test_the_command_prints_counts_and_violations_and_fails(tmp_path: Path) -> None:
    def told(lines: list[dict[str, Any]], *options: str) -> subprocess.CompletedProcess[str]:
        history, log = tmp_path / "history.jsonl", tmp_path / "log.jsonl"
        history.write_text("\n".join(map(json.dumps, lines)))
        log.write_text("\n".join(map(json.dumps, LOG)))
        command = [Path(sys.executable).with_name("hereabouts"), "check", history, "--log", log, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    sound = told([sub(0), live(1), ack(1), sub(3, 1), pub(2), pub(3)], "--json")
    assert sound.returncode == 0, sound.stderr
    counts = json.loads(sound.stdout)
    assert counts["ok"] is True
    assert (counts["resumes_within_limit"], counts["resumes_recovered"], counts["skips"]) == (1, 1, 0)
    faulty = told([sub(0), live(1), live(3), live(3)])
    assert faulty.returncode == 1
    lines = faulty.stdout.splitlines()
    assert Counter(kind for kind in ("gap", "twice") for line in lines if f": {kind}: " in line) == {
        "gap": 1, "twice": 1,
    }  # fmt: skip
    assert "history.jsonl:3" in lines[0]
    missing = subprocess.run(
        [Path(sys.executable).with_name("hereabouts"), "check", tmp_path / "none"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr
