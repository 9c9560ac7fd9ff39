"""Shards that hang: a process that neither ends nor runs keeps its link open, and its slots stalled. Pure.

Shards send a pulse every second. The link of one that has sent them and falls silent is cut by the Directory,
and its slots go to the others; when the process runs again it comes back like a new one (ACT-9).
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

PULSE_S = 1.0
HUNG_AFTER_S = 6.0
"""A process that shares its machine with busy others is not hung yet."""

K = TypeVar("K")


@dataclass(slots=True)
class Pulses(Generic[K]):
    """When each link was heard of last, in seconds of the event loop."""

    hung_after_s: float = HUNG_AFTER_S
    _heard_s: dict[K, float] = field(default_factory=dict)
    _looked_s: float = 0.0

    def heard(self, link: K, now_s: float) -> None:
        """A pulse came."""
        self._heard_s[link] = now_s

    def forget(self, link: K) -> None:
        """The link is gone."""
        self._heard_s.pop(link, None)

    def silent(self, now_s: float) -> list[K]:
        """The links that were silent for too long. To be asked every PULSE_S: where the last time was much
        longer ago it was this process that did not run, and what it has not read yet counts for nobody.
        """
        late = now_s - self._looked_s > 2 * PULSE_S
        self._looked_s = now_s
        if late:
            self._heard_s = dict.fromkeys(self._heard_s, now_s)
        return [link for link, heard_s in self._heard_s.items() if now_s - heard_s > self.hung_after_s]
