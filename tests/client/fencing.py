"""Fences and fixes for a small engine, straight to its stores and actors."""

import json
from typing import Any

from actors import messages as wire
from storage.ids import new_id

BERLIN = (52.5200, 13.4050)


def square(lat: float, lon: float, half_deg: float = 0.002) -> dict[str, Any]:
    """A GeoJSON polygon around a place."""
    a, b, c, d = lon - half_deg, lat - half_deg, lon + half_deg, lat + half_deg
    return {"type": "Polygon", "coordinates": [[[a, b], [c, b], [c, d], [a, d], [a, b]]]}


async def fence(small: Any, owner: str, shape: dict[str, Any], room: str | None = None) -> str:
    """A fence that all shards know."""
    found = new_id()
    await small.pool.execute(
        "INSERT INTO fences (id, owner_id, name, shape, room_id) VALUES ($1, $2, 'f', $3, $4)",
        found, owner, json.dumps(shape), room,
    )  # fmt: skip
    await small.router.refresh("fences", found)
    return found


async def move(small: Any, user: str, lat: float, lon: float, t_ms: int, acc_m: float = 5.0) -> Any:
    """A fix."""
    return await small.ask(wire.Position(0, user, lat, lon, acc_m, t_ms))
