"""An engine on an address that other machines reach, with a database and Redis of somebody else's, and a node
that comes to it with nothing but the Ray address and the token. Both are on this machine, but not on
loopback; that two machines have a network between them is not what is tested."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rt_client.engine import Engine
from rt_client.node import Node
from rt_client.town import Town, endless_people, status

from cluster.embedded.binaries import valkey_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def own_address() -> str:
    """The address that this machine would send from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


ADDRESS = own_address()


@pytest.fixture
def redis_url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [valkey_program(None), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    yield f"redis://127.0.0.1:{port}"
    server.terminate()
    server.wait(10)


@pytest.mark.skipif(not ADDRESS or ADDRESS.startswith("127."), reason="this machine has only loopback")
async def test_a_node_elsewhere_joins_with_the_address_and_the_token(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEREABOUTS_DATABASE_URL", database_url)  # as its operator has it, for dev-users
    engine = Engine(
        tmp_path / "data",
        HEREABOUTS_BIND=ADDRESS,
        HEREABOUTS_DATABASE_URL=database_url,
        HEREABOUTS_REDIS_URL=redis_url,
    )
    node = None
    try:
        await asyncio.to_thread(engine.start)
        ray = (await asyncio.to_thread(status, engine.data))["ray"]
        assert ray["address"].startswith(f"{ADDRESS}:")
        token = tmp_path / "token"
        token.write_text(Path(ray["token_path"]).read_text())
        node = Node(
            engine, tmp_path / "far", "far", head=ray["address"],
            options=("--bind", ADDRESS, "--token-file", str(token)),
        )  # fmt: skip
        await asyncio.to_thread(node.start)
        assert urlsplit(node.url).hostname == ADDRESS
        for _ in range(60):
            found = await asyncio.to_thread(status, engine.data)
            if found["nodes"].get("far") == {"shards": [2], "gateways": 1}:
                break
            time.sleep(0.5)
        assert all(shard["slots"] > 0 for shard in found["directory"]["shards"].values())
        async with AsyncExitStack() as stack:
            people = endless_people(engine.data, at_once=4)
            town = Town(engine.url, engine.data, people, stack, known_door=node.url)
            writer, reader = town.person(), town.person()
            rooms = [await town.room(writer, reader) for _ in range(6)]  # on all shards
            for room in rooms:
                member = await town.member(reader)
                await member.follow(room)
                assert (await town.http("POST", f"/v1/rooms/{room[5:]}/messages",
                                        {"d": {"text": "hello"}, "cid": "1", "ack": "durable"}, writer)
                        ).status == 201  # fmt: skip
    finally:
        if node is not None:
            await asyncio.to_thread(node.stop)
        await asyncio.to_thread(engine.stop)
