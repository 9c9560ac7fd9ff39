"""A city on either server: the same people, fences and walks for `positions.py`, in each one's own frames."""

import math
import random
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.servers import Server
from benchmarks.sockets import RawSocket, text_frame

METRES_A_DEGREE = 111_195.0
CENTRE = (52.52, 13.40)
HALF_SIDE_M = 2_000.0
RADIUS_M = 2_000.0
SPEED_MPS = 12.0
FIX_EVERY_S = 0.4
"""Between a walker's fixes by its own clock, which runs faster than ours at saturation."""
CLOCK_AGO_S = 700.0
FENCES = 20
FENCE_RADIUS_M = 100.0


def place(east_m: float, north_m: float, centre: tuple[float, float] = CENTRE) -> tuple[float, float]:
    """(lat, lon), so far from a centre."""
    lat = centre[0] + north_m / METRES_A_DEGREE
    return round(lat, 6), round(centre[1] + east_m / (METRES_A_DEGREE * math.cos(math.radians(centre[0]))), 6)


class Walker:
    """Somebody who walks about the city at 12 m/s, turning a little at each fix and back at its edge."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._x, self._y = (chance.uniform(-HALF_SIDE_M, HALF_SIDE_M) for _ in range(2))
        self._heading = chance.uniform(0, math.tau)
        self._t_ms = int((time.time() - CLOCK_AGO_S) * 1000)

    def fix(self) -> str:
        """The next `pos` array, as JSON."""
        step_m = SPEED_MPS * FIX_EVERY_S
        self._heading += self._chance.uniform(-0.2, 0.2)
        x, y = self._x + step_m * math.cos(self._heading), self._y + step_m * math.sin(self._heading)
        if max(abs(x), abs(y)) > HALF_SIDE_M:
            self._heading += math.pi
        else:
            self._x, self._y = x, y
        self._t_ms += int(FIX_EVERY_S * 1000)
        if self._t_ms > (time.time() + 25) * 1000:
            raise RuntimeError("the walkers' clocks have run out: fewer or shorter windows")
        lat, lon = place(self._x, self._y)
        return f"[{lat},{lon},8,{self._t_ms}]"


@dataclass(slots=True)
class Visitor:
    """Somebody apart from the crowd whose moves cause one event each, and a socket that waits for it."""

    mover: RawSocket
    watcher: RawSocket
    centre: tuple[float, float]
    sign: bytes
    """What stands in the raw stream of the watcher when the event arrives."""
    t_ms: int = field(default_factory=lambda: int((time.time() - CLOCK_AGO_S) * 1000))
    out: bool = True

    @property
    def has_time(self) -> bool:
        """Whether the visitor's clock, which runs ahead of ours, has room for another visit."""
        return self.t_ms < (time.time() - 130) * 1000

    def frame(self, east_m: float, after_s: float) -> bytes:
        """A fix some time later, at so many metres from the visitor's centre."""
        self.t_ms += int(after_s * 1000)
        lat, lon = place(east_m, 0, self.centre)
        return text_frame(f'{{"pos":[{lat},{lon},5,{self.t_ms}]}}'.encode())


class EngineCity:
    """The engine."""

    name = "hereabouts"
    pong: bytes | None = b"{}"
    confirms = True
    """A move shows with its second fix: another cell after a minute in it, a fence after two fixes."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._people = iter(server.people)
        self._url = server.request("GET", "/v1/rt")["url"]
        self._owner = next(self._people)

    def person(self) -> dict[str, str]:
        return next(self._people)

    def join(self, person: dict[str, str], *channels: str) -> RawSocket:
        """A socket of a person that follows `near`, `fences` or both."""
        near = {"mode": "map", "filter": {"radius_m": RADIUS_M, "audience": "everyone"}}
        subs: dict[str, Any] = {ch: near if ch == "near" else {} for ch in channels}
        socket = RawSocket(self._url, "rt.v1.json")
        socket.send_json({"id": 1, "connect": {"token": person["token"], "subs": subs}})
        answer = socket.receive_json(lambda frame: frame.get("id") == 1)
        refused = [sub for sub in answer["connect"]["subs"].values() if "err" in sub]
        if refused:
            raise RuntimeError(f"not subscribed: {refused}")
        return socket

    def fence(self, name: str, centre: tuple[float, float]) -> None:
        """A fence with the area of a circle of FENCE_RADIUS_M."""
        half = FENCE_RADIUS_M * math.sqrt(math.pi) / 2
        corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
        ring = [list(reversed(place(x, y, centre))) for x, y in corners]
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"name": name},
        }
        self.server.request("POST", "/v1/fences", feature, self._owner["token"])

    def near_sign(self, person: dict[str, str]) -> bytes:
        return f'["{person["user"]}","+"'.encode()

    def fence_sign(self) -> bytes:
        return b'"event":"enter"'


class NaiveCity:
    """The naive FastAPI server."""

    name = "fastapi naive"
    pong: bytes | None = None
    confirms = False

    def __init__(self, server: Server) -> None:
        self.server = server
        self._url = server.url.replace("http", "ws") + "/city"
        self._count = 0

    def person(self) -> dict[str, str]:
        self._count += 1
        return {"user": f"user-{self._count:05d}"}

    def join(self, person: dict[str, str], *channels: str) -> RawSocket:  # noqa: ARG002 - it sends all
        socket = RawSocket(self._url)
        socket.send_json({"user": person["user"]})
        socket.receive_json(lambda frame: "hello" in frame)
        return socket

    def fence(self, name: str, centre: tuple[float, float]) -> None:
        socket = self.join(self.person())
        socket.send_json({"fence": [name, *centre, FENCE_RADIUS_M], "id": 1})
        socket.receive_json(lambda frame: frame.get("id") == 1)
        socket.close()

    def near_sign(self, person: dict[str, str]) -> bytes:
        return f'{{"near": ["+", "{person["user"]}"]'.encode()

    def fence_sign(self) -> bytes:
        return b'"event": "enter"'


City = EngineCity | NaiveCity
