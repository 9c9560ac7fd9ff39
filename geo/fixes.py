"""Fixes: what a device reports about its position, and which of them may move a person (GEO-1, 2, 3)."""

import enum
import math

import msgspec

from geo.coordinates import CoordinatesError, normalise
from geo.distance import distance_m

ACCURACY_MAX_M = 5_000.0
PAST_MAX_MS = 24 * 3_600_000
FUTURE_MAX_MS = 30_000
SPEED_MAX_MPS = 70.0
# Two fixes a few milliseconds apart differ by their noise, not by a speed.
SPEED_OVER_AT_LEAST_MS = 1_000


class Fix(msgspec.Struct, frozen=True):
    """One report of a device: WGS84 degrees, 68 % accuracy radius, device time, the device's own number."""

    lat: float
    lon: float
    acc_m: float
    t_ms: int
    seq: int
    speed_mps: float | None = None
    heading_deg: float | None = None


class Verdict(enum.StrEnum):
    """What becomes of a fix."""

    LIVE = "live"  # it moves the person, and goes to history
    DUPLICATE = "duplicate"  # this seq was taken before: answer ok again, do nothing
    HISTORY = "history"  # too late to move anyone: history only
    HELD = "held"  # an implausible jump: kept aside until the next fix agrees or not
    REFUSED = "refused"  # malformed: nothing is kept


class Reason(enum.StrEnum):
    """Why a fix is not live; rejections are counted by it."""

    COORDINATES = "coordinates"
    ACCURACY = "accuracy"
    STALE = "stale"
    JUMP = "jump"
    REPEATED = "repeated"


class Admission(msgspec.Struct, frozen=True):
    """The verdict on a fix and the state to carry to the next one.

    `accepted` are the fixes that now count, oldest first: none, this one, or the held one and this one.
    `last` and `held` replace the caller's. `ok` is what the sender is told; otherwise the answer is 107 for
    REFUSED and 124 for HISTORY and HELD.
    """

    verdict: Verdict
    reason: Reason | None
    fix: Fix
    accepted: tuple[Fix, ...]
    last: Fix | None
    held: Fix | None

    @property
    def ok(self) -> bool:
        return self.verdict in (Verdict.LIVE, Verdict.DUPLICATE)


def admit(fix: Fix, last: Fix | None, held: Fix | None, now_ms: int) -> Admission:
    """Judge a fix against the last accepted one, the one held as a jump (if any) and the server's clock.

    Repeats are recognised by the seq of `last` and `held`; an older repeat is stale and its history row
    exists already, so writing history must be idempotent on (user, seq).
    """
    if not (math.isfinite(fix.acc_m) and 0.0 < fix.acc_m <= ACCURACY_MAX_M):
        return Admission(Verdict.REFUSED, Reason.ACCURACY, fix, (), last, held)
    try:
        fix = _tidied(fix, now_ms)
    except CoordinatesError:
        return Admission(Verdict.REFUSED, Reason.COORDINATES, fix, (), last, held)
    if fix.seq in {known.seq for known in (last, held) if known is not None}:
        return Admission(Verdict.DUPLICATE, Reason.REPEATED, fix, (), last, held)
    if last is None:
        return Admission(Verdict.LIVE, None, fix, (fix,), fix, None)
    if fix.t_ms <= last.t_ms:
        return Admission(Verdict.HISTORY, Reason.STALE, fix, (), last, held)
    return _follow(fix, last, held)


def _follow(fix: Fix, last: Fix, held: Fix | None) -> Admission:
    """Judge a fix that is newer than the last one by the speed that it implies."""
    if _agree(last, fix):
        # The held fix was a glitch, unless it is newer still: then it awaits its next fix.
        still_held = held if held is not None and held.t_ms > fix.t_ms else None
        return Admission(Verdict.LIVE, None, fix, (fix,), fix, still_held)
    if held is not None and fix.t_ms <= held.t_ms:
        return Admission(Verdict.HELD, Reason.JUMP, fix, (), last, held)
    if held is not None and _agree(held, fix):
        return Admission(Verdict.LIVE, None, fix, (held, fix), fix, None)
    return Admission(Verdict.HELD, Reason.JUMP, fix, (), last, fix)


def _tidied(fix: Fix, now_ms: int) -> Fix:
    """Normalise the longitude, clamp the time, drop a speed or heading that devices use to say "unknown"."""
    position = normalise(fix.lat, fix.lon)
    speed_mps, heading_deg = fix.speed_mps, fix.heading_deg
    if speed_mps is not None and not (math.isfinite(speed_mps) and speed_mps >= 0.0):
        speed_mps = None
    if heading_deg is not None:
        known = math.isfinite(heading_deg) and heading_deg >= 0.0
        heading_deg = heading_deg % 360.0 if known else None
    return Fix(
        lat=position.lat,
        lon=position.lon,
        acc_m=fix.acc_m,
        t_ms=min(max(fix.t_ms, now_ms - PAST_MAX_MS), now_ms + FUTURE_MAX_MS),
        seq=fix.seq,
        speed_mps=speed_mps,
        heading_deg=heading_deg,
    )


def _agree(earlier: Fix, later: Fix) -> bool:
    """Whether one device could have been at both, at no more than 70 m/s."""
    seconds = max(later.t_ms - earlier.t_ms, SPEED_OVER_AT_LEAST_MS) / 1_000
    return distance_m(earlier.lat, earlier.lon, later.lat, later.lon) <= SPEED_MAX_MPS * seconds
