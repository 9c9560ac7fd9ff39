"""The history checker: proves that what all clients saw is one history (CHAT-3, RT-1…RT-6).

Same id at the same offset everywhere; no gap in what a client saw unless it was told `recovered:false`
or `skip`; no acknowledged id missing from the stored history; none twice; the stored history without
holes; and no resume refused that was within the limit.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rt_client.log import Acked, Began, Broken, Line, Log, Resumed, Seen, Skipped

RECOVERY_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Stored:
    """A durable channel's whole history as the server pages it out: (offset, id) ascending."""

    epoch: str
    items: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class Verdict:
    """What was found. `faults` empty means proved."""

    faults: list[str] = field(default_factory=list)
    seen: int = 0
    acked: int = 0
    skips: int = 0
    resumes: int = 0
    resumes_recovered: int = 0
    resumes_past_limit: int = 0

    def __str__(self) -> str:
        return (
            f"{self.seen} publications seen, {self.acked} acknowledged, {self.skips} skips; "
            f"{self.resumes_recovered} of {self.resumes} durable resumes with at most {RECOVERY_LIMIT} "
            f"missed recovered ({self.resumes_past_limit} past it); {len(self.faults)} faults"
        )


def check(logs: Iterable[Log], stored: Mapping[str, Stored], *, skips_allowed: bool = False) -> Verdict:
    """Checks `logs`; channels in `stored` are durable, all others live in memory only."""
    verdict = Verdict()
    agreed: dict[tuple[str, str, int], str] = {}
    offset_of: dict[tuple[str, str], tuple[str, int]] = {}

    def agree(ch: str, epoch: str, offset: int, message_id: str, who: str) -> None:
        first = agreed.setdefault((ch, epoch, offset), message_id)
        if first != message_id:
            verdict.faults.append(f"{who}: {ch} offset {offset} is {message_id}, elsewhere {first}")
        place = offset_of.setdefault((ch, message_id), (epoch, offset))
        if place != (epoch, offset):
            verdict.faults.append(f"{who}: {ch} id {message_id} stands at {offset} and at {place[1]}")

    for ch, history in stored.items():
        for expected, (offset, message_id) in enumerate(history.items, start=1):
            if offset != expected:
                verdict.faults.append(f"history of {ch}: offset {offset} where {expected} was due")
                break
            agree(ch, history.epoch, offset, message_id, "history")
    offset_of_cid: dict[tuple[str, str, str], int] = {}
    for log in logs:
        for line in log:
            if isinstance(line, Seen):
                agree(line.ch, line.epoch, line.offset, line.id, line.client)
            elif isinstance(line, Acked) and line.ch in stored:
                agree(line.ch, stored[line.ch].epoch, line.offset, line.id, line.client)
                first = offset_of_cid.setdefault((line.ch, line.user, line.cid), line.offset)
                if first != line.offset:
                    verdict.faults.append(
                        f"{line.client}: {line.ch} cid {line.cid} is at {line.offset} and {first}"
                    )
        by_channel: dict[str, list[Line]] = defaultdict(list)
        for line in log:
            by_channel[line.ch].append(line)
        for ch, lines in by_channel.items():
            _check_one_view(lines, stored.get(ch), verdict, skips_allowed)
    return verdict


def _check_one_view(lines: list[Line], stored: Stored | None, verdict: Verdict, skips_allowed: bool) -> None:
    """One client's lines about one channel, in order."""
    stored_ids = dict(stored.items) if stored else {}
    position: tuple[str, int] | None = None
    for line in lines:
        where = f"{line.client}: {line.ch}"
        match line:
            case Began():
                position = (line.epoch, line.offset)
                if stored and line.epoch != stored.epoch:
                    verdict.faults.append(
                        f"{where} began in epoch {line.epoch}, the history's is {stored.epoch}"
                    )
            case Seen():
                verdict.seen += 1
                if position is not None and (line.epoch, line.offset) != (position[0], position[1] + 1):
                    verdict.faults.append(f"{where} saw {line.offset} ({line.via}) after {position[1]}")
                position = (line.epoch, line.offset)
                if stored and stored_ids.get(line.offset) != line.id:
                    verdict.faults.append(
                        f"{where} saw {line.id} at {line.offset}, which is not in the history"
                    )
            case Skipped():
                verdict.skips += 1
                if not skips_allowed:
                    verdict.faults.append(f"{where} was told to skip to {line.offset}")
                if position is not None and line.offset <= position[1]:
                    verdict.faults.append(
                        f"{where} was told to skip back to {line.offset} from {position[1]}"
                    )
                position = (line.epoch, line.offset)
            case Acked():
                verdict.acked += 1
                if stored and stored_ids.get(line.offset) != line.id:
                    verdict.faults.append(
                        f"{where} has an ack for {line.id} at {line.offset}: not in the history"
                    )
            case Resumed() if stored is not None:
                if line.missed > RECOVERY_LIMIT:
                    verdict.resumes_past_limit += 1
                else:
                    verdict.resumes += 1
                    verdict.resumes_recovered += line.recovered
                    if not line.recovered:
                        verdict.faults.append(f"{where} lost its place with {line.missed} missed")
            case Broken():
                verdict.faults.append(f"{where}: {line.what}")
