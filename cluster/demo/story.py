"""Tells what happens, as it happens: one compact line an event, and a summary at the end."""

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

NEAR_AGAIN_S = 3.0
"""Both people of a pair hear of their meeting: told once."""

_STYLES = {"dim": "2", "bold": "1", "green": "32", "yellow": "33", "cyan": "36", "magenta": "35"}
_MARKS = {
    "appears": ("●", "green"),
    "goes": ("○", "dim"),
    "near": ("→", "green"),
    "parted": ("←", "dim"),
    "enters": ("▣", "yellow"),
    "leaves": ("▢", "dim"),
    "joins": ("+", "cyan"),
    "says": ("“", "magenta"),
    "note": ("·", "dim"),
}


@dataclass(slots=True)
class Story:
    """The log of one replay. `clock` gives monotonic seconds."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    clock: Callable[[], float] = time.monotonic
    counts: Counter[str] = field(default_factory=Counter)
    crossing_ms: list[float] = field(default_factory=list)
    message_ms: list[float] = field(default_factory=list)
    _begin: float = 0.0
    _pairs: dict[frozenset[str], tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begin = self.clock()

    def tell(self, kind: str, who: str, what: str = "") -> None:
        """Prints one line: the time since the start, a mark, who, what."""
        self.counts[kind] += 1
        mark, colour = _MARKS[kind]
        passed = self.clock() - self._begin
        stamp = self._styled(f"{int(passed // 60):2d}:{passed % 60:04.1f}", "dim")
        print(
            f"{stamp}  {self._styled(mark, colour)} {self._styled(f'{who:<6}', 'bold')} {what}",
            file=self.out,
            flush=True,
        )

    def note(self, text: str) -> None:
        print(self._styled(text, "dim"), file=self.out, flush=True)

    def near(self, viewer: str, other: str, band: str | None) -> None:
        """`viewer` sees `other` in a band now, or no longer (None). Each pair is told once for the two."""
        pair = frozenset((viewer, other))
        before, at = self._pairs.get(pair, ("", float("-inf")))
        now = band or ""
        if now == before or (self.clock() - at < NEAR_AGAIN_S and bool(now) == bool(before)):
            return
        self._pairs[pair] = (now, self.clock())
        if not now:
            self.tell("parted", viewer, f"and {other} have parted")
        elif not before:
            self.tell("near", viewer, f"and {other} are near, {_within(now)}")
        else:
            closer = _km(now) < _km(before)
            self.tell(
                "near" if closer else "parted",
                viewer,
                f"and {other} are {'closer' if closer else 'farther apart'}, {_within(now)}",
            )

    def forget_pairs(self) -> None:
        """A new round of people."""
        self._pairs.clear()

    def summary(self, fixes: int, people: int, reconnects: int) -> None:
        """Prints the counts and the medians of what could be measured from outside."""
        counts = self.counts
        print(
            f"\n{people} people sent {fixes} fixes in {self.clock() - self._begin:.0f} s: "
            f"{counts['near']} times near or nearer, {counts['enters']} came into a place, "
            f"{counts['leaves']} left one, {counts['joins']} joined its room, {counts['says']} messages, "
            f"{reconnects} reconnects.",
            file=self.out,
        )
        for name, values in (("fix → crossing", self.crossing_ms), ("said → heard", self.message_ms)):
            if values:
                print(
                    f"{name}: p50 {statistics.median(values):.0f} ms of {len(values)} "
                    f"(one machine, replay and engine together)",
                    file=self.out,
                )
        self.out.flush()

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.out.isatty() else text


def _km(band: str) -> float:
    digits = "".join(character for character in str(band) if character.isdigit() or character == ".")
    return float(digits) if digits else float("inf")


def _within(band: str) -> str:
    return f"within {_km(band):g} km"
