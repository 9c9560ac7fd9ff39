"""Which slots a hot shard gives to a cold one, by what was measured (ACT-10). Pure.

Shards report every few seconds what share of a core they used and how their work was spread over their slots.
A move needs a clear difference that lasts (hysteresis), takes at most half of it, and is followed by a pause
in which its effect is measured: so nothing goes to and fro.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

REPORT_S = 5.0
HOT_CPU = 0.5
"""A shard below this share of a core is not relieved, whatever the others do."""

DIFFERENCE_CPU = 0.25
LASTING = 3
"""Reports in a row that must show the difference."""

PAUSE_S = 20.0
SLOTS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Report:
    """What a shard did since its last one: share of a core, and per slot how many messages were sampled."""

    cpu: float
    slots: dict[int, int]
    mailbox: int = 0
    """Messages that wait: a shard whose mailboxes fill is as hot as can be."""

    @property
    def heat(self) -> float:
        """Its load in cores."""
        return max(self.cpu, 1.0 if self.mailbox > MAILBOX_HOT else 0.0)


MAILBOX_HOT = 1_000


@dataclass(slots=True)
class Relief:
    """What has been reported, and for how long one shard has been much hotter than another."""

    reports: dict[int, Report] = field(default_factory=dict)
    _pair: tuple[int, int] = (-1, -1)
    _lasted: int = 0
    _not_before_s: float = 0.0

    def reported(
        self, shard: int, report: Report, owners: Sequence[int], takers: Collection[int], now_s: float
    ) -> dict[int, int]:
        """Takes a report; returns slot → new owner for what should move now, mostly nothing."""
        self.reports[shard] = report
        known = {s: r for s, r in self.reports.items() if s in takers}
        if len(known) < 2 or now_s < self._not_before_s:
            return {}
        hot = max(known, key=lambda s: (known[s].heat, -s))
        cold = min(known, key=lambda s: (known[s].heat, s))
        difference = known[hot].heat - known[cold].heat
        if known[hot].heat < HOT_CPU or difference < DIFFERENCE_CPU:
            self._lasted = 0
            return {}
        if (hot, cold) != self._pair:
            self._pair, self._lasted = (hot, cold), 0
        if shard == hot:
            self._lasted += 1
        if self._lasted < LASTING:
            return {}
        chosen = relieving(known[hot], [s for s, owner in enumerate(owners) if owner == hot], difference / 2)
        self._lasted = 0
        self._not_before_s = now_s + PAUSE_S
        return dict.fromkeys(chosen, cold)

    def left(self, shard: int) -> None:
        """It is not there any more."""
        self.reports.pop(shard, None)
        self._lasted = 0


def relieving(report: Report, slots: Collection[int], wanted_cpu: float) -> list[int]:
    """The slots, largest first, whose load together comes near to `wanted_cpu` and not above it. A single
    slot with more than that is left where it is: moving it would only move the problem.
    """
    total = sum(report.slots.get(slot, 0) for slot in slots)
    if not total:
        return []
    chosen: list[int] = []
    left_cpu = wanted_cpu
    for slot in sorted(slots, key=lambda s: (-report.slots.get(s, 0), s)):
        cpu = report.heat * report.slots.get(slot, 0) / total
        if 0 < cpu <= left_cpu and len(chosen) < SLOTS_AT_ONCE:
            chosen.append(slot)
            left_cpu -= cpu
    return chosen
