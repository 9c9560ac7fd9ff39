"""How a gateway leaves (FAN-5): out of the view, then its clients in paced batches, then it is gone."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rt_client.connection import Connection as Client

from actors import messages as wire
from actors.directory import Directory, DirectoryConfig
from actors.probe import ask, fetch_status
from actors.site import Site
from identity.keys import SigningKey, ensure_signing_key
from identity.tokens import issue_access_token
from serve_app import roster
from serve_app.control import control_address
from serve_app.gateway import GatewayConfig, GatewayService
from storage.ids import new_id


@pytest.fixture
async def directory(database_url: str, run_dir: str) -> AsyncIterator[Directory]:
    found = Directory(DirectoryConfig(run_dir, database_url, 1))
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def services(
    directory: Directory, database_url: str, run_dir: str
) -> AsyncIterator[list[GatewayService]]:
    """Two gateways of a node, on one port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for number in range(2):
        config = GatewayConfig(run_dir, "127.0.0.1", port, database_url, (), Site("n1"), number=number)
        started.append(GatewayService(config))
        await started[-1].start()
    await until(lambda: len(directory.view().gateways) == 2)
    yield started
    for service in started:
        await service.stop()


async def until(fact: Any, limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not fact():
            await asyncio.sleep(0.01)


async def connected(service: GatewayService, key: SigningKey) -> Client:
    client = await Client.open(service.url, "json")
    await client.connect(issue_access_token(key, user=new_id(), now_s=time.time()))
    return client


def bye(client: Client) -> dict[str, Any]:
    return next((frame["bye"] for frame in client.frames if "bye" in frame), {})


async def test_a_gateway_that_is_told_to_leave_sends_its_clients_to_another(
    services: list[GatewayService], directory: Directory, pool: Any, run_dir: str
) -> None:
    """The kernel spreads clients over the two; all of one's are told to go to the other, and may."""
    key = await ensure_signing_key(pool, "secret" * 10)
    clients = [await connected(services[0], key) for _ in range(12)]
    leaving, staying = services
    assert len(leaving.roster.sessions) + len(staying.roster.sessions) == 12
    before = len(leaving.roster.sessions)
    answer = await ask(control_address(run_dir, 0), wire.Drain(0), timeout_s=10)
    assert answer == {"sockets": before}
    sent_away = [client for client in clients if bye(client)]
    assert len(sent_away) == before
    for client in sent_away:
        assert bye(client)["code"] == (await client.wait_closed()).code == 3001
        assert bye(client)["to"] == staying.url
        assert bye(client)["retry_ms"] < 5000
    await until(lambda: sorted(directory.view().gateways.values()) == ["", staying.url])
    assert await ask(control_address(run_dir, 0), wire.StatusQuery(0)) | {"view": 0, "pid": 0} == {
        "pid": 0, "node": "n1", "sockets": 0, "draining": True, "view": 0,
    }  # fmt: skip
    back = [await connected(staying, key) for _ in range(4)]
    assert len(staying.roster.sessions) == 12 - before + 4
    for client in (*clients, *back):
        await client.close()
    assert "" in (await fetch_status(run_dir))["gateways"].values()


async def test_a_full_gateway_lets_its_clients_go_in_batches(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "DRAIN_PER_S", 400)
    connections = [await gateway.connected() for _ in range(60)]
    draining = asyncio.create_task(gateway.roster.drain(lambda: "ws://other/rt"))
    await asyncio.sleep(0)
    gone = sum(connection.ended is not None for connection in connections)
    assert 0 < gone < 60
    assert await draining == 60
    byes = [connection.frames()[-1]["bye"] for connection in connections]
    assert {(bye["code"], bye["to"]) for bye in byes} == {(3001, "ws://other/rt")}
    assert len({bye["retry_ms"] for bye in byes}) > 20
