"""Viewers who can't be where they say, and those who look around too often (GEO-23).

What others show is snapped before anything is computed, so no number of looks finds a position. But whoever
puts themselves wherever they like could watch a whole city; so for an hour they see it as one cell.
"""

from dataclasses import dataclass, field

HOUR_MS = 3_600_000
HELD = 1
"""What a fix weighs that was held as a jump: devices have such glitches."""

TELEPORT = 3
"""What it weighs when the next fix agrees with a held one: a flight does that once or twice."""

FORGOTTEN = HELD + TELEPORT
"""What it weighs when somebody has their place forgotten: the next may be anywhere, as after a jump."""

LIMIT = 10
"""So much within an hour is too much: the third place that nobody could have gone to, or ten glitches."""


@dataclass(slots=True)
class Probing:
    """What speaks against one person."""

    is_limited: bool = False
    """They see others at city precision."""
    until_ms: int = 0
    unsaved: bool = False
    """`until_ms` is news."""
    _strange: list[tuple[int, int]] = field(default_factory=list)
    """When something implausible came within the last hour, and what it weighs."""
    _free_at_ms: float = 0.0

    def note(self, weight: int, now_ms: int) -> None:
        """Something implausible came."""
        self._strange = [each for each in self._strange if now_ms - each[0] < HOUR_MS][-LIMIT:]
        self._strange.append((now_ms, weight))
        if sum(each for _, each in self._strange) >= LIMIT:
            self.restore(now_ms + HOUR_MS, now_ms)
            self.unsaved = True

    def restore(self, until_ms: int, now_ms: int) -> None:
        """They are limited until then."""
        self.until_ms, self.is_limited = until_ms, until_ms > now_ms

    def expire(self, now_ms: int) -> None:
        """Once a second: the hour may be over."""
        if self.is_limited and now_ms >= self.until_ms:
            self.is_limited = False

    def look(self, now_ms: int, per_s: float, burst: int) -> int:
        """Counts a look around, by the generic cell rate algorithm (ITU-T I.371): 0, or the milliseconds
        until there may be one.
        """
        interval_ms = 1_000 / per_s
        free_at_ms = max(self._free_at_ms, now_ms)
        over_ms = free_at_ms + interval_ms - now_ms - interval_ms * burst
        if over_ms > 0:
            return max(1, round(over_ms))
        self._free_at_ms = free_at_ms + interval_ms
        return 0
