"""The peer: what one writes well with Redis GEO and Python: one process on picows and uvloop, and one Redis.

Fixes are taken in batches: whatever arrived while the last batch was away, at most `BATCH` people (faster
than a round trip a fix, and no slower when little happens). A batch is one GEOADD of everybody who moved and
one GEOSEARCH BYRADIUS ASC COUNT 50 around each of them, in one pipeline over a Unix socket; the answers are
set against what that person had found before. Two people are near each other while either finds the other,
and both are told at once when that begins and ends. Fences are a shapely STRtree in the process, asked once a
batch; entering and leaving is told to the person. What goes to one socket in a batch goes in one write.
Commands and replies are packed and cut by hand in their fixed forms, which is faster than a client library.

It leaves out: tokens, privacy (positions and distances are exact), blocks and audiences, the forgetting of
old positions, confirmation of crossings (the first fix on the other side decides), durability (Redis keeps
nothing on disk, an event that nobody hears is gone), order and resumption, more than one process.

    python benchmarks/peers/redis_geo_server.py PORT REDIS_SOCKET RADIUS_M
"""

import asyncio
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import shapely
import uvloop
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

BATCH = 1_000
NEAREST = 50
NAME_BYTES = 7
"""Of a person's name: replies are cut at fixed places."""

_ITEM_BYTES = len(b"$7\r\n") + NAME_BYTES + 2

_NOBODY: set[bytes] = set()
_decode = msgspec.json.Decoder().decode


class Redis(asyncio.Protocol):
    """A pipeline of GEOADD and GEOSEARCH on one key."""

    def __init__(self, radius_m: int) -> None:
        radius = str(radius_m).encode()
        self._search_head = b"*10\r\n$9\r\nGEOSEARCH\r\n$1\r\ng\r\n$10\r\nFROMMEMBER\r\n$7\r\n"
        self._search_tail = (
            b"\r\n$8\r\nBYRADIUS\r\n$%d\r\n%b\r\n$1\r\nm\r\n$3\r\nASC\r\n$5\r\nCOUNT\r\n$%d\r\n%d\r\n"
            % (len(radius), radius, len(str(NEAREST + 1)), NEAREST + 1)
        )
        self._transport: asyncio.WriteTransport
        self._received = bytearray()
        self._replies: list[set[bytes]] = []
        self._left = 0
        self._done: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        received, at = self._received, 0
        while self._left:
            end = received.find(b"\r\n", at)
            if end < 0:
                break
            kind = received[at : at + 1]
            if kind == b"*":
                past = end + 2 + int(received[at + 1 : end]) * _ITEM_BYTES
                if len(received) < past:
                    break
                self._replies.append(set(bytes(received[end + 2 : past]).split(b"\r\n")[1::2]))
                end = past - 2
            elif kind != b":":
                raise RuntimeError(bytes(received[at:end]).decode())
            at = end + 2
            self._left -= 1
        del received[:at]
        if self._left == 0 and not self._done.done():
            self._done.set_result(None)

    async def move(self, places: dict[bytes, tuple[float, float]]) -> list[set[bytes]]:
        """Stores (lat, lon) by name; the names near each of them, in that order, its own among them."""
        parts = [b"*%d\r\n$6\r\nGEOADD\r\n$1\r\ng\r\n" % (2 + 3 * len(places))]
        for name, (lat, lon) in places.items():
            x, y = b"%.6f" % lon, b"%.6f" % lat
            parts.append(b"$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\n%b\r\n" % (len(x), x, len(y), y, name))
        head, tail = self._search_head, self._search_tail
        parts += [head + name + tail for name in places]
        self._replies, self._left = [], 1 + len(places)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(b"".join(parts))
        await self._done
        return self._replies


class City:
    """Who is where, near whom and inside of what."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.sockets: dict[bytes, list[Socket]] = {}
        self._found: dict[bytes, set[bytes]] = {}
        self._inside: dict[bytes, set[int]] = {}
        self._fences: list[str] = []
        self._tree = shapely.STRtree([])
        self.waiting: dict[bytes, tuple[float, float]] = {}
        self.answers: list[tuple[Socket, bytes]] = []
        self.wake = asyncio.Event()
        self._soiled: set[Socket] = set()

    def fence(self, rings: dict[str, list[list[float]]]) -> None:
        """All fences: name → ring of [lon, lat]."""
        self._fences = list(rings)
        polygons = [shapely.Polygon(ring) for ring in rings.values()]
        shapely.prepare(polygons)
        self._tree = shapely.STRtree(polygons)

    async def run(self) -> None:
        """A batch after the other, for ever."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                batch, answers = self.waiting, self.answers
                if len(batch) > BATCH:
                    rest = list(batch.items())
                    batch, self.waiting = dict(rest[:BATCH]), dict(rest[BATCH:])
                    self.answers = [each for each in answers if each[0].name in self.waiting]
                    answers = [each for each in answers if each[0].name in batch]
                else:
                    self.waiting, self.answers = {}, []
                self._meet(batch, await self._redis.move(batch))
                self._cross(batch)
                for socket, answer in answers:
                    self._say(socket, answer)
                for socket in self._soiled:
                    socket.flush()
                self._soiled.clear()

    def _meet(self, batch: dict[bytes, tuple[float, float]], answers: list[set[bytes]]) -> None:
        found = self._found
        for name, after in zip(batch, answers, strict=True):
            after.discard(name)
            before = found.get(name, _NOBODY)
            found[name] = after
            for sign, others in ((b"+", after - before), (b"-", before - after)):
                for other in others:
                    if name not in found.get(other, _NOBODY):
                        self._tell(name, b'{"near":["%b","%b"]}' % (sign, other))
                        self._tell(other, b'{"near":["%b","%b"]}' % (sign, name))

    def _cross(self, batch: dict[bytes, tuple[float, float]]) -> None:
        if not self._fences:
            return
        names = list(batch)
        places = np.array(list(batch.values()))
        people, fences = self._tree.query(shapely.points(places[:, 1], places[:, 0]), predicate="intersects")
        order = np.argsort(people, kind="stable")
        people, fences = people[order], fences[order]
        bounds = np.searchsorted(people, np.arange(len(names) + 1)).tolist()
        hit = fences.tolist()
        inside = self._inside
        for name, (start, end) in zip(names, pairwise(bounds), strict=True):
            was = inside.get(name)
            if start == end and not was:
                continue
            was, now = was or set(), set(hit[start:end])
            for fence in now - was:
                self._tell(name, b'{"fence":"%b","event":"enter"}' % self._fences[fence].encode())
            for fence in was - now:
                self._tell(name, b'{"fence":"%b","event":"exit"}' % self._fences[fence].encode())
            inside[name] = now

    def _tell(self, name: bytes, event: bytes) -> None:
        for socket in self.sockets.get(name, ()):
            self._say(socket, event)

    def _say(self, socket: "Socket", frame: bytes) -> None:
        socket.unsent.append(frame)
        self._soiled.add(socket)


class Socket(WSListener):
    """One client."""

    def __init__(self, city: City) -> None:
        self._city = city
        self.name = b""
        self.unsent: list[bytes] = []
        self._ws: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        message = _decode(frame.get_payload_as_bytes())
        if "pos" in message:
            lat, lon = message["pos"][:2]
            self._city.waiting[self.name] = (lat, lon)
            if "id" in message:
                self._city.answers.append((self, b'{"id":%d,"pos":{"ok":true}}' % message["id"]))
            self._city.wake.set()
        elif "user" in message:
            self.name = message["user"].encode()
            self._city.sockets.setdefault(self.name, []).append(self)
            self._ws.send(WSMsgType.TEXT, json.dumps({"hello": message["user"]}).encode())
        elif "fences" in message:
            self._city.fence(json.loads(Path(message["fences"]).read_text()))
            self._ws.send(WSMsgType.TEXT, b'{"fenced":true}')

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        if self.name:
            self._city.sockets[self.name].remove(self)
            self.name = b""

    def flush(self) -> None:
        frames, self.unsent = self.unsent, []
        if self.name:
            self._ws.send(WSMsgType.TEXT, b"\n".join(frames))


async def serve(port: int, redis_socket: str, radius_m: int) -> None:
    """Until it is ended."""
    _, redis = await asyncio.get_running_loop().create_unix_connection(lambda: Redis(radius_m), redis_socket)
    city = City(redis)

    def open_socket(request: WSUpgradeRequest) -> WSListener:  # noqa: ARG001
        return Socket(city)

    server = await ws_create_server(open_socket, "127.0.0.1", port, backlog=4096)
    await asyncio.gather(server.serve_forever(), city.run())


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
