"""Who is near: selection by snapped distance, and the rows by which a client's map follows it (GEO-11)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from geo.distance import Floats, distances_m
from geo.privacy import Coarse

RADIUS_MAX_M = 5_000.0
LIMIT_MAX = 50
_BANDS_KM = (1, 2, 5, 10)
# Of a degree of latitude, anywhere: a cheap first cut.
_DEGREE_AT_LEAST_M = 110_500.0


class Near(msgspec.Struct, frozen=True):
    """One person near: their index in the arrays given, and the metres between the two cells' centres.

    `distance_m` orders the list and stays inside; `band` is what may be shown.
    """

    index: int
    distance_m: float
    band: str


def band_of(distance_m: float) -> str:
    """Return the band of a snapped distance: "<1", "<2", "<5" or "<10" km; raise ValueError beyond."""
    for kilometres in _BANDS_KM:
        if distance_m < kilometres * 1_000:
            return f"<{kilometres}"
    raise ValueError("no band beyond 10 km")


def metres_of(band: str) -> float:
    """Return the upper end of a band in metres."""
    return float(band.removeprefix("<")) * 1_000


def nearest(
    viewer: Coarse,
    keys: Sequence[str],
    lats: Floats,
    lons: Floats,
    *,
    radius_m: float,
    limit: int = LIMIT_MAX,
) -> list[Near]:
    """Return the at most `limit` people within `radius_m` of the viewer, nearest first, ties by key.

    `lats` and `lons` are the centres of the subjects' shown cells (float64, one per key), so two people in
    one cell differ by their key only. The caller leaves out the viewer and whoever `privacy.view` hides.
    """
    if not 0.0 < radius_m <= RADIUS_MAX_M:
        raise ValueError(f"radius_m must lie in (0, {RADIUS_MAX_M:.0f}]")
    if not 0 < limit <= LIMIT_MAX:
        raise ValueError(f"limit must lie in [1, {LIMIT_MAX}]")
    close = np.flatnonzero(np.abs(lats - viewer.lat) <= radius_m / _DEGREE_AT_LEAST_M)
    # To the millimetre, so that rounding in the arithmetic cannot order two equal distances.
    metres = np.round(distances_m(viewer.lat, viewer.lon, lats[close], lons[close]), 3)
    within = metres <= radius_m
    close, metres = close[within], metres[within]
    if close.size > limit:
        # Everyone as near as the last one to be taken stays in, so that the key decides among them.
        within = metres <= np.partition(metres, limit - 1)[limit - 1]
        close, metres = close[within], metres[within]
    order = sorted(
        zip(metres.tolist(), close.tolist(), strict=True), key=lambda pair: (pair[0], keys[pair[1]])
    )
    return [Near(index, distance, band_of(distance)) for distance, index in order[:limit]]


Change = tuple[str, str, Any, int] | tuple[str, str]


class MapView(msgspec.Struct, frozen=True):
    """What a subscriber of a map channel has been told: each key's data and the version that it last changed.

    `version` counts the deltas sent, so it also serves as the channel's offset.
    """

    version: int = 0
    rows: dict[str, tuple[Any, int]] = {}

    def state(self) -> list[tuple[str, Any, int]]:
        """Return the whole map as `[key, data, version]` rows, by key."""
        return [(key, *self.rows[key]) for key in sorted(self.rows)]


def changes_to(seen: MapView, current: Mapping[str, Any]) -> tuple[MapView, list[Change]]:
    """Return the view after `current` is told, and the rows that tell it: removals, then by key `+` and `~`.

    Rows are as the wire has them: `[key, "+" | "~", data, version]` and `[key, "-"]`. Without a change the
    view is returned as it is, with no rows.
    """
    known = seen.rows
    gone = known.keys() - current.keys()
    new = [
        key
        for key, data in current.items()
        if (had := known.get(key)) is None or (had[0] is not data and had[0] != data)
    ]
    if not gone and not new:
        return seen, []
    version = seen.version + 1
    rows = {key: row for key, row in known.items() if key not in gone} if gone else dict(known)
    changes: list[Change] = [(key, "-") for key in sorted(gone)]
    for key in sorted(new):
        changes.append((key, "~" if key in known else "+", current[key], version))
        rows[key] = (current[key], version)
    return MapView(version, rows), changes
