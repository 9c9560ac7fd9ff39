"""A city on either server: the same people, fences and walks for `positions.py`, in each one's own frames."""

import http.client
import json
import math
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol
from urllib.parse import urlsplit

from benchmarks.dialing import Step, dial, said, upgrade
from benchmarks.servers import Server
from benchmarks.sockets import Stream, text_frame

METRES_A_DEGREE = 111_195.0
RADIUS_M = 1_000
SPEED_MPS = 12.0
FIX_EVERY_S = 0.4
"""Between a walker's fixes by its own clock, which runs faster than ours where few saturate a server."""
CLOCK_AGO_S = 600.0
"""People's clocks begin so long ago, and stay at most so far behind: a position counts for 15 minutes."""
FENCE_RADIUS_M = 100.0
_CORNERS = 12
_AT_ONCE = 8

Ring = list[list[float]]
"""[longitude, latitude] in degrees, closed."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A square of the earth, `side_m` wide."""

    side_m: float
    lat: float = 52.52
    lon: float = 13.40

    def place(self, east_m: float, north_m: float) -> tuple[float, float]:
        """(lat, lon), so far from its middle."""
        lon = self.lon + east_m / (METRES_A_DEGREE * math.cos(math.radians(self.lat)))
        return round(self.lat + north_m / METRES_A_DEGREE, 6), round(lon, 6)

    def anywhere(self, chance: random.Random) -> tuple[float, float]:
        """(east_m, north_m) of some place in it."""
        return chance.uniform(-0.5, 0.5) * self.side_m, chance.uniform(-0.5, 0.5) * self.side_m

    def ring(self, east_m: float, north_m: float) -> Ring:
        """A fence: a polygon of twelve corners, FENCE_RADIUS_M from its middle."""
        turns = [math.tau * (corner % _CORNERS) / _CORNERS for corner in range(_CORNERS + 1)]
        return [
            list(
                reversed(
                    self.place(
                        east_m + FENCE_RADIUS_M * math.cos(turn), north_m + FENCE_RADIUS_M * math.sin(turn)
                    )
                )
            )
            for turn in turns
        ]


class Walker:
    """Somebody who walks straight on at 12 m/s and turns back at the edge of the ground."""

    __slots__ = ("_bounds", "_lat", "_lon", "_number", "_per_fix", "_t_ms")

    def __init__(self, ground: Ground, chance: random.Random, ago_s: float = CLOCK_AGO_S) -> None:
        self._lat, self._lon = ground.place(*ground.anywhere(chance))
        (south, west), (north, east) = (
            ground.place(s * ground.side_m, s * ground.side_m) for s in (-0.5, 0.5)
        )
        self._bounds = south, north, west, east
        heading, step_m = chance.uniform(0, math.tau), SPEED_MPS * FIX_EVERY_S / METRES_A_DEGREE
        self._per_fix = (
            step_m * math.cos(heading),
            step_m * math.sin(heading) / math.cos(math.radians(ground.lat)),
        )
        self._t_ms = int((time.time() - ago_s) * 1000)
        self._number = 10

    def fix(self) -> bytes:
        """The frame of the next fix, to be answered."""
        south, north, west, east = self._bounds
        up, right = self._per_fix
        self._lat += up
        self._lon += right
        if not (south < self._lat < north and west < self._lon < east):
            up = -up if not south < self._lat < north else up
            self._per_fix = up, -right if not west < self._lon < east else right
        self._t_ms = max(self._t_ms + int(FIX_EVERY_S * 1000), int((time.time() - CLOCK_AGO_S) * 1000))
        self._number += 1
        return text_frame(
            b'{"id":%d,"pos":[%.6f,%.6f,8,%d]}' % (self._number, self._lat, self._lon, self._t_ms)
        )

    @property
    def ahead_s(self) -> float:
        """By how much the walker's clock is ahead of ours; servers take 30 s."""
        return self._t_ms / 1000 - time.time()


@dataclass(slots=True)
class Visitor:
    """Somebody apart from the crowd whose moves cause one event each, and a socket that waits for it."""

    mover: Stream
    watcher: Stream
    ground: Ground
    sign: bytes
    """What stands in the raw stream of the watcher when the event arrives."""
    inward_m: float
    outward_m: float
    steps_s: tuple[float, float]
    """Between the two fixes of a move, by the visitor's clock: the second is the one that counts."""
    t_ms: int = field(default_factory=lambda: int((time.time() - CLOCK_AGO_S) * 1000))
    out: bool = True

    @property
    def has_time(self) -> bool:
        """Whether the visitor's clock, which runs ahead of ours, has room for another move."""
        return self.t_ms / 1000 + sum(self.steps_s) < time.time()

    def move(self) -> list[bytes]:
        """The two fixes that bring it to the other place."""
        self.out = not self.out
        return [
            self.frame(self.outward_m if self.out else self.inward_m, after_s) for after_s in self.steps_s
        ]

    def standing(self) -> bytes:
        """A fix of somebody who stands in the middle of the ground, now."""
        lat, lon = self.ground.place(0, 0)
        return text_frame(b'{"pos":[%.6f,%.6f,5,%d]}' % (lat, lon, int(time.time() * 1000)))

    def frame(self, east_m: float, after_s: float) -> bytes:
        """A fix some time later, at so many metres from the middle of its ground."""
        self.t_ms += int(after_s * 1000)
        lat, lon = self.ground.place(east_m, 0)
        return text_frame(b'{"pos":[%.6f,%.6f,5,%d]}' % (lat, lon, self.t_ms))


class City(Protocol):
    """One server's way of talking."""

    name: str
    server: Server
    pong: bytes
    """Sent now and then on sockets that say nothing else; may be empty."""
    goodbye: bytes
    confirms: bool
    """A move shows with its second fix: another cell after a minute in it, a fence after two fixes."""

    def people(self, count: int) -> list[dict[str, str]]:
        """People of this server that nobody has yet."""

    def opening(self, person: Mapping[str, str], *channels: str) -> list[Step]:
        """A socket of a person that follows `near`, `fences` or both."""

    def fence(self, rings: Mapping[str, Ring]) -> None:
        """Makes fences by name; all there are, at once."""

    def near_sign(self, person: Mapping[str, str]) -> bytes:
        """What a neighbour's stream holds when this person comes near."""

    def fence_sign(self) -> bytes:
        """What a person's stream holds when they entered a fence."""


class EngineCity:
    """The engine."""

    name = "Hereabouts"
    pong = text_frame(b"{}")
    goodbye = b"\x88\x82\0\0\0\0\x03\xe8"
    confirms = True

    def __init__(self, server: Server) -> None:
        self.server = server
        self._people = iter(server.people)
        self._owners = self.people(_AT_ONCE)

    def people(self, count: int) -> list[dict[str, str]]:
        return list(islice(self._people, count))

    def opening(self, person: Mapping[str, str], *channels: str) -> list[Step]:
        near = {"mode": "map", "filter": {"radius_m": RADIUS_M, "audience": "everyone"}}
        subs: dict[str, Any] = {ch: near if ch == "near" else {} for ch in channels}
        frame = {"id": 1, "connect": {"token": person["token"], "subs": subs}}
        host, port = self.server.address
        text = json.dumps(frame, separators=(",", ":"))
        return [upgrade(f"{host}:{port}", "/rt", "rt.v1.json"), said(text, b'"time":')]

    def fence(self, rings: Mapping[str, Ring]) -> None:
        waiting = list(rings.items())
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(self._fence, self._owners, (waiting[n::_AT_ONCE] for n in range(_AT_ONCE))))

    def _fence(self, owner: Mapping[str, str], rings: list[tuple[str, Ring]]) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {owner['token']}", "Content-Type": "application/json"}
        for name, ring in rings:
            feature = {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"name": name},
            }
            connection.request("POST", "/v1/fences", json.dumps(feature), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.client.CREATED:
                raise RuntimeError(f"no fence: {answer.status} {text[:300]!r}")
        connection.close()

    def near_sign(self, person: Mapping[str, str]) -> bytes:
        return f'["{person["user"]}","+"'.encode()

    def fence_sign(self) -> bytes:
        return b'"event":"enter"'


class RedisCity:
    """The Redis GEO and Python server."""

    pong = b""
    goodbye = EngineCity.goodbye
    confirms = False

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.name
        self._people = iter(server.people)
        self._rings: dict[str, Ring] = {}

    def people(self, count: int) -> list[dict[str, str]]:
        return list(islice(self._people, count))

    def opening(self, person: Mapping[str, str], *channels: str) -> list[Step]:  # noqa: ARG002 - it sends all
        host, port = self.server.address
        return [upgrade(f"{host}:{port}", "/"), said(json.dumps({"user": person["user"]}), b'"hello"')]

    def fence(self, rings: Mapping[str, Ring]) -> None:
        self._rings |= rings
        assert self.server.data is not None
        file = self.server.data / "fences.json"
        file.write_text(json.dumps(self._rings))
        load = said(json.dumps({"fences": str(file)}), b'"fenced"')
        host, port = self.server.address
        dial(self.server.address, [[upgrade(f"{host}:{port}", "/"), load]]).streams[0].close()

    def near_sign(self, person: Mapping[str, str]) -> bytes:
        return b'{"near":["+","%b"]}' % person["user"].encode()

    def fence_sign(self) -> bytes:
        return b'"event":"enter"'
