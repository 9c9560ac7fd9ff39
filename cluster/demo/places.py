"""Places of the replay: a geofence on the way with a room, which people who opted in join by walking in."""

import math
from dataclasses import dataclass

from cluster.demo.account import Account
from cluster.demo.ports import PortError
from geo.traces import TracePoint

RADIUS_M = 220.0
CORNERS = 32
METRES_PER_DEGREE = 111_320.0
NAMES = ("First gate", "Second gate", "Third gate", "Fourth gate", "Fifth gate")


@dataclass(frozen=True, slots=True)
class Place:
    """A fence and its room."""

    name: str
    fence: str
    room: str


async def make_place(host: Account, name: str, point: TracePoint) -> Place:
    """Creates a fence around a recorded point, bound to a new room of kind place."""
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [circle(point.lat, point.lon, RADIUS_M)]},
        "properties": {"name": name, "audience": "everyone"},
    }
    fence = await host.call("POST", "/v1/fences", feature)
    room = await host.call("POST", "/v1/rooms", {"name": name, "kind": "place", "fence": fence["id"]})
    return Place(name, fence["id"], room["id"])


async def opt_in(account: Account, place: Place) -> None:
    """Lets the place's room take this person in when they cross its fence (GEO-14)."""
    await account.call("PUT", f"/v1/me/fences/{place.fence}", {"grant": "exact", "auto_join": True})


async def remove_place(host: Account, place: Place) -> None:
    """Takes the fence away again; its room and what was said there stay."""
    try:
        await host.call("DELETE", f"/v1/fences/{place.fence}")
    except PortError as refused:
        if refused.status not in (0, 404):
            raise


def circle(lat: float, lon: float, radius_m: float) -> list[list[float]]:
    """A closed GeoJSON ring around a position, counterclockwise (RFC 7946)."""
    ring = []
    for corner in range(CORNERS + 1):
        angle = 2 * math.pi * (corner % CORNERS) / CORNERS
        north = radius_m * math.sin(angle) / METRES_PER_DEGREE
        east = radius_m * math.cos(angle) / (METRES_PER_DEGREE * math.cos(math.radians(lat)))
        ring.append([round(lon + east, 7), round(lat + north, 7)])
    return ring
