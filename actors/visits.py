"""What a person's visits of fences need beside their standings (geo/crossings.py): clocks, and rooms. Pure.

The person's time is that of their fixes, and goes on at the pace of ours until the next one: a device whose
clock is behind, or that sends what it recorded earlier, is judged as if it had been live.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from geo.crossings import Rules, Standing, due_ms, elapse, in_order
from geo.crossings import Told as Told  # noqa: PLC0414 - its users here say what they tell

if TYPE_CHECKING:
    from storage.streams import UserRecord

NEVER_MS = 2**53
REMIND_AFTER_MS = 3_000
"""So much later than its moment a reminder comes: a living actor has decided by then, and moved it on."""


@dataclass(slots=True)
class Visiting:
    """Of one person. Times are the person's unless they say otherwise."""

    last_ms: int = 0
    """Of the newest fix that was followed."""
    arrived_ms: int = 0
    """When that one came, by our clock."""
    settled: tuple[str, ...] = ()
    """The fences that the person is inside of, sorted, while nothing is pending towards any fence: a fix in
    just these changes nothing.
    """
    gap_ms: int = 0
    """... unless it comes later after the last one than this,"""
    dwells_at_ms: int = NEVER_MS
    """or from this moment on."""
    wakes_at_ms: int = NEVER_MS
    """When time alone may change something, by our clock."""
    is_particular: bool = False
    """Blocks stand, or the person hides: a fence that is for everyone may not be for them."""
    rooms: dict[str, str] = field(default_factory=dict)
    """Fence of an open visit → the room that it may have joined."""

    def now_ms(self, now_ms: int) -> int:
        """The person's time at a time of ours."""
        return self.last_ms + max(0, now_ms - self.arrived_ms)

    def moment_ms(self, at_ms: int) -> int:
        """Our time at a time of the person's."""
        return self.arrived_ms + at_ms - self.last_ms


def restored(record: "UserRecord", last_ms: int) -> tuple[dict[str, Standing], Visiting]:
    """The standings and the rest, from the stored crossings alone; `last_ms` of the newest fix known, or 0.

    What was decided stands: fixes that come again from before a stored crossing change nothing of it.
    """
    standings = {
        fence: Standing(
            seen=True,
            entered_at_ms=visit.entered_at_ms,
            last_ms=max(visit.entered_at_ms, visit.dwelled_at_ms or 0, last_ms),
            dwelled_at_ms=visit.dwelled_at_ms,
            sure=visit.confidence,
        )
        for fence, visit in record.open_visits.items()
    }
    standings |= {
        fence: Standing(seen=True, last_ms=at_ms)
        for fence, at_ms in record.left_at_ms.items()
        if at_ms > last_ms and fence not in standings
    }
    newest_ms = max((standing.last_ms or 0 for standing in standings.values()), default=0)
    visiting = Visiting(max(newest_ms, last_ms), max(newest_ms, last_ms))
    visiting.rooms = {fence: visit.room for fence, visit in record.open_visits.items() if visit.room}
    return standings, visiting


def synced(standings: dict[str, Standing], visiting: Visiting) -> dict[str, Standing]:
    """The standings with the fixes that changed nothing but the time of the last one."""
    last_ms = visiting.last_ms
    if not visiting.settled:
        return standings
    return {
        fence: msgspec.structs.replace(standing, last_ms=last_ms)
        if standing.is_settled and standing.last_ms is not None and standing.last_ms < last_ms
        else standing
        for fence, standing in standings.items()
    }


def passed(
    standings: dict[str, Standing], visiting: Visiting, rules: Mapping[str, Rules], now_ms: int
) -> tuple[dict[str, Standing], list[Told]]:
    """What time alone has done by now (our clock)."""
    at_ms, told = visiting.now_ms(now_ms), list[Told]()
    after = synced(standings, visiting)
    for fence, standing in list(after.items()):
        if fence in rules:
            after[fence], crossings = elapse(standing, at_ms, rules[fence])
            told += [(fence, crossing) for crossing in crossings]
    return after, in_order(told)


def noted(standings: Mapping[str, Standing], visiting: Visiting, rules: Mapping[str, Rules]) -> None:
    """The standings are new: works out which fixes need no look, and when time alone changes something."""
    inside = sorted(fence for fence, standing in standings.items() if standing.is_settled)
    is_settled = len(inside) == len(standings) and all(fence in rules for fence in inside)
    visiting.settled = tuple(inside) if is_settled else ()
    judged = [(standing, rules[fence]) for fence, standing in standings.items() if fence in rules]
    dues_ms = [due for standing, rule in judged if (due := due_ms(standing, rule)) is not None]
    visiting.gap_ms = min((round(min(rule.gap_s, rule.ttl_s) * 1_000) for _, rule in judged), default=0)
    first_ms = min(dues_ms, default=NEVER_MS)
    has_dwell = any(standing.dwelled_at_ms is None for standing, _ in judged)
    visiting.dwells_at_ms = first_ms if has_dwell else NEVER_MS
    visiting.wakes_at_ms = visiting.moment_ms(first_ms) if dues_ms else NEVER_MS
