"""Clients behind a bad network, and the real engine: what they hold is whole, and they hurt nobody."""

import asyncio
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import psutil
import pytest
from rt_client.connection import Connection
from rt_client.faults import Faults
from rt_client.load import until
from rt_client.member import Member
from rt_client.town import Person, Town, pids
from rt_client.views import PresenceView

BODY = {"text": "x" * 7_900}

Tell = Callable[[str], None]


async def behind(town: Town, who: Person, codec: str = "json", **options: object) -> tuple[Member, Faults]:
    """A client whose every connection goes through a proxy of its own."""
    faults = await town.stack.enter_async_context(Faults(town.door, chance=random.Random(5)))
    member = Member(faults.door, who.user, who.token, codec=codec, backoff_last_s=1.0, **options)  # type: ignore[arg-type]
    town.members.append(member)
    return await town.stack.enter_async_context(member), faults


async def caught_up(members: list[Member], room: str, top: int, timeout_s: float = 30) -> None:
    await until(
        lambda: all(m.stream(room).offset >= top and m.stream(room).unsettled_from is None for m in members),
        timeout_s,
        "everybody has everything",
    )


async def test_frames_that_come_in_pieces_of_a_few_bytes_are_frames(town: Town, codec: str) -> None:
    """The upgrade, commands and pushes, torn anywhere."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    faults = await town.stack.enter_async_context(Faults(town.door))
    faults.piece_bytes = 3
    torn = await town.stack.enter_async_context(await Connection.open(await faults.door(), codec))
    await torn.connect(ann.token, subs={room: {}})
    whole = await town.connected(bob, codec)
    for number in range(5):
        await torn.pub(room, {"text": f"é{number}" * 20})
        await whole.pub(room, {"text": f"from the other {number}"})
    await torn.until(lambda frame: frame.get("m", {}).get("o") == 10)
    offsets = [frame["m"]["o"] for frame in torn.frames if "m" in frame]
    assert offsets == list(range(1, 11))


async def test_connections_that_are_reset_at_random_lose_nothing(town: Town, tell: Tell) -> None:
    """Late, in pieces, and reset again and again while everybody writes (RT-2, RT-9, CHAT-3)."""
    chance = random.Random(9)
    crowd = town.persons(3)
    room = await town.room(*crowd)
    far = [
        await behind(town, who, codec) for who, codec in zip(crowd, ("json", "msgpack", "json"), strict=True)
    ]
    members = [member for member, _ in far]
    for member, faults in far:
        faults.latency_s = (0.0, 0.02)
        faults.piece_bytes = 700
        await member.follow(room)

    async def write(member: Member) -> None:
        for number in range(40):
            await member.publish(room, {"text": f"{number}"}, ack=("durable", "relay")[number % 2])

    async def disturb() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            chance.choice(far)[1].reset()

    disturbing = asyncio.create_task(disturb())
    async with asyncio.timeout(60):
        await asyncio.gather(*(write(member) for member in members))
    disturbing.cancel()
    await caught_up(members, room, len(await town.history(room, crowd[0])))
    verdict = await town.verdict({room: crowd[0]})
    tell(f"resets: {sum(faults.opened for _, faults in far)} connections; {verdict}")
    assert verdict.faults == []
    assert verdict.resumes_recovered == verdict.resumes_within_limit > 0


async def test_a_reader_that_stops_is_cut_off_and_has_everything_afterwards(town: Town, tell: Tell) -> None:
    """FAN-4: 3008, then recovery; who sits beside it notices nothing."""
    ann, bob, cem = town.persons(3)
    room = await town.room(ann, bob, cem)
    slow, faults = await behind(town, ann)
    beside = await town.member(cem)
    writer = await town.member(bob)
    for member in (slow, beside, writer):
        await member.follow(room)
    connection = await slow.online()
    faults.down_carries.clear()
    sent = 0
    async with asyncio.timeout(60):
        while not connection.closed.done() and sent < 2_000:
            await asyncio.gather(*(writer.publish(room, BODY) for _ in range(10)))
            sent += 10
            if sent >= 1_000:
                faults.down_carries.set()
    assert (await connection.wait_closed(20)).code in (
        3008,
        None,
    )  # None: it had given up on the close as well
    top = len(await town.history(room, bob))
    await caught_up([slow, beside], room, top)
    verdict = await town.verdict({room: bob})
    tell(f"a reader that stopped: {sent} publications of 8 KiB; {verdict}")
    assert verdict.faults == []
    assert slow.connects == 2
    assert beside.connects == 1


async def fall_silent(town: Town) -> None:
    """Nothing passes any more and nobody is told: a phone in a tunnel (PRE-2, close 3012)."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    silent, faults = await behind(town, ann, device="phone")
    await silent.follow(room)
    watcher = await town.member(bob)
    await watcher.follow(room)
    present = await watcher.follow(f"presence:{room}", mode="map")
    assert isinstance(present, PresenceView)
    await until(lambda: present.users() == {ann.user, bob.user}, 10, "both are there")
    faults.carries.clear()
    gone_s = await until(lambda: present.users() == {bob.user}, 75, "the silent one has left")
    assert gone_s > 15  # not before it could have come back
    for number in range(20):
        await watcher.publish(room, {"text": str(number)})
    connection = await silent.online()
    faults.carries.set()
    closed = await connection.wait_closed(20)
    assert closed.code in (3012, None)  # None: the gateway had given up waiting for the close to be answered
    await caught_up([silent, watcher], room, 20)
    await until(lambda: present.users() == {ann.user, bob.user}, 10, "both are there again")
    verdict = await town.verdict({room: bob})
    assert verdict.faults == []
    assert verdict.resumes_recovered == verdict.resumes_within_limit == 1


@pytest.mark.timeout(120)
@pytest.mark.beside(scenario=fall_silent)
def test_a_client_in_a_tunnel_leaves_and_comes_back_whole(beside: Callable[..., None]) -> None:
    beside(fall_silent)


async def test_upgrades_that_never_end_keep_nobody_out(town: Town, tell: Tell) -> None:
    """Slow loris: hundreds of sockets that say a byte of their upgrade now and then, or nothing at all."""
    parts = urlsplit(await town.door())
    host, port = parts.hostname or "", parts.port or 0
    sockets = []
    for number in range(300):
        one = socket.create_connection((host, port), timeout=5)
        sockets.append(one)
        if number % 3:
            one.sendall(b"GET /rt HTTP/1.1\r\nHost: x\r\n"[: 1 + number % 25])
    try:
        me = town.person()
        room = await town.room(me)
        async with asyncio.timeout(10):
            connection = await town.connected(me, subs={room: {}})
            assert (await connection.pub(room, {"text": "in"}))["o"] == 1
        await asyncio.to_thread(_until_closed, sockets, 25.0)
        ended = sum(_is_closed(each) for each in sockets)
        tell(f"slow loris: {ended} of {len(sockets)} sockets without an upgrade were ended")
        assert ended == len(sockets)
        assert (await connection.pub(room, {"text": "still in"}))["o"] == 2
    finally:
        for each in sockets:
            each.close()


def _is_closed(each: socket.socket) -> bool:
    each.setblocking(False)
    try:
        return each.recv(4096) == b"" or _is_closed(each)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _until_closed(sockets: list[socket.socket], limit_s: float) -> None:
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + limit_s and not all(_is_closed(each) for each in sockets):
        for each in sockets[::7]:
            with suppress(OSError):
                each.send(b"\r"[:1])
        time.sleep(0.5)


async def test_many_that_connect_at_once_all_get_in(town: Town, tell: Tell) -> None:
    """A herd after an outage: 200 at the same moment, each with its subscription."""
    crowd = town.persons(200)
    room = await town.room(*crowd[:50])

    async def come(who: Person, codec: str) -> Connection:
        connection = await Connection.open(town.known_door, codec)
        answer = await connection.connect(who.token, subs={room: {}} if who in crowd[:50] else {})
        assert answer["user"] == who.user
        return connection

    await town.door()
    begun_s = time.monotonic()
    async with asyncio.timeout(60):
        here = await asyncio.gather(
            *(come(who, ("json", "msgpack")[number % 2]) for number, who in enumerate(crowd))
        )
    tell(f"a herd: 200 connected in {time.monotonic() - begun_s:.1f} s")
    assert (await here[0].pub(room, {"text": "all here"}))["o"] == 1
    for connection in here[:50]:
        await connection.until(lambda frame: frame.get("m", {}).get("o") == 1, timeout_s=10)
    await asyncio.gather(*(connection.close() for connection in here))


async def test_a_flood_of_full_messages_hurts_nobody_else(town: Town, tell: Tell) -> None:
    """Five send 64 KiB messages of publications as fast as they are taken: others are served, what gateways
    and shards hold stays bounded, and whatever is refused is told to be temporary."""
    ann, *floods = town.persons(6)
    rooms = [await town.room(who) for who in floods]
    own = await town.room(ann)
    calm = await town.connected(ann, subs={own: {}})
    titles = ("hereabouts-gateway", "hereabouts-shard")
    servers = {pid for title in titles for pid in pids(town.data, title)}
    before = most = _rss_bytes(servers)
    refused: list[dict[str, object]] = []
    stop = asyncio.Event()

    async def flood(who: Person, room: str) -> int:
        connection = await town.connected(who)
        connection.on_frame = lambda frame: refused.append(frame["err"]) if "err" in frame else None
        sent = 0
        while not stop.is_set() and not connection.closed.done() and sent < 1_200:
            frames = [connection.start("pub", {"ch": room, "d": BODY})[0] for _ in range(8)]
            await connection.send(*frames)
            sent += len(frames)
            await asyncio.sleep(0)
        return sent

    flooding = [asyncio.create_task(flood(who, room)) for who, room in zip(floods, rooms, strict=True)]
    slowest_s = 0.0
    for number in range(25):
        begun_s = time.monotonic()
        answer = await calm.command("pub", {"ch": own, "d": {"text": "calm"}}, timeout_s=20)
        assert answer["o"] == number + 1
        slowest_s = max(slowest_s, time.monotonic() - begun_s)
        most = max(most, _rss_bytes(servers))
        await asyncio.sleep(0.05)
    stop.set()
    sent = sum(await asyncio.gather(*flooding))
    tell(
        f"a flood: {sent} publications of 8 KiB sent, {len(refused)} refused; somebody else waited at most "
        f"{slowest_s:.2f} s; gateways and shards grew by {(most - before) / 2**20:.0f} MiB"
    )
    assert all(err["temp"] for err in refused)
    assert most - before < 300 * 2**20


def _rss_bytes(pids: set[int]) -> int:
    """What processes hold in memory."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
