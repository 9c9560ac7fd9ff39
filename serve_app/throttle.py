"""Rate limits of HTTP: the generic cell rate algorithm (ITU-T I.371), in this process (AUTH-10).

A key is admitted `burst` times at once and `per_s` times a second on average; one number is kept for each:
the time at which its bucket is empty again.
"""

from dataclasses import dataclass

KEYS_LIMIT = 100_000
"""Keys remembered; past it the ones longest unseen are forgotten, which admits them afresh."""


@dataclass(frozen=True, slots=True)
class Policy:
    """So many at once, so many a second on average."""

    name: str
    per_s: float
    burst: int


SIGN_IN = Policy("sign-in", 20.0, 200)
"""By address. A password costs 25 ms, so this is also what one address may make us compute."""

SIGN_IN_PAIR = Policy("sign-in-pair", 0.2, 20)
"""By address and handle: guesses of one password."""

READ = Policy("read", 100.0, 500)
WRITE = Policy("write", 50.0, 200)
POSITIONS = Policy("positions", 20.0, 300)
OPEN = Policy("open", 500.0, 1_000)
"""What needs no account, by address; behind one proxy that may be everybody."""

REFUSED = Policy("refused", 20.0, 200)
"""Requests with a token that is none, by address."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_s` is 0 when admitted."""

    admitted: bool
    remaining: int
    reset_s: float
    retry_after_s: float


class Throttle:
    """Counts by policy and key. `off` admits everything (benchmarks; refused in production mode)."""

    def __init__(self, *, off: bool = False) -> None:
        self._off = off
        self._empty_at_s: dict[tuple[str, str], float] = {}

    def take(self, policy: Policy, key: str, now_s: float) -> Verdict:
        """Counts one request of `key`."""
        if self._off:
            return Verdict(admitted=True, remaining=policy.burst, reset_s=0.0, retry_after_s=0.0)
        interval_s = 1 / policy.per_s
        tolerance_s = interval_s * policy.burst
        identity = (policy.name, key)
        empty_at_s = max(self._empty_at_s.pop(identity, now_s), now_s) + interval_s
        over_s = empty_at_s - now_s - tolerance_s
        if over_s > 1e-9:
            self._empty_at_s[identity] = empty_at_s - interval_s
            reset_s = empty_at_s - interval_s - now_s
            return Verdict(admitted=False, remaining=0, reset_s=reset_s, retry_after_s=over_s)
        self._empty_at_s[identity] = empty_at_s  # put in last: the dict is in order of last use
        if len(self._empty_at_s) > KEYS_LIMIT:
            del self._empty_at_s[next(iter(self._empty_at_s))]
        remaining = int((tolerance_s - (empty_at_s - now_s)) / interval_s + 1e-6)
        return Verdict(admitted=True, remaining=remaining, reset_s=empty_at_s - now_s, retry_after_s=0.0)
