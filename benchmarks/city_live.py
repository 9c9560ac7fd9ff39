"""The city's people as clients of a running engine: they ask for suggestions, follow their scores, decide."""

import argparse
import asyncio
import json
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from benchmarks import city_truth, results
from benchmarks.city import City
from benchmarks.city_engine import CityEngine
from benchmarks.city_lists import Shown
from benchmarks.city_store import Stored, numbered

_AT_ONCE = 4
"""People who ask at one time: latencies are of an engine that is not saturated."""
_WATCHED_S = 20.0
"""So long at most a map is waited for to be of one model."""

Item = tuple[int, str, dict[str, Any]]
"""A person's number, their token, and what they were told of somebody."""


def live(
    ours: CityEngine, city: City, stored: Stored, given: argparse.Namespace
) -> tuple[Shown, dict[str, Any], list[Item]]:
    """Lists that people get from /v1/matches, with latencies; and each item with who was told."""
    chance = np.random.default_rng([given.seed, 4])
    there = np.flatnonzero(~city.people.is_paused & city.people.is_listed)
    asking = chance.choice(there, min(given.live, len(there)), replace=False)
    tokens = ours.tokens([stored.people[number] for number in asking])
    number = numbered(stored)

    def ask(token: str) -> tuple[float, dict[str, Any]]:
        begun_s = time.perf_counter()
        page = ours.server.request("GET", f"/v1/matches?limit={given.slots}", token=token)
        return time.perf_counter() - begun_s, page

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        pages = list(threads.map(ask, tokens))
    items = [
        (int(person), token, item)
        for person, token, (_, page) in zip(asking, tokens, pages, strict=True)
        for item in page["items"]
        if item["user"] in number
    ]
    place: dict[int, int] = {}
    for person, _, item in items:
        place[person] = item["place"] = place.get(person, 0) + 1
    shown = Shown(
        np.array([person for person, _, _ in items], dtype=np.int64),
        np.array([number[item["user"]] for _, _, item in items], dtype=np.int64),
        np.array([item["place"] for _, _, item in items], dtype=np.int64),
    )
    spent_ms = sorted(1_000 * seconds for seconds, _ in pages)
    return (
        shown,
        {
            "people": len(asking),
            "models": sorted({str(page["model"]) for _, page in pages}),
            "live": sum(bool(page["live"]) for _, page in pages),
            "p50_ms": round(results.quantile(spent_ms, 0.5), 1),
            "p99_ms": round(results.quantile(spent_ms, 0.99), 1),
        },
        items,
    )


def decide(ours: CityEngine, city: City, stored: Stored, items: list[Item], seed: int) -> dict[str, Any]:
    """Everybody of the live lists decides by the truth through HTTP; who is liked answers with REPLY."""
    chance, number, people = np.random.default_rng([seed, 5]), numbered(stored), city.people
    shown = np.array([number[item["user"]] for _, _, item in items], dtype=np.int64)
    viewer = np.array([person for person, _, _ in items], dtype=np.int64)
    forward, backward = city_truth.likes(people, viewer, shown), city_truth.likes(people, shown, viewer)
    likes = chance.random(len(items)) < forward
    answers = likes & (chance.random(len(items)) < 0.7)
    says = chance.random(len(items)) < backward
    tokens = dict(
        zip(
            np.unique(shown[answers]).tolist(),
            ours.tokens([stored.people[each] for each in np.unique(shown[answers])]),
            strict=True,
        )
    )
    counts = {"decisions": 0, "likes": 0, "matches": 0, "refused": 0}

    def post(token: str, user: str, like: bool, item: dict[str, Any]) -> bool:
        body = {"user": user, "like": like, "model": item["model"], "source": item["source"]}
        try:
            answer = ours.server.request("POST", "/v1/decisions", body, token)
        except urllib.error.HTTPError:
            counts["refused"] += 1
            return False
        counts["decisions"] += 1
        return bool(answer["match"])

    for at, (person, token, item) in enumerate(items):
        post(token, item["user"], bool(likes[at]), item)
        counts["likes"] += int(likes[at])
        if answers[at]:
            matched = post(tokens[int(shown[at])], stored.people[person], bool(says[at]), item)
            counts["matches"] += matched
    return counts | {"matches_expected": round(float((forward * backward * 0.7).sum()), 1)}


async def _followed(address: tuple[str, int], token: str, model: str) -> tuple[dict[str, Any], float]:
    """A person's `scores` once all rows are of `model`, by key; and the seconds that took."""
    begun_s = time.perf_counter()
    rows: dict[str, Any] = {}
    host, port = address
    async with connect(f"ws://{host}:{port}/rt", subprotocols=[Subprotocol("rt.v1.json")]) as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"token": token, "subs": {"scores": {}}}}))
        while time.perf_counter() < begun_s + _WATCHED_S:
            try:
                message = await asyncio.wait_for(socket.recv(), 1.0)
            except TimeoutError:
                message = ""
            for line in str(message).splitlines():
                frame = json.loads(line)
                if frame == {}:
                    await socket.send("{}")
                for sub in (frame.get("connect") or {}).get("subs", {}).values():
                    rows |= {key: data for key, data, _ in sub.get("state", [])}
                for key, change, *data in frame.get("k", []):
                    if change == "-":
                        rows.pop(key, None)
                    else:
                        rows[key] = data[0]
            if rows and all(row.get("model") == model for row in rows.values()):
                break
    return rows, time.perf_counter() - begun_s


def followed(
    ours: CityEngine, stored: Stored, people: list[tuple[int, str]], model: str, slots: int
) -> tuple[Shown, dict[str, Any]]:
    """The best of the channel `scores` of people (number, token), over WebSockets."""
    number = numbered(stored)

    async def all_of_them() -> list[tuple[dict[str, Any], float]]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(token: str) -> tuple[dict[str, Any], float]:
            async with gate:
                return await _followed(ours.server.address, token, model)

        return await asyncio.gather(*(one(token) for _, token in people))

    maps = asyncio.run(all_of_them())
    listed = []
    for (person, _), (rows, _) in zip(people, maps, strict=True):
        best = sorted(rows.items(), key=lambda row: (-row[1]["score"], row[0]))
        known = [number[key] for key, _ in best if key in number][:slots]
        listed += [(person, other, place) for place, other in enumerate(known, 1)]
    found = np.array(listed, dtype=np.int64).reshape(-1, 3)
    spent_ms = sorted(1_000 * seconds for _, seconds in maps)
    return Shown(found[:, 0], found[:, 1], found[:, 2]), {
        "people": len(people),
        "rows": sum(len(rows) for rows, _ in maps),
        "models": sorted({str(row.get("model")) for rows, _ in maps for row in rows.values()}),
        "p50_ms": round(results.quantile(spent_ms, 0.5), 1),
    }
