"""What an operator may ask of a supervisor, how it is asked, and what is refused before anything starts."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.metrics import METRICS
from cluster import engine, layout, orders, processes
from cluster.errors import OperatorError
from cluster.joined import Joining, find_head, join
from cluster.layout import Layout
from cluster.orders import Orders, Tell
from cluster.ports import BLOCK, FIRST, choose_block
from cluster.ray_head import write_front_wrapper

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Layout]:
    found = layout.layout_of(tmp_path / "data")
    layout.prepare(found)
    yield found
    shutil.rmtree(found.run, ignore_errors=True)


async def test_orders_are_carried_out_one_at_a_time_and_say_how_it_goes(place: Layout) -> None:
    running: list[str] = []
    most = 0

    async def scale(order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        nonlocal most
        running.append(order["order"])
        most = max(most, len(running))
        tell(f"to {order['shards']}")
        await asyncio.sleep(0)
        running.pop()
        return {"shards": list(range(order["shards"]))}

    taking = Orders(place, {"scale": scale})
    await taking.listen()
    said: list[str] = []
    answers = await asyncio.gather(
        *(orders.give(place, {"order": "scale", "shards": n}, said.append) for n in (1, 2, 3))
    )
    assert [answer["shards"] for answer in answers] == [[0], [0, 1], [0, 1, 2]]
    assert sorted(said) == ["to 1", "to 2", "to 3"]
    assert most == 1
    assert (place.run / "supervisor.sock").stat().st_mode & 0o777 == 0o600
    taking.close()


async def test_what_an_operator_did_wrong_reaches_the_operator(place: Layout) -> None:
    async def refuse(_order: dict[str, Any], _tell: Tell) -> dict[str, Any]:
        raise OperatorError("this can't be", "do that")

    taking = Orders(place, {"scale": refuse})
    await taking.listen()
    with pytest.raises(OperatorError, match="this can't be\n  fix: do that"):
        await orders.give(place, {"order": "scale"}, print)
    with pytest.raises(OperatorError, match="no place for `fly`"):
        await orders.give(place, {"order": "fly"}, print)
    taking.close()


async def test_an_order_to_nobody_says_so(place: Layout) -> None:
    with pytest.raises(OperatorError, match="no engine or node runs on"):
        await orders.give(place, {"order": "scale"}, print)


def running_engine(place: Layout, port: int, ray_port: int) -> None:
    """The state file of an engine whose supervisor is this process."""
    me = processes.identify(os.getpid())
    assert me is not None
    place.ray_token.write_text("the token\n")
    state = engine.EngineState(
        supervisor=me, url="", gateway_url="", mode="development", privacy_k=1, run_dir=str(place.run),
        started_at="", mark="", node="head", host="127.0.0.1", directory="",
        ray_address=f"127.0.0.1:{ray_port}",
        ray_token_path=str(place.ray_token), ports={"http": port, "ray": ray_port},
    )  # fmt: skip
    engine.write(place.state, state)
    layout.announce(place)


async def test_the_head_is_found_on_this_machine_by_either_port(place: Layout, tmp_path: Path) -> None:
    running_engine(place, 65_001, 65_002)
    for port in (65_001, 65_002):
        head = find_head(Joining(f"127.0.0.1:{port}", tmp_path / "two"))
        assert (head.ray_address, head.token) == ("127.0.0.1:65002", "the token")
    with pytest.raises(OperatorError, match=r"no engine of yours with port 65003(.|\n)*--token-file"):
        find_head(Joining("127.0.0.1:65003", tmp_path / "two"))


async def test_an_engine_elsewhere_takes_the_address_and_a_token_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("of another\n")
    head = find_head(Joining("10.0.0.5:6379", tmp_path / "two", token_file=token))
    assert (head.ray_address, head.token) == ("10.0.0.5:6379", "of another")
    with pytest.raises(OperatorError, match="cannot read the token file"):
        find_head(Joining("10.0.0.5:6379", tmp_path / "two", token_file=tmp_path / "none"))


@pytest.mark.parametrize("name", ["head", "Two", "-two", "a" * 33, "two three", "../two"])
async def test_a_node_has_a_plain_name_of_its_own(tmp_path: Path, name: str) -> None:
    joining = Joining("127.0.0.1:1", tmp_path / "two", name=name)
    with pytest.raises(OperatorError, match="can't be a node's name"):
        await join(joining, {}, print, print)


async def test_a_host_without_a_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="is not HOST:PORT"):
        find_head(Joining("localhost", tmp_path / "two"))


def test_ports_stay_from_one_start_to_the_next_if_they_are_free() -> None:
    import random  # noqa: PLC0415
    import socket  # noqa: PLC0415

    first = choose_block(random.Random(1))
    assert choose_block(random.Random(2), first[0]) == first
    with socket.socket() as taken:
        taken.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as is_free: what another engine closed lingers
        taken.bind(("127.0.0.1", first[5]))
        taken.listen()
        assert choose_block(random.Random(2), first[0]) != first
    assert choose_block(random.Random(2), FIRST + 1)[0] % BLOCK == FIRST % BLOCK


@pytest.mark.parametrize(
    ("bind", "listens"),
    [
        ("127.0.0.1", ["bind 127.0.0.1:8000"]),
        ("10.0.0.5", ["bind 127.0.0.1:8000", "bind 10.0.0.5:8000"]),
        ("0.0.0.0", ["bind 0.0.0.0:8000"]),
        ("fd00::5", ["bind 127.0.0.1:8000", "bind [fd00::5]:8000"]),
    ],
)
async def test_the_front_listens_where_it_is_told_and_nowhere_else(
    place: Layout, bind: str, listens: list[str]
) -> None:
    """The wrapper mends a configuration as Serve writes it; its last line starts the real program."""
    write_front_wrapper(place, bind, 8000)
    script = (place.run / "haproxy").read_text()
    (place.run / "haproxy").write_text(script.replace("exec ", "exit 0 "))
    configuration = place.run / "haproxy.cfg"
    configuration.write_text("frontend http\n    bind 127.0.0.1:8000\nfrontend stats\n    bind *:8404\n")
    done = await asyncio.create_subprocess_exec(place.run / "haproxy", "-db", "-f", configuration)
    assert await done.wait() == 0
    lines = [line.strip() for line in configuration.read_text().splitlines() if "bind" in line]
    assert lines == [*listens, "bind 127.0.0.1:8404"]


def test_every_metric_stands_on_the_operators_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    missing = [
        name
        for name, metric in METRICS.items()
        if f"| `{name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.doc} |" not in page
    ]
    assert not missing, json.dumps(missing)
