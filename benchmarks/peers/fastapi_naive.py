"""The peer: what one writes first with FastAPI. One process, a set of sockets, a loop that sends.

`/room` sends every text it gets to every socket, the sender's included. `/city` keeps a dict of positions:
each fix is compared with everybody's by haversine; who comes within the radius or leaves it is pushed to
both sides, and so is the crossing of a circular fence. No tokens, no storage, no order promised, no blocks.

    python benchmarks/peers/fastapi_naive.py PORT
"""

import json
import math
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()

# -- a room -----------------------------------------------------------------------------------------

room: set[WebSocket] = set()


@app.websocket("/room")
async def join_room(socket: WebSocket) -> None:
    await socket.accept()
    room.add(socket)
    try:
        while True:
            text = await socket.receive_text()
            for peer in list(room):
                await peer.send_text(text)
    except WebSocketDisconnect:
        pass
    finally:
        room.discard(socket)


# -- a city -----------------------------------------------------------------------------------------

RADIUS_M = 2000.0
people: dict[str, tuple[float, float]] = {}
sockets: dict[str, list[WebSocket]] = {}
near: dict[str, set[str]] = {}
fences: dict[str, tuple[float, float, float]] = {}
inside: dict[str, set[str]] = {}


def distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Haversine on a sphere of 6,371 km."""
    a = math.radians(lat)
    b = math.radians(other_lat)
    h = (
        math.sin((b - a) / 2) ** 2
        + math.cos(a) * math.cos(b) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    )
    return 12_742_000.0 * math.asin(math.sqrt(h))


async def tell(user: str, event: dict[str, object]) -> None:
    text = json.dumps(event)
    for socket in sockets.get(user, []):
        await socket.send_text(text)


async def move(user: str, lat: float, lon: float) -> None:
    people[user] = (lat, lon)
    before = near.setdefault(user, set())
    after = {
        other for other, place in people.items() if other != user and distance_m(lat, lon, *place) <= RADIUS_M
    }
    for other in after - before:
        near.setdefault(other, set()).add(user)
        await tell(user, {"near": ["+", other]})
        await tell(other, {"near": ["+", user]})
    for other in before - after:
        near.setdefault(other, set()).discard(user)
        await tell(user, {"near": ["-", other]})
        await tell(other, {"near": ["-", user]})
    near[user] = after
    was = inside.setdefault(user, set())
    now = {name for name, (y, x, radius_m) in fences.items() if distance_m(lat, lon, y, x) <= radius_m}
    for name in now - was:
        await tell(user, {"fence": name, "event": "enter"})
    for name in was - now:
        await tell(user, {"fence": name, "event": "exit"})
    inside[user] = now


@app.websocket("/city")
async def join_city(socket: WebSocket) -> None:
    await socket.accept()
    user = (await socket.receive_json())["user"]
    sockets.setdefault(user, []).append(socket)
    await socket.send_json({"hello": user})
    try:
        while True:
            message = await socket.receive_json()
            if "fence" in message:
                name, lat, lon, radius_m = message["fence"]
                fences[name] = (lat, lon, radius_m)
            else:
                lat, lon = message["pos"][:2]
                await move(user, lat, lon)
            if "id" in message:
                await socket.send_text(f'{{"id":{message["id"]},"pos":{{"ok":true}}}}')
    except WebSocketDisconnect:
        pass
    finally:
        sockets[user].remove(socket)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_max_queue=1024,
    )
