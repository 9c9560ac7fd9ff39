"""Three nodes on one machine: shards and gateways come and go under load, a node is emptied, another is
killed; nothing acknowledged is lost, doubled or put elsewhere (ACT-5, ACT-9, FAN-5, D8)."""

import asyncio
import json
import random
import re
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from rt_client.engine import Engine
from rt_client.load import Load
from rt_client.node import Node
from rt_client.town import Town, endless_people, hereabouts, request, status

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    running = Engine(tmp_path_factory.mktemp("nodes") / "data")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def nodes(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    folder = tmp_path_factory.mktemp("joined")
    joined = {name: Node(engine, folder / name, name) for name in ("two", "three")}
    try:
        joined["two"].start()
        joined["three"].start()
        yield joined
    finally:
        for node in joined.values():
            node.stop()


@pytest.fixture
async def load(engine: Engine, nodes: dict[str, Node]) -> AsyncIterator[Load]:  # noqa: ARG001 - they stand
    """People who talk and move, over the gateways of all nodes."""
    async with AsyncExitStack() as stack:
        town = Town(engine.url, engine.data, endless_people(engine.data, at_once=20), stack)
        running = Load(town, chance=random.Random(11), pause_s=0.15)
        await running.start(people=6, durable=6, memory=0)
        await running.each_room_acks(3, 30)
        yield running
        await running.leave()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="")  # noqa: T201

    return say


def owners(found: dict[str, Any]) -> Counter[str]:
    """Slots of each node, from `hereabouts status`."""
    counts: Counter[str] = Counter()
    for shard in found["directory"]["shards"].values():
        counts[shard.get("node", "?")] += shard["slots"]
    return counts


async def slots_by_node(engine: Engine) -> Counter[str]:
    return owners(await asyncio.to_thread(status, engine.data))


async def until_spread(engine: Engine, nodes: set[str], limit_s: float) -> float:
    """Waits until exactly these nodes have slots; how long that took."""
    begun_s = time.monotonic()
    while set(found := await slots_by_node(engine)) != nodes:
        assert time.monotonic() < begun_s + limit_s, found
        await asyncio.sleep(0.3)
    return time.monotonic() - begun_s


async def proved(load: Load) -> str:
    verdict = await load.stop()
    assert load.refusals == []
    assert verdict.faults == []
    assert verdict.resumes_recovered == verdict.resumes_within_limit
    return str(verdict)


async def test_what_joins_is_given_slots_and_clients(engine: Engine, nodes: dict[str, Node]) -> None:
    await until_spread(engine, {"head", "two", "three"}, 30)
    found = await asyncio.to_thread(status, engine.data)
    assert found["nodes"] == {
        "head": {"shards": [0, 1], "gateways": 1},
        "three": {"shards": [3], "gateways": 1},
        "two": {"shards": [2], "gateways": 1},
    }
    urls = {request(engine.url, "GET", "/v1/rt").body["url"] for _ in range(60)}
    assert urls == {found["gateway_url"], *(node.url for node in nodes.values())}


async def test_shards_and_gateways_come_and_go_under_load(
    engine: Engine, load: Load, tell: Callable[[str], None]
) -> None:
    for shards, gateways in ((3, 2), (1, 1)):
        begun_s = time.monotonic()
        answer = await asyncio.to_thread(
            hereabouts, engine.data, "scale", "--shards", str(shards), "--gateways", str(gateways)
        )
        assert json.loads(answer)["gateways"] == gateways
        assert len(json.loads(answer)["shards"]) == shards
        for member in load.members:
            await member.drop()  # and some come back to what is new
        stall_s = await load.each_room_acks(3, 30)
        tell(
            f"scale to {shards} shards, {gateways} gateways: {time.monotonic() - begun_s - stall_s:.1f} s; "
            f"then every room acknowledged three times in {stall_s:.1f} s"
        )
    tell(await proved(load))
    await load.all_see_all()


async def test_prometheus_is_told_what_happened(engine: Engine) -> None:
    """Of the tests before: who wrote, who came back with everything, which slots moved."""
    url = (await asyncio.to_thread(status, engine.data))["metrics_url"]
    found: Counter[str] = Counter()
    wanted = {
        "committed_total": 10, "sockets_opened_total": 6, "deliveries_total": 50, "sends_total": 1,
        'resumes_total{recovered="yes"}': 1, "handoffs_total": 50, "view_version": 4, "pushes_total": 50,
        "gateway_tick_s_count_total": 1, "messages_total": 50, "activations": 0, "mailbox_depth": 0,
    }  # fmt: skip
    for _ in range(80):  # a process that has ended is forgotten, so what counts is what is there by now
        found = await asyncio.to_thread(scraped, url)
        if all(found[name] >= least for name, least in wanted.items()):
            break
        await asyncio.sleep(0.5)
    assert {name: found[name] for name, least in wanted.items() if found[name] < least} == {}
    assert wanted.keys() <= found.keys()


def scraped(url: str) -> Counter[str]:
    """Our metrics, summed over processes; `resumes` by its own label."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    sums: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("ray_hereabouts_"):
            name, _, rest = line.removeprefix("ray_hereabouts_").partition("{")
            labels, _, value = rest.rpartition("} ")
            if name == "resumes_total":
                name += "{" + re.findall(r'recovered="\w+"', labels)[0] + "}"
            sums[name] += float(value)
    return sums


async def test_a_drained_node_has_neither_slots_nor_clients(
    engine: Engine, nodes: dict[str, Node], load: Load, tell: Callable[[str], None]
) -> None:
    begun_s = time.monotonic()
    await asyncio.to_thread(hereabouts, engine.data, "drain", "two")
    tell(f"drain: {time.monotonic() - begun_s:.1f} s")
    assert "two" not in await slots_by_node(engine)
    found = await asyncio.to_thread(status, nodes["two"].data)
    assert not [row for row in found["processes"] if row["title"].startswith("ray::hereabouts")]
    await asyncio.to_thread(nodes["two"].stop)
    await load.each_room_acks(3, 30)
    tell(await proved(load))
    await load.all_see_all()


async def test_a_killed_nodes_slots_are_served_elsewhere_within_20_s(
    engine: Engine, nodes: dict[str, Node], load: Load, tell: Callable[[str], None]
) -> None:
    """And it serves nothing any more: every one of its writes would carry an epoch that is over."""
    assert (await slots_by_node(engine))["three"] > 0
    nodes["three"].kill()
    back_s = await load.each_room_acks(3, 60)
    tell(f"kill -9 of a node: every room acknowledges again after {back_s:.1f} s")
    await until_spread(engine, {"head"}, 20)
    assert back_s < 20
    tell(await proved(load))
    await load.all_see_all()


async def test_a_node_that_was_killed_may_come_back_under_its_name(
    engine: Engine, nodes: dict[str, Node]
) -> None:
    await asyncio.to_thread(nodes["three"].start)
    await until_spread(engine, {"head", "three"}, 30)
    assert (await asyncio.to_thread(status, engine.data))["nodes"]["three"]["shards"] == [3]
