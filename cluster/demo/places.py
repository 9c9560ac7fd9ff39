"""Places of the replay: a geofence on the way with a room, which people who opted in join by walking in."""

from dataclasses import dataclass

from cluster.demo.account import Account
from cluster.demo.fences import Fence
from cluster.demo.ports import PortError


@dataclass(frozen=True, slots=True)
class Place:
    """A fence and its room."""

    name: str
    fence: str
    room: str


async def make_place(host: Account, fence: Fence) -> Place:
    """Creates a fence, bound to a new room of kind place."""
    given = fence.feature.get("properties") or {}
    properties = {"name": fence.name, "audience": "everyone", "dwell_s": fence.dwell_s}
    if "radius_m" in given:
        properties["radius_m"] = given["radius_m"]
    feature = {"type": "Feature", "geometry": fence.feature["geometry"], "properties": properties}
    made = await host.call("POST", "/v1/fences", feature)
    room = await host.call("POST", "/v1/rooms", {"name": fence.name, "kind": "place", "fence": made["id"]})
    return Place(fence.name, made["id"], room["id"])


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
