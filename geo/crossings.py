"""Crossings of one person and one fence (GEO-15, 16, 18): a state and a pure step.

One fix proves nothing: a glitch reports a tight accuracy too. `confirm_fixes` consecutive fixes must agree,
which takes the false transitions of a stationary person from 44.6 an hour to 0.68.

Time is the person's: that of their fixes, and between them whatever the caller says has passed. What time
alone decides (a dwell, the end of a position) has the moment at which it became true as its time, whether a
timer noticed it or a later fix: so a replay of the same fixes gives the same events.
"""

import enum
import math
from collections.abc import Collection, Iterable, Mapping

import msgspec

from geo.fences import FenceIndex
from geo.fixes import Fix
from geo.shapes import Shape

CONFIRM_FIXES = 2
DWELL_S = 300
GAP_S = 900
TTL_S = 900.0
BUFFER_MIN_M = 20.0
BUFFER_SHARE = 0.1
TTL = "ttl"
"""The reason of an exit because no fix came for `ttl_s`."""

# A 68 % radius in standard deviations of one axis: sqrt(-2 ln 0.32), the Rayleigh quantile.
_SIGMAS_IN_ACCURACY = 1.5096


class Event(enum.StrEnum):
    """What a crossing is. A visit is `inside` or `enter`, at most one `dwell`, `exit`."""

    INSIDE = "inside"  # the person's first fix ever lies inside
    ENTER = "enter"
    DWELL = "dwell"  # a stay of `dwell_s` in which no two fixes are more than `gap_s` apart
    EXIT = "exit"


class Rules(msgspec.Struct, frozen=True):
    """How a fence judges; an accuracy radius above `fence_radius_m`, the fence's size, proves no entry."""

    fence_radius_m: float
    buffer_m: float
    confirm_fixes: int = CONFIRM_FIXES
    dwell_s: int = DWELL_S
    gap_s: int = GAP_S
    ttl_s: float = TTL_S


class Observation(msgspec.Struct, frozen=True):
    """A fix as the fence sees it: `outside_m` is 0 inside, `depth_m` is 0 outside."""

    t_ms: int
    acc_m: float
    inside: bool
    outside_m: float
    depth_m: float


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a person stands towards a fence. JSON by msgspec; a few dozen bytes.

    `entered_at_ms` is None outside. `last_ms` is the time of the newest fix, or of the exit that closed the
    visit otherwise: nothing older counts. `agreeing` counts the latest consecutive fixes for the other side
    and `least_sure` is the weakest of them. `seen` is False until a fix has told which side the person is on.
    Inside, `stay_since_ms` is when the stay began that is long enough to dwell (None: on entering),
    `dwelled_at_ms` when it was, and `sure` the confidence of the entry.
    """

    seen: bool = False
    entered_at_ms: int | None = None
    last_ms: int | None = None
    agreeing: int = 0
    least_sure: float = 1.0
    stay_since_ms: int | None = None
    dwelled_at_ms: int | None = None
    sure: float = 1.0

    @property
    def is_inside(self) -> bool:
        return self.entered_at_ms is not None

    @property
    def is_idle(self) -> bool:
        """Outside with nothing pending: as good as OUTSIDE, so it need not be kept."""
        return self.seen and self.entered_at_ms is None and self.agreeing == 0

    @property
    def is_settled(self) -> bool:
        """Inside with nothing pending: another fix inside changes nothing but `last_ms`."""
        return self.entered_at_ms is not None and self.agreeing == 0


_RANKS = {Event.DWELL: 0, Event.EXIT: 1, Event.INSIDE: 2, Event.ENTER: 2}

NEVER_SEEN = Standing()
OUTSIDE = Standing(seen=True)

Told = tuple[str, "Crossing"]
"""A fence and what happened there."""


class Crossing(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event. `at_ms` is the time of the fix that decided it, or the moment at which time alone did.

    `entered_at_ms` is the `at_ms` of the visit's first event; `dwell_s` (dwell and exit) the seconds since;
    `confidence` in [0, 1] that the person was on that side at the least certain of the deciding fixes;
    `reason` says why a visit was closed other than by leaving.
    """

    event: Event
    at_ms: int
    entered_at_ms: int
    confidence: float
    dwell_s: float | None = None
    reason: str | None = None


def rules_of(
    shape: Shape,
    confirm_fixes: int = CONFIRM_FIXES,
    dwell_s: int = DWELL_S,
    gap_s: int = GAP_S,
    ttl_s: float = TTL_S,
) -> Rules:
    """Return the rules of a fence: the exit buffer is a tenth of its radius, and 20 m at least."""
    return Rules(
        fence_radius_m=shape.radius_m,
        buffer_m=max(BUFFER_SHARE * shape.radius_m, BUFFER_MIN_M),
        confirm_fixes=confirm_fixes,
        dwell_s=dwell_s,
        gap_s=gap_s,
        ttl_s=ttl_s,
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


def step(standing: Standing, seen: Observation, rules: Rules) -> tuple[Standing, tuple[Crossing, ...]]:
    """Return the standing after an observation, and the crossings that it completes, in order of time.

    Start a person who had no accepted fix before with NEVER_SEEN, anyone else with OUTSIDE. An observation
    that is not newer than what was decided changes nothing. A fix whose accuracy radius exceeds the fence
    tells nothing about being inside; one within the buffer (or its accuracy) of the edge nothing about
    having left.
    """
    if not _is_news(standing, seen.t_ms):
        return standing, ()
    standing, before = elapse(standing, seen.t_ms, rules)
    standing, own = (_inside if standing.is_inside else _outside)(standing, seen, rules)
    return standing, (*before, own) if own is not None else before


def elapse(standing: Standing, now_ms: int, rules: Rules) -> tuple[Standing, tuple[Crossing, ...]]:
    """Return what time alone makes of a standing up to `now_ms` of the person's time: a dwell, an exit."""
    if standing.entered_at_ms is None or standing.last_ms is None:
        return standing, ()
    told: list[Crossing] = []
    dwell_ms = _dwell_due_ms(standing, rules)
    if dwell_ms is not None and dwell_ms <= now_ms:
        standing, crossing = _dwelled(standing, dwell_ms)
        told.append(crossing)
    assert standing.last_ms is not None
    silent_ms = standing.last_ms + round(rules.ttl_s * 1_000)
    if now_ms > silent_ms:
        standing, closed = close(standing, silent_ms, TTL)
        told += [closed] if closed is not None else []
    return standing, tuple(told)


def due_ms(standing: Standing, rules: Rules) -> int | None:
    """Return from when of the person's time on `elapse` changes something, if no fix comes."""
    if standing.entered_at_ms is None or standing.last_ms is None:
        return None
    silent_ms = standing.last_ms + round(rules.ttl_s * 1_000) + 1
    dwell_ms = _dwell_due_ms(standing, rules)
    return silent_ms if dwell_ms is None else min(dwell_ms, silent_ms)


def follow(
    standings: Mapping[str, Standing],
    fix: Fix,
    hits: Collection[str],
    index: FenceIndex,
    rules: Mapping[str, Rules],
    *,
    first_ever: bool,
) -> tuple[dict[str, Standing], list[Told]]:
    """Return one person's standings after an accepted fix, and the crossings by fence, `in_order`.

    `hits` are the ids of the fences of `index` that cover the fix; `standings` holds every fence that the
    person is not idle towards, and so does the answer; `first_ever`: no fix of theirs was accepted before.
    A fence that is no longer in the index keeps its standing until `close` ends it.
    """
    after: dict[str, Standing] = {}
    told: list[Told] = []
    unknown = NEVER_SEEN if first_ever else OUTSIDE
    for fence_id in sorted({*standings, *hits}):
        before = standing = standings.get(fence_id, unknown)
        shape = index.shape_of(fence_id)
        if shape is not None:
            inside = fence_id in hits
            if inside and standing.is_inside:  # how deep is of no interest
                seen = Observation(fix.t_ms, fix.acc_m, True, 0.0, math.inf)
            else:
                seen = observe(shape, fix, inside=inside)
            standing, crossings = step(standing, seen, rules[fence_id])
            told += [(fence_id, crossing) for crossing in crossings]
        if not standing.is_idle or not _is_news(before, fix.t_ms):
            after[fence_id] = standing
    return after, in_order(told)


def in_order(told: Iterable[Told]) -> list[Told]:
    """Return crossings of one person in the order in which they are told: by time; of one moment exits before
    entries, and before both a dwell, which an exit of the same moment ends.
    """
    return sorted(told, key=lambda pair: (pair[1].at_ms, _RANKS[pair[1].event]))


def close(standing: Standing, at_ms: int, reason: str) -> tuple[Standing, Crossing | None]:
    """End a visit for another reason than leaving (GEO-17): one exit if the person was inside, else none."""
    if standing.entered_at_ms is None:
        return OUTSIDE, None
    crossing = _exit(standing, at_ms, confidence=1.0, reason=reason)
    return Standing(seen=True, last_ms=crossing.at_ms), crossing


def _is_news(standing: Standing, t_ms: int) -> bool:
    if standing.last_ms is None:
        return True
    return t_ms > standing.last_ms and t_ms >= (standing.dwelled_at_ms or t_ms)


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
    assert standing.last_ms is not None
    if seen.t_ms - standing.last_ms > rules.gap_s * 1_000:
        standing = msgspec.structs.replace(standing, stay_since_ms=seen.t_ms)
    if seen.inside or seen.outside_m - seen.acc_m <= rules.buffer_m:
        stays = msgspec.structs.replace(standing, last_ms=seen.t_ms, agreeing=0, least_sure=1.0)
        dwell_ms = _dwell_due_ms(stays, rules)
        # It was due before if a doubt stood, which this fix ended.
        return _dwelled(stays, seen.t_ms) if dwell_ms is not None and dwell_ms <= seen.t_ms else (stays, None)
    agreeing, least_sure = standing.agreeing + 1, min(standing.least_sure, _sureness(seen))
    if agreeing < rules.confirm_fixes:
        return msgspec.structs.replace(
            standing, last_ms=seen.t_ms, agreeing=agreeing, least_sure=least_sure
        ), None
    crossing = _exit(standing, seen.t_ms, confidence=round(least_sure, 3), reason=None)
    return Standing(seen=True, last_ms=seen.t_ms), crossing


def _dwell_due_ms(standing: Standing, rules: Rules) -> int | None:
    """When a stay that goes on like this is a dwell; None if it is not or the next fix must tell."""
    if not standing.is_settled or standing.dwelled_at_ms is not None or standing.last_ms is None:
        return None
    since_ms = standing.stay_since_ms or standing.entered_at_ms
    assert since_ms is not None
    dwell_ms = since_ms + rules.dwell_s * 1_000
    known_until_ms = standing.last_ms + round(min(rules.gap_s, rules.ttl_s) * 1_000)
    return dwell_ms if dwell_ms <= known_until_ms else None


def _dwelled(standing: Standing, at_ms: int) -> tuple[Standing, Crossing]:
    assert standing.entered_at_ms is not None
    dwell_s = (at_ms - standing.entered_at_ms) / 1_000
    crossing = Crossing(Event.DWELL, at_ms, standing.entered_at_ms, standing.sure, dwell_s=dwell_s)
    return msgspec.structs.replace(standing, dwelled_at_ms=at_ms), crossing


def _entered(event: Event, seen: Observation, confidence: float) -> tuple[Standing, Crossing]:
    sure = round(confidence, 3)
    return (
        Standing(seen=True, entered_at_ms=seen.t_ms, last_ms=seen.t_ms, sure=sure),
        Crossing(event, seen.t_ms, seen.t_ms, sure),
    )


def _exit(standing: Standing, at_ms: int, *, confidence: float, reason: str | None) -> Crossing:
    assert standing.entered_at_ms is not None
    at_ms = max(at_ms, standing.entered_at_ms, standing.dwelled_at_ms or 0)
    dwell_s = (at_ms - standing.entered_at_ms) / 1_000
    return Crossing(Event.EXIT, at_ms, standing.entered_at_ms, confidence, dwell_s=dwell_s, reason=reason)


def _sureness(seen: Observation) -> float:
    """Return the chance that the person is on the side that the fix is on: the edge taken for a straight
    line, the error for a normal one whose 68 % radius is the accuracy.
    """
    margin_m = seen.depth_m if seen.inside else seen.outside_m
    sigma_m = seen.acc_m / _SIGMAS_IN_ACCURACY
    return 0.5 * (1.0 + math.erf(margin_m / sigma_m / math.sqrt(2.0)))
