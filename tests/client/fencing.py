"""Fences and fixes for a small engine, straight to its stores and actors."""

import json
import time
from typing import Any

import pytest

from actors import messages as wire
from actors.turns import Turns
from storage.ids import new_id

BERLIN = (52.5200, 13.4050)
AWAY = (BERLIN[0] + 0.02, BERLIN[1])


class Clock:
    """The clock of all shards, which a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_ms = 0
        monkeypatch.setattr(Turns, "now_ms", lambda _: self.now_ms())

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def pass_s(self, seconds: float) -> None:
        """Time goes by."""
        self.ahead_ms += round(seconds * 1000)


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


async def visit(small: Any, user: str, at_ms: int, place: tuple[float, float] = BERLIN) -> None:
    """Two fixes, a second apart, that confirm each other."""
    await move(small, user, *place, at_ms)
    await move(small, user, *place, at_ms + 1000)


async def change(small: Any, fence: str) -> None:
    """All shards read the fence anew."""
    await small.router.refresh("fences", fence)


async def told(small: Any, user: str) -> list[tuple[str, str | None]]:
    """(event, reason) of a person's crossings, as they are stored."""
    rows = await small.pool.fetch(
        """SELECT body->>'event' AS event, body->>'reason' AS reason FROM user_events
        WHERE user_id = $1 AND stream = 'fences' ORDER BY "offset" """,
        user,
    )
    return [tuple(row) for row in rows]


async def until_told(small: Any, user: str, count: int) -> list[tuple[str, str | None]]:
    """The same once there are so many."""
    for _ in range(1_000):
        found = await told(small, user)
        if len(found) >= count:
            return found
        await small.until_next()
    raise AssertionError(f"{found}, not {count}")
