"""What a live share shows (GEO-20, GEO-22): nothing finer than the sharer said."""

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.cells import cell_of
from geo.fixes import Fix
from geo.privacy import Precision
from geo.sharing import shared_place

RESOLUTION = {Precision.R9: 9, Precision.R8: 8, Precision.R7: 7, Precision.CITY: 5}
BERLIN = (52.5200, 13.4050)


def fix(lat, lon, t_ms=1_000, acc_m=5.0):
    return Fix(lat, lon, acc_m, t_ms, t_ms)


def test_an_exact_share_shows_the_fix_itself():
    place, shown = shared_place(fix(*BERLIN, 7, 4.25), Precision.EXACT, None)
    assert place == {"lat": BERLIN[0], "lon": BERLIN[1], "acc_m": 4.2, "t": 7, "precision": "exact"}
    assert shown is None


@pytest.mark.parametrize("precision", list(RESOLUTION))
@given(at=st.data(), lat=st.floats(-80, 80), lon=st.floats(-180, 179.9))
def test_two_fixes_of_one_cell_look_alike(precision, at, lat, lon):
    """GEO-27: they are indistinguishable in every answer."""
    res = RESOLUTION[precision]
    cell = cell_of(lat, lon, res)
    inside = h3.cell_to_latlng(at.draw(st.sampled_from(h3.cell_to_children(cell, min(res + 2, 12)))))
    if cell_of(*inside, res) != cell:
        return  # a child may lie outside of its parent
    one, _ = shared_place(fix(lat, lon), precision, None)
    other, _ = shared_place(fix(*inside), precision, None)
    assert one == other
    assert (one["lat"], one["lon"]) == pytest.approx(h3.cell_to_latlng(cell))
    assert one["acc_m"] >= h3.average_hexagon_edge_length(res, "m") - 0.1


def test_a_walk_along_an_edge_shows_one_cell():
    """The snap is sticky (GEO-21): who watches the cell flip would know where its edge is crossed."""
    cell = h3.latlng_to_cell(*BERLIN, 8)
    a, b = h3.cell_to_boundary(cell)[:2]
    centre = h3.cell_to_latlng(cell)
    shown, seen = None, set()
    for step in range(40):
        share = step / 40
        lat, lon = a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
        out = 1.02 if step % 2 and step else 0.98
        lat, lon = centre[0] + out * (lat - centre[0]), centre[1] + out * (lon - centre[1])
        place, shown = shared_place(fix(lat, lon, step * 5_000), Precision.R8, shown)
        seen.add((place["lat"], place["lon"]))
    assert len(seen) == 1


def test_hidden_shows_nothing():
    assert shared_place(fix(*BERLIN), Precision.HIDDEN, None) == (None, None)
