"""What one connection may do, and the token bucket that counts it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """Per connection; times in seconds. Tests shorten them."""

    subs: int = 256
    connections_per_user: int = 64
    """At once, on all gateways; 0 is no limit."""
    session_s: float = 120.0
    """How long a session can be taken up again after its socket was lost (RT-7)."""
    commands_in_flight: int = 1024
    pub_per_s: float = 100.0
    pub_burst: float = 200.0
    pos_per_s: float = 20.0
    pos_burst: float = 40.0
    ephemeral_per_s: float = 30.0
    ephemeral_burst: float = 60.0
    commands_per_s: float = 100.0
    commands_burst: float = 400.0
    """All that is asked of actors but publications and positions."""
    malformed: int = 10
    """So many malformed frames end the connection."""
    connect_s: float = 10.0
    ping_s: float = 25.0
    pong_s: float = 8.0


_PLENTY = 1_000_000.0
UNTHROTTLED = Limits(
    pub_per_s=_PLENTY,
    pub_burst=_PLENTY,
    pos_per_s=_PLENTY,
    pos_burst=_PLENTY,
    ephemeral_per_s=_PLENTY,
    ephemeral_burst=_PLENTY,
    commands_per_s=_PLENTY,
    commands_burst=_PLENTY,
)
"""With HEREABOUTS_RATE_LIMITS=off, for tests and benchmarks: rates so high that none is felt."""


def limits_of(connections_per_user: int, *, rate_limits: bool) -> Limits:
    """What the settings come to."""
    base = Limits() if rate_limits else UNTHROTTLED
    return replace(base, connections_per_user=connections_per_user)


class Bucket:
    """A token bucket: `rate_per_s` on average, `burst` at once."""

    __slots__ = ("_at_s", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at_s = now_s

    def take(self, now_s: float) -> int:
        """Takes one token: 0, or the milliseconds until there is one."""
        tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if tokens >= 1:
            self._tokens = tokens - 1
            return 0
        self._tokens = tokens
        return max(1, round((1 - tokens) / self._rate_per_s * 1000))
