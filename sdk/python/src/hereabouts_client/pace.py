"""A token bucket on our side of the engine's rate: what is never too fast is never refused for it, and so
keeps its order.
"""

import math


class Pace:
    """One second's worth at once, then at the rate; no rate, no limit."""

    def __init__(self) -> None:
        self._per_s: float | None = None
        self._tokens = 0.0
        self._at_ms = 0

    def begin(self, per_s: float | None, now_ms: int) -> None:
        """A new connection, with its rate."""
        self._per_s, self._tokens, self._at_ms = per_s, per_s or 0.0, now_ms

    def take(self, now_ms: int) -> bool:
        """Takes leave to send one now; False if it has to wait."""
        if not self._per_s:
            return True
        self._tokens = min(self._per_s, self._tokens + (now_ms - self._at_ms) * self._per_s / 1000)
        self._at_ms = now_ms
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def next_ms(self) -> int:
        """When the next one may leave."""
        wait_s = (1 - self._tokens) / self._per_s if self._per_s else 0.0
        return self._at_ms + math.ceil(max(wait_s, 0) * 1000)
