"""Crossings of one person and one fence (GEO-15, 16, 18): a state and a pure step.

One fix proves nothing: a glitch reports a tight accuracy too. `confirm_fixes` consecutive fixes must agree,
which takes the false transitions of a stationary person from 44.6 an hour to 0.68.
"""

import enum
import math
from collections.abc import Collection, Mapping

import msgspec

from geo.fences import FenceIndex
from geo.fixes import Fix
from geo.shapes import Shape

CONFIRM_FIXES = 2
DWELL_S = 300
GAP_S = 900
BUFFER_MIN_M = 20.0
BUFFER_SHARE = 0.1
# A 68 % radius in standard deviations of one axis: sqrt(-2 ln 0.32), the Rayleigh quantile.
_SIGMAS_IN_ACCURACY = 1.5096


class Event(enum.StrEnum):
    """What a crossing is; `dwell` is the place kept for a stay of `dwell_s`."""

    INSIDE = "inside"  # the person's first fix ever lies inside
    ENTER = "enter"
    DWELL = "dwell"
    EXIT = "exit"


class Rules(msgspec.Struct, frozen=True):
    """How a fence judges; an accuracy radius above `fence_radius_m`, the fence's size, proves no entry."""

    fence_radius_m: float
    buffer_m: float
    confirm_fixes: int = CONFIRM_FIXES
    dwell_s: int = DWELL_S
    gap_s: int = GAP_S


class Observation(msgspec.Struct, frozen=True):
    """A fix as the fence sees it: `outside_m` is 0 inside, `depth_m` is 0 outside."""

    t_ms: int
    acc_m: float
    inside: bool
    outside_m: float
    depth_m: float


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a person stands towards a fence. JSON by msgspec; a few dozen bytes.

    `entered_at_ms` is None outside. `agreeing` counts the latest consecutive fixes for the other side and
    `least_sure` is the weakest of them. `seen` is False until a fix has told which side the person is on.
    """

    seen: bool = False
    entered_at_ms: int | None = None
    last_ms: int | None = None
    agreeing: int = 0
    least_sure: float = 1.0

    @property
    def is_inside(self) -> bool:
        return self.entered_at_ms is not None

    @property
    def is_idle(self) -> bool:
        """Outside with nothing pending: as good as OUTSIDE, so it need not be kept."""
        return self.seen and self.entered_at_ms is None and self.agreeing == 0


NEVER_SEEN = Standing()
OUTSIDE = Standing(seen=True)


class Crossing(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event: `at_ms` is the time of the fix that decided it, so times rise with the events of a person.

    `entered_at_ms` is the `at_ms` of the visit's first event; `dwell_s` (exit only) the seconds since;
    `confidence` in [0, 1] that the person was on that side at the least certain of the deciding fixes;
    `reason` says why a visit was closed other than by leaving.
    """

    event: Event
    at_ms: int
    entered_at_ms: int
    confidence: float
    dwell_s: float | None = None
    reason: str | None = None


def rules_of(shape: Shape, confirm_fixes: int = CONFIRM_FIXES, dwell_s: int = DWELL_S) -> Rules:
    """Return the rules of a fence: the exit buffer is a tenth of its radius, and 20 m at least."""
    return Rules(
        fence_radius_m=shape.radius_m,
        buffer_m=max(BUFFER_SHARE * shape.radius_m, BUFFER_MIN_M),
        confirm_fixes=confirm_fixes,
        dwell_s=dwell_s,
    )


def observe(shape: Shape, fix: Fix, *, inside: bool) -> Observation:
    """Return what a fence sees of an accepted fix; `inside` as `FenceIndex.hits` or `shape.covers` told."""
    boundary_m = shape.boundary_distance_m(fix.lat, fix.lon)
    return Observation(
        t_ms=fix.t_ms,
        acc_m=fix.acc_m,
        inside=inside,
        outside_m=0.0 if inside else boundary_m,
        depth_m=boundary_m if inside else 0.0,
    )


def step(standing: Standing, seen: Observation, rules: Rules) -> tuple[Standing, Crossing | None]:
    """Return the standing after an observation, and the crossing that it completes, if any.

    Start a person who had no accepted fix before with NEVER_SEEN, anyone else with OUTSIDE. An observation
    that is not newer than the last changes nothing. A fix whose accuracy radius exceeds the fence tells
    nothing about being inside; one within the buffer (or its accuracy) of the edge nothing about having left.
    """
    if standing.last_ms is not None and seen.t_ms <= standing.last_ms:
        return standing, None
    return _inside(standing, seen, rules) if standing.is_inside else _outside(standing, seen, rules)


def follow(
    standings: Mapping[str, Standing],
    fix: Fix,
    hits: Collection[str],
    index: FenceIndex,
    rules: Mapping[str, Rules],
    *,
    first_ever: bool,
) -> tuple[dict[str, Standing], list[tuple[str, Crossing]]]:
    """Return one person's standings after an accepted fix, and the crossings by fence, exits first.

    `hits` are the ids of the fences of `index` that cover the fix; `standings` holds every fence that the
    person is not idle towards, and so does the answer; `first_ever`: no fix of theirs was accepted before.
    A fence that is no longer in the index keeps its standing until `close` ends it.
    """
    after: dict[str, Standing] = {}
    crossings: list[tuple[str, Crossing]] = []
    unknown = NEVER_SEEN if first_ever else OUTSIDE
    for fence_id in sorted({*standings, *hits}):
        standing = standings.get(fence_id, unknown)
        shape = index.shape_of(fence_id)
        if shape is not None:
            seen = observe(shape, fix, inside=fence_id in hits)
            standing, crossing = step(standing, seen, rules[fence_id])
            if crossing is not None:
                crossings.append((fence_id, crossing))
        if not standing.is_idle:
            after[fence_id] = standing
    crossings.sort(key=lambda pair: pair[1].event is not Event.EXIT)
    return after, crossings


def close(standing: Standing, at_ms: int, reason: str) -> tuple[Standing, Crossing | None]:
    """End a visit for another reason than leaving (GEO-17): one exit if the person was inside, else none."""
    if standing.entered_at_ms is None:
        return OUTSIDE, None
    return OUTSIDE, _exit(standing.entered_at_ms, at_ms, confidence=1.0, reason=reason)


def _outside(standing: Standing, seen: Observation, rules: Rules) -> tuple[Standing, Crossing | None]:
    if not seen.inside or seen.acc_m > rules.fence_radius_m:
        # A vague fix inside leaves open which side someone never seen before is on.
        return Standing(seen=standing.seen or not seen.inside, last_ms=seen.t_ms), None
    if not standing.seen:
        return _entered(Event.INSIDE, seen, _sureness(seen))
    agreeing, least_sure = standing.agreeing + 1, min(standing.least_sure, _sureness(seen))
    if agreeing >= rules.confirm_fixes:
        return _entered(Event.ENTER, seen, least_sure)
    return Standing(seen=True, last_ms=seen.t_ms, agreeing=agreeing, least_sure=least_sure), None


def _inside(standing: Standing, seen: Observation, rules: Rules) -> tuple[Standing, Crossing | None]:
    assert standing.entered_at_ms is not None
    if seen.inside or seen.outside_m - seen.acc_m <= rules.buffer_m:
        return Standing(seen=True, entered_at_ms=standing.entered_at_ms, last_ms=seen.t_ms), None
    agreeing, least_sure = standing.agreeing + 1, min(standing.least_sure, _sureness(seen))
    if agreeing < rules.confirm_fixes:
        return Standing(
            seen=True,
            entered_at_ms=standing.entered_at_ms,
            last_ms=seen.t_ms,
            agreeing=agreeing,
            least_sure=least_sure,
        ), None
    crossing = _exit(standing.entered_at_ms, seen.t_ms, confidence=round(least_sure, 3), reason=None)
    return Standing(seen=True, last_ms=seen.t_ms), crossing


def _entered(event: Event, seen: Observation, confidence: float) -> tuple[Standing, Crossing]:
    return (
        Standing(seen=True, entered_at_ms=seen.t_ms, last_ms=seen.t_ms),
        Crossing(event, seen.t_ms, seen.t_ms, round(confidence, 3)),
    )


def _exit(entered_at_ms: int, at_ms: int, *, confidence: float, reason: str | None) -> Crossing:
    at_ms = max(at_ms, entered_at_ms)
    dwell_s = (at_ms - entered_at_ms) / 1_000
    return Crossing(Event.EXIT, at_ms, entered_at_ms, confidence, dwell_s=dwell_s, reason=reason)


def _sureness(seen: Observation) -> float:
    """Return the chance that the person is on the side that the fix is on: the edge taken for a straight
    line, the error for a normal one whose 68 % radius is the accuracy.
    """
    margin_m = seen.depth_m if seen.inside else seen.outside_m
    sigma_m = seen.acc_m / _SIGMAS_IN_ACCURACY
    return 0.5 * (1.0 + math.erf(margin_m / sigma_m / math.sqrt(2.0)))
