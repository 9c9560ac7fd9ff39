"""The history checker: proves that what all clients saw is one history (CHAT-3, RT-1…RT-6).

Same id at the same offset everywhere; no gap in what a client saw unless it was told `recovered:false` (or
`skip`, where blocks or filters allow one); no durably acknowledged id missing from the log; none twice; the
order that of the log, which has no holes; and no durable resume refused that was within the limit.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.check_crossings import CrossingCheck
from cluster.history import (
    Ack,
    Bound,
    Broken,
    Channel,
    Connect,
    Crossed,
    End,
    Entry,
    Logged,
    Members,
    Moved,
    Pub,
    Skip,
    Sub,
    Walked,
)

RECOVERY_LIMIT = 300
"""A durable channel recovers up to so many missed publications (RT-2)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that may not be. `kind` is one word of docs/histories.md."""

    kind: str
    client: str
    ch: str
    file: str
    line: int
    what: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.kind}: {self.client} {self.ch}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What was found. `violations` empty means proved."""

    violations: list[Violation] = field(default_factory=list)
    lines: int = 0
    clients: int = 0
    channels: int = 0
    channels_without_log: int = 0
    """Durable ones of which no log was given: what clients saw of them was only held against each other."""
    connects: int = 0
    connects_resumed: int = 0
    publications_seen: int = 0
    publications: int = 0
    """Different ones."""
    acked_durable: int = 0
    acked_other: int = 0
    relayed_but_not_stored: int = 0
    """Acknowledged with `relay`, which promises an offset and no storage, and not in the log."""
    skips: int = 0
    resumes_within_limit: int = 0
    """Durable resumes by position with at most RECOVERY_LIMIT missed."""
    resumes_recovered: int = 0
    """Of those."""
    resumes_past_limit: int = 0
    resumes_in_memory: int = 0
    ends: int = 0
    crossings: int = 0
    """Entries of people's `fences` streams."""

    @property
    def faults(self) -> list[str]:
        """The violations as text."""
        return [str(violation) for violation in self.violations]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"ok": not self.violations, **asdict(self)}

    def __str__(self) -> str:
        return (
            f"{self.publications_seen} publications seen by {self.clients} clients ({self.publications} "
            f"different, {self.channels} channels), {self.acked_durable} durably acknowledged; "
            f"{self.resumes_recovered} of {self.resumes_within_limit} durable resumes with at most "
            f"{RECOVERY_LIMIT} missed recovered ({self.resumes_past_limit} past it); {self.skips} skips; "
            f"{len(self.violations)} violations"
        )


@dataclass(slots=True)
class _View:
    """Where one client is in one channel."""

    epoch: str = ""
    at: int | None = None
    """The newest offset shown; None until the first one after a subscription without a position."""
    top: int | None = None
    """Of the last subscription: the first shown after it may not lie past the next one."""
    lost_to: int | None = None
    """After `recovered:false`: the offset up to which a gap was announced."""
    paged: bool = False
    """The client reads that gap out of the history: then nothing of it may be missing."""
    shown: set[int] = field(default_factory=set)
    """Offsets of this epoch, since the last subscription without a position."""


def check(
    histories: Iterable[Iterable[Entry]], logs: Iterable[Iterable[Entry]] = (), *, skips_allowed: bool = False
) -> Verdict:
    """Checks `histories` of clients, against `logs` of channels where they are given."""
    checker = _Checker(skips_allowed=skips_allowed)
    for log in logs:
        for entry in log:
            checker.take(entry)
    checker.logs_are_read()
    for history in histories:
        for entry in history:
            checker.take(entry)
    return checker.finish()


class _Checker:
    def __init__(self, *, skips_allowed: bool) -> None:
        self._skips_allowed = skips_allowed
        self._verdict = Verdict()
        self._entry: Entry
        self._who = ""
        self._ids: dict[tuple[str, str, int], str] = {}
        """(channel, epoch, offset) → id: the first that was heard of."""
        self._places: dict[tuple[str, str], tuple[str, int]] = {}
        """(channel, id) → (epoch, offset)."""
        self._logged: dict[str, tuple[str, dict[int, str]]] = {}
        """Channel → its epoch and its log."""
        self._cids: dict[tuple[str, str, str], int] = {}
        self._views: dict[tuple[str, str], _View] = {}
        self._in_memory: set[str] = set()
        self._clients: set[str] = set()
        self._crossings = CrossingCheck(self._violated)
        self._takes: dict[type, Callable[[Any], None]] = {
            Logged: self._take_logged, Channel: self._take_channel, Connect: self._take_connect,
            Broken: self._take_broken, Sub: self._take_sub, Pub: self._take_pub, Skip: self._take_skip,
            Ack: self._take_ack, End: self._take_end,
            Crossed: self._crossings.take_crossing, Bound: self._crossings.take_bound,
            Moved: self._crossings.take_moved, Members: self._crossings.take_members,
            Walked: self._crossings.take_walked,
        }  # fmt: skip

    def take(self, entry: Entry) -> None:
        """Judges one line after the other."""
        self._entry, line = entry, entry.line
        self._verdict.lines += 1
        if isinstance(line, str):
            self._who = entry.file
            self._violated("malformed", "", line)
            return
        self._who = line.client or entry.file
        self._takes[type(line)](line)
        if not isinstance(line, Logged):
            self._clients.add(self._who)

    def logs_are_read(self) -> None:
        """From here on histories follow."""
        self._clients.clear()

    def finish(self) -> Verdict:
        """The whole verdict."""
        verdict = self._verdict
        self._crossings.finish()
        verdict.crossings = self._crossings.crossings
        channels = {ch for _, ch in self._views} | {ch for ch, _, _ in self._cids} | self._logged.keys()
        verdict.clients = len(self._clients)
        verdict.channels = len(channels)
        verdict.channels_without_log = len(channels - self._logged.keys() - self._in_memory)
        verdict.publications = len(self._ids)
        return verdict

    # -- one kind of line each ------------------------------------------------------------------------

    def _take_logged(self, line: Logged) -> None:
        epoch, log = self._logged.setdefault(line.ch, (line.epoch, {}))
        if line.epoch != epoch:
            self._violated("epoch", line.ch, f"the log is in epoch {epoch} and in {line.epoch}")
        if line.offset != len(log) + 1:
            self._violated("log", line.ch, f"the log has offset {line.offset} where {len(log) + 1} was due")
        log[line.offset] = line.id
        self._agree(line.ch, line.epoch, line.offset, line.id)

    def _take_channel(self, line: Channel) -> None:
        if line.memory:
            self._in_memory.add(line.ch)

    def _take_connect(self, line: Connect) -> None:
        self._verdict.connects += 1
        self._verdict.connects_resumed += line.resumed

    def _take_broken(self, line: Broken) -> None:
        self._violated("broken", line.ch, line.what)

    def _take_sub(self, line: Sub) -> None:
        view = self._view(line.ch)
        self._same_epoch_as_the_log(line.ch, line.epoch)
        if line.asked is None:
            if line.recovered:
                self._violated("broken", line.ch, "recovered without having asked for a position")
            self._views[self._who, line.ch] = _View(line.epoch, None, line.offset)
            return
        if line.was_recovering is False:
            self._violated("broken", line.ch, f"asked from {line.asked}, answered was_recovering:false")
        known = view.epoch != ""
        base = view.top if view.at is None else view.at
        hidden_to = view.top if self._skips_allowed else None
        if known and line.asked not in (base, view.lost_to, hidden_to):
            what = f"asked from {line.asked} and had been shown up to {base}"
            self._violated("gap" if base is None or line.asked > base else "order", line.ch, what)
        same_epoch = not known or line.epoch == view.epoch
        self._count_resume(line, same_epoch=same_epoch)
        if not same_epoch:
            if line.recovered:
                self._violated("epoch", line.ch, f"recovered from {view.epoch} into epoch {line.epoch}")
            self._views[self._who, line.ch] = _View(line.epoch, None, line.offset)
            return
        if line.recovered and line.asked > line.offset:
            self._violated("order", line.ch, f"recovered back to {line.offset} from {line.asked}")
        view.epoch, view.at, view.top = line.epoch, line.asked, line.offset
        view.lost_to, view.paged = None if line.recovered else line.offset, False

    def _count_resume(self, line: Sub, *, same_epoch: bool) -> None:
        verdict = self._verdict
        if line.ch in self._in_memory:
            verdict.resumes_in_memory += 1
            return
        missed = line.offset - (line.asked or 0) if same_epoch else 0
        if not same_epoch:
            self._violated("epoch", line.ch, f"a durable channel changed to epoch {line.epoch}")
        if missed > RECOVERY_LIMIT:
            verdict.resumes_past_limit += 1
            return
        verdict.resumes_within_limit += 1
        verdict.resumes_recovered += line.recovered
        if not line.recovered:
            self._violated("unrecovered", line.ch, f"recovered:false at {line.asked} with {missed} missed")

    def _take_pub(self, line: Pub) -> None:
        view = self._view(line.ch)
        self._verdict.publications_seen += 1
        self._same_epoch_as_the_log(line.ch, line.epoch)
        if self._agree(line.ch, line.epoch, line.offset, line.id) and line.ch in self._logged:
            epoch, log = self._logged[line.ch]
            if epoch == line.epoch and line.offset not in log:
                self._violated("unlogged", line.ch, f"saw {line.id} at {line.offset}, which no log holds")
        if view.epoch not in ("", line.epoch):
            what = f"epoch {view.epoch} became {line.epoch} without a subscription"
            self._violated("epoch", line.ch, what)
            view.shown.clear()
            view.at = view.lost_to = view.top = None
        view.epoch = line.epoch
        self._place(line, view)

    def _place(self, line: Pub, view: _View) -> None:
        """Holds an offset against what this client was shown before it."""
        offset = line.offset
        base = view.top if view.at is None else view.at
        if offset in view.shown:
            self._violated("twice", line.ch, f"{offset} was shown before")
            return
        view.shown.add(offset)
        if line.via == "page":
            view.paged = True
            if view.lost_to is not None and base is not None and offset == base + 1:
                view.at = offset
            return
        if view.top is not None and line.via == "live" and offset <= view.top:
            self._violated("order", line.ch, f"push of {offset}, subscribed at {view.top}")
        if base is None or (view.at is None and offset <= base):
            view.at = offset
            return
        if offset <= base:
            self._violated("order", line.ch, f"{offset} after {base}")
            return
        if offset != base + 1 and not self._was_announced(view, base, offset):
            self._violated("gap", line.ch, f"{offset} after {base}")
        view.at, view.lost_to = offset, None

    def _was_announced(self, view: _View, base: int, offset: int) -> bool:
        """Whether the client was told that what lies between is not coming."""
        if view.lost_to is not None:
            return offset == view.lost_to + 1 and (not view.paged or base == view.lost_to)
        return self._skips_allowed and view.top is not None and offset <= view.top + 1

    def _take_skip(self, line: Skip) -> None:
        view = self._view(line.ch)
        self._verdict.skips += 1
        if not self._skips_allowed:
            self._violated("skip", line.ch, f"was told to skip to {line.offset}")
        base = view.at if view.at is not None else view.top
        if base is not None and line.offset <= base:
            self._violated("order", line.ch, f"was told to skip back to {line.offset} from {base}")
        view.at, view.lost_to = line.offset, None

    def _take_ack(self, line: Ack) -> None:
        durable = line.ack == "durable" and line.ch not in self._in_memory
        self._verdict.acked_durable += durable
        self._verdict.acked_other += not durable
        if durable and line.cid:
            first = self._cids.setdefault((line.ch, line.user or self._who, line.cid), line.offset)
            if first != line.offset:
                self._violated("cid", line.ch, f"cid {line.cid} is at {line.offset} and at {first}")
        if line.ch not in self._logged:
            return
        epoch, log = self._logged[line.ch]
        if not durable:
            self._verdict.relayed_but_not_stored += log.get(line.offset) != line.id
        elif log.get(self._places.get((line.ch, line.id), ("", 0))[1]) != line.id:
            self._violated("lost", line.ch, f"{line.id}, acknowledged at {line.offset}, is in no log")
        else:
            self._agree(line.ch, epoch, line.offset, line.id)

    def _take_end(self, line: End) -> None:
        self._verdict.ends += 1
        view = self._view(line.ch)
        at = view.top if view.at is None else view.at
        last = len(self._logged[line.ch][1]) if line.ch in self._logged else view.top
        if last is not None and (at is None or at < last):
            self._violated("short", line.ch, f"ended at {at}, the log at {last}")

    # -- what they share --------------------------------------------------------------------------------

    def _view(self, ch: str) -> _View:
        return self._views.setdefault((self._who, ch), _View())

    def _same_epoch_as_the_log(self, ch: str, epoch: str) -> None:
        if ch in self._logged and self._logged[ch][0] != epoch:
            self._violated("epoch", ch, f"epoch {epoch}, the log's is {self._logged[ch][0]}")

    def _agree(self, ch: str, epoch: str, offset: int, message_id: str) -> bool:
        """Whether this id stands at this offset wherever anybody saw either."""
        first_id = self._ids.setdefault((ch, epoch, offset), message_id)
        place = self._places.setdefault((ch, message_id), (epoch, offset))
        if first_id != message_id:
            self._violated("disagree", ch, f"offset {offset} is {message_id}, elsewhere {first_id}")
        elif place != (epoch, offset):
            self._violated("disagree", ch, f"{message_id} stands at {offset} and, elsewhere, at {place[1]}")
        return first_id == message_id and place == (epoch, offset)

    def _violated(self, kind: str, ch: str, what: str) -> None:
        entry = self._entry
        self._verdict.violations.append(Violation(kind, self._who, ch, entry.file, entry.number, what))


def tally(verdict: Verdict) -> str:
    """The counts and every violation, for people."""
    lines = [str(violation) for violation in verdict.violations]
    kinds = Counter(violation.kind for violation in verdict.violations)
    counts = {**asdict(verdict), "violations": dict(kinds) or 0}
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in counts.items()]
    lines.append(str(verdict))
    return "\n".join(lines)
