"""Positions for properties: `from_type(LatLng)` is anywhere, or near a place that breaks code."""

import math

import h3
from hypothesis import settings
from hypothesis import strategies as st

from geo.coordinates import LatLng, normalise

LAGOS = (6.4541, 3.3947)
BERLIN = (52.52, 13.405)
EDGES = [LAGOS, BERLIN, (-16.8, 180.0), (0.0, 180.0), (90.0, 0.0), (-90.0, 0.0), (79.99, 20.0)]
EDGES += [h3.cell_to_latlng(cell) for cell in h3.get_pentagons(9)]

# The same examples in every run, and no deadline: what is red here is red everywhere, also on a busy machine.
settings.register_profile("geo", derandomize=True, deadline=None, database=None)
settings.load_profile("geo")


@st.composite
def positions(draw: st.DrawFn) -> LatLng:
    if draw(st.booleans()):
        lat = math.degrees(math.asin(draw(st.floats(-1, 1))))
        return normalise(lat, draw(st.floats(-180, 180)))
    lat, lon = draw(st.sampled_from(EDGES))
    lat += draw(st.floats(-0.2, 0.2))
    return normalise(max(-90.0, min(90.0, lat)), lon + draw(st.floats(-0.2, 0.2)))


st.register_type_strategy(LatLng, positions())
