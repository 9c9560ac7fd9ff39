"""Rooms that are read, through real links, shards and Postgres (NLP-2, NLP-4, NLP-8, NLP-10)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors import reading_host, verdict_queue
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.reading import inline_verdict
from nlp.conversation import Conversation, Verdict
from storage import erasing_matching, readings

TERMS: dict[str, Any] = {
    "scorer": "model", "policy": "hold", "deadline_ms": 2_000, "heads": ["sentiment"], "threshold": 0.5,
}  # fmt: skip
NASTY = "you are a horrible, disgusting liar and I hate you"


class Reader:
    """VADER, as slow as a test wants it."""

    def __init__(self) -> None:
        self.saw: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.is_broken = False

    async def score(self, texts: list[str], _: tuple[str, ...]) -> Sequence[Verdict | None]:
        self.saw += texts
        if self.is_broken:
            raise ConnectionError
        await self.open.wait()
        return [inline_verdict(text) for text in texts]


class Read:
    """A small engine with a reader, and one room."""

    def __init__(self, small: Any, room: str, ann: str, bob: str) -> None:
        self.small, self.room, self.ann, self.bob = small, room, ann, bob
        self.reader = Reader()
        self.lend()

    def lend(self) -> None:
        for shard in self.small.shards.values():
            shard.scorer = self.reader

    @property
    def number(self) -> int:
        return int(self.small.router.shard_of(slot_of("room", self.room)))

    @property
    def live(self) -> Any:
        """The room's reading in its shard."""
        return self.small.shards[self.number].activations["room", self.room].state.read

    async def terms(self, **terms: Any) -> Any:
        wanted = msgspec.json.encode({**TERMS, **terms}) if terms != {"off": True} else None
        return await self.small.ask(wire.SetTerms(0, f"room:{self.room}", self.ann, wanted))

    async def log(self) -> list[tuple[int, Any]]:
        page = await self.small.ask(wire.History(0, f"room:{self.room}", self.bob, 300, offset=0))
        return [(each["o"], each["d"]) for each in page["pubs"]]

    async def texts(self) -> list[str]:
        return [d["text"] for _, d in await self.log() if "text" in d]

    async def restart(self) -> None:
        number = self.number
        await self.small.shards[number].stop()
        await self.small.start_shard(number)
        self.lend()


@pytest.fixture
async def read(small) -> Read:
    ann, bob = await small.person(), await small.person()
    room = await small.room(ann, bob)
    await small.pool.execute("UPDATE room_members SET role = 'owner' WHERE user_id = $1", ann)
    return Read(small, room, ann, bob)


async def refused(what: Any) -> int:
    with pytest.raises(EngineError) as error:
        await what
    return int(error.value.code)


async def test_nothing_of_a_message_reaches_a_scorer_unless_the_room_is_read(read) -> None:
    """NLP-4: before the terms, after them, in the next activation, and in a room beside."""
    other = await read.small.room(read.ann, read.bob)
    canary = "canary, what a lovely bird"
    await read.small.publish(read.room, read.ann, canary)
    await read.terms(policy="pass")
    await read.small.publish(other, read.ann, canary)
    await read.small.publish(read.room, read.ann, "read me")
    await read.small.until(lambda: not read.live.pending)
    await read.terms(off=True)
    await read.small.publish(read.room, read.ann, canary)
    await read.restart()
    await read.small.publish(read.room, read.ann, canary)
    await read.terms(policy="pass", marks=True)
    assert set(read.reader.saw) <= {"read me"}
    assert read.reader.saw.count("read me") == 1


async def test_a_refused_message_is_stored_nowhere_and_stays_refused_after_a_kill(read) -> None:
    await read.terms()
    assert await refused(read.small.publish(read.room, read.ann, NASTY, cid="c1")) == ErrorCode.REJECTED
    assert await refused(read.small.publish(read.room, read.ann, NASTY)) == ErrorCode.REJECTED
    ok = await read.small.publish(read.room, read.ann, "good morning", cid="c2")
    await read.restart()
    read.reader.open.clear()
    assert await refused(read.small.publish(read.room, read.ann, "now it is nice", cid="c1")) == 123
    again = await read.small.publish(read.room, read.ann, NASTY, cid="c2")
    assert (again["o"], again["dup"]) == (ok["o"], True)
    assert await read.texts() == ["good morning"]
    stored = await read.small.pool.fetchval("SELECT string_agg(body::text, ' ') FROM messages")
    assert "horrible" not in stored


async def test_a_reader_that_hangs_holds_a_message_until_its_deadline_and_no_longer(read) -> None:
    """NLP-2; order per room is kept meanwhile, and another room is not touched."""
    read.reader.open.clear()
    await read.terms(deadline_ms=300)
    other = await read.small.room(read.ann)
    waiting = [
        asyncio.ensure_future(read.small.publish(read.room, user, f"{n} {NASTY}", cid=f"c{n}"))
        for n, user in enumerate([read.ann, read.bob, read.ann])
    ]
    await read.small.publish(other, read.ann, "at once")
    assert not any(each.done() for each in waiting)
    acks = await asyncio.gather(*waiting)
    assert [each["o"] for each in acks] == [2, 3, 4]
    assert [text[0] for text in await read.texts()] == list("012")
    figures = (await read.small.ask(wire.DynamicsQuery(0, f"room:{read.room}", read.bob)))["room"]
    assert (figures["messages"], figures["unscored"], figures["scored"]) == (3, 3, 0)
    read.reader.open.set()
    assert await refused(read.small.publish(read.room, read.ann, NASTY)) == ErrorCode.REJECTED


async def test_a_reader_that_is_not_there_or_fails_is_as_one_that_is_late(read) -> None:
    await read.terms()
    read.reader.is_broken = True
    assert (await read.small.publish(read.room, read.ann, NASTY))["o"] == 2
    for shard in read.small.shards.values():
        shard.scorer = None
    assert (await read.small.publish(read.room, read.ann, NASTY))["o"] == 3


async def test_what_is_retracted_is_gone_from_everywhere_for_good(read) -> None:
    first = await read.small.subscribe(f"room:{read.room}", read.bob)
    await read.terms(policy="retract")
    await read.small.publish(read.room, read.ann, "hello there")
    said = await read.small.publish(read.room, read.ann, NASTY, cid="c1")

    async def is_retracted() -> list[Any]:
        return [d for _, d in await read.log() if d.get("type") == "retract"]

    async with asyncio.timeout(10):
        while not await is_retracted():
            await read.small.until_next()
    for _ in range(2):
        log = dict(await read.log())
        assert log[said["o"]] == {"type": "retracted", "v": 1}
        assert [d for d in log.values() if d.get("type") == "retract"] == [
            {"type": "retract", "v": 1, "of": said["o"], "reason": "reading"}
        ]
        resumed = await read.small.subscribe(
            f"room:{read.room}", read.bob, epoch=first["epoch"], offset=first["offset"]
        )
        assert resumed["recovered"]
        assert NASTY not in str(resumed["pubs"])
        again = await read.small.publish(read.room, read.ann, NASTY, cid="c1")
        assert (again["o"], again["dup"]) == (said["o"], True)
        await read.restart()
    assert (
        await read.small.pool.fetchval("SELECT count(*) FROM messages WHERE body::text LIKE '%horrible%'")
        == 0
    )


async def test_a_message_whose_verdict_was_lost_with_the_shard_is_still_retracted(read) -> None:
    """At once, though nobody comes to the room."""
    await read.terms(policy="retract", deadline_ms=10_000)
    read.reader.open.clear()
    await read.small.publish(read.room, read.ann, NASTY)
    await read.small.shards.pop(read.number).stop()
    read.reader.open.set()
    async with asyncio.timeout(10):
        while await read.small.pool.fetchval("SELECT count(*) FROM messages WHERE body::text LIKE '%liar%'"):
            await read.small.until_next()
    assert [d["of"] for _, d in await read.log() if d.get("type") == "retract"] == [2]


async def test_each_message_counts_once_through_kills_and_hand_offs(read, monkeypatch) -> None:
    """NLP-8: what is counted is the same as of the whole log at once, wherever it was saved or not."""
    monkeypatch.setattr(reading_host, "SAVE_EVERY_MS", 0)
    await read.terms(policy="pass", marks=True, threshold=None)
    people = [read.ann, read.bob]
    for n in range(12):
        await read.small.publish(read.room, people[n % 2], f"is this number {n}, my friend?", ack="relay")
        if n == 3:
            await read.small.publish(read.room, read.ann, "x")
            await read.small.sweep()
        if n == 6:
            await read.small.publish(read.room, read.ann, "x")
            await read.restart()
        if n == 9:
            await read.small.publish(read.room, read.ann, "x")
            await read.small.retire_shard(read.number)
            await read.small.until(lambda: read.number in read.small.shards)
    await read.small.publish(read.room, read.ann, "the end")
    await read.small.until(lambda: not read.live.pending and not read.live.asked)
    await read.small.until(lambda: read.live.conversation.last_offset >= 2 * 16 + 1)
    log = await read.log()
    said = {o for o, d in log if "text" in d}
    marked = [d["of"] for _, d in log if d.get("type") == "reading"]
    assert sorted(marked) == sorted(said)
    counted = read.live.conversation
    assert (counted.quality.messages, counted.quality.scored) == (16, 16)
    assert counted.last_offset == len(log)
    await read.small.sweep()
    row = await readings.load(read.small.pool, read.room)
    assert Conversation.decoded(row.state).quality.messages <= 16


async def test_a_hand_off_waits_for_what_is_held_and_takes_what_is_pending_along(read) -> None:
    read.reader.open.clear()
    await read.terms(deadline_ms=600)
    before = read.number
    waiting = asyncio.ensure_future(read.small.publish(read.room, read.ann, "wait for me", cid="c"))
    await read.small.until(lambda: read.live.held)
    await read.small.retire_shard(before)
    assert (await waiting)["o"] == 2
    assert read.number != before
    await read.terms(policy="retract", deadline_ms=5_000)
    assert (await read.small.publish(read.room, read.ann, NASTY))["o"] == 4
    await read.small.start_shard(before)
    read.lend()
    await read.small.retire_shard(read.number)
    await read.small.subscribe(f"room:{read.room}", read.bob)
    assert read.number == before
    assert len(read.live.pending) > 0
    read.reader.open.set()
    async with asyncio.timeout(10):
        while await read.texts() != ["wait for me"]:
            await read.small.until_next()


async def test_terms_are_told_in_the_rooms_order_and_stand_in_its_row(read) -> None:
    ack = await read.terms()
    assert ack["o"] == 1
    assert await read.log() == [(1, {"type": "reading.terms", "v": 1, "user": read.ann, "reading": TERMS})]
    stored = await read.small.pool.fetchval("SELECT reading FROM rooms WHERE id = $1", read.room)
    assert msgspec.json.decode(stored) == TERMS
    off = await read.terms(off=True)
    assert (await read.log())[-1] == (
        off["o"],
        {"type": "reading.terms", "v": 1, "user": read.ann, "reading": None},
    )
    assert await read.small.pool.fetchval("SELECT count(*) FROM room_dynamics") == 0
    assert (await refused(read.small.ask(wire.DynamicsQuery(0, f"room:{read.room}", read.bob)))) == 108
    assert (await refused(read.small.ask(wire.SetTerms(0, f"room:{read.room}", read.bob, None)))) == 103


async def test_an_erased_person_is_named_in_no_figures(read, monkeypatch) -> None:
    monkeypatch.setattr(reading_host, "SAVE_EVERY_MS", 0)
    await read.terms(policy="pass")
    await read.small.publish(read.room, read.bob, "remember me")
    await read.small.until(lambda: not read.live.pending)
    await read.small.sweep()
    async with read.small.pool.acquire() as connection:
        saved = (await readings.load(connection, read.room)).state
        assert read.bob in saved
        async with connection.transaction():
            await erasing_matching.erase(connection, read.bob)
        assert read.bob not in (await readings.load(connection, read.room)).state
    await read.small.until(lambda: read.bob not in read.live.conversation.encoded().decode())
    await read.small.publish(read.room, read.ann, "one more")
    await read.small.until(lambda: not read.live.pending)
    await read.small.sweep()
    row = await readings.load(read.small.pool, read.room)
    assert read.bob not in row.state
    assert Conversation.decoded(row.state).quality.messages == 2


async def test_in_a_crowd_the_newest_are_read_first_so_that_some_are_read_in_time() -> None:
    reader = Reader()
    reader.open.clear()
    asks = verdict_queue.VerdictQueue(lambda: reader)
    told: list[int] = []
    for n in range(100):
        asks.ask(f"{n}", ("sentiment",), 30, lambda _, n=n: told.append(n))
        await asyncio.sleep(0)
    under_way = len(reader.saw)
    reader.open.set()
    async with asyncio.timeout(10):
        while len(told) < 100:
            await asyncio.sleep(0.01)
    assert sorted(told) == list(range(100))
    order = [int(text) for text in reader.saw[under_way:]]
    assert order[:8] == list(range(92, 100))
    left = len(order)
    while left > verdict_queue.CROWD:
        left -= verdict_queue.BATCH
    calm = order[-left:]
    assert calm == sorted(calm), "when the crowd is gone, in their turn"
    asks.stop()


async def test_what_waits_for_a_scorer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """NLP-2: the newest goes without, and everybody is told once."""
    monkeypatch.setattr(verdict_queue, "WAITING_LIMIT", 5)
    reader = Reader()
    reader.open.clear()
    asks = verdict_queue.VerdictQueue(lambda: reader)
    told: list[tuple[int, Verdict | None]] = []
    for n in range(50):
        asks.ask(f"text {n}", ("sentiment",), 0.2, lambda verdict, n=n: told.append((n, verdict)))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(told) < 50:
            await asyncio.sleep(0.01)
    assert sorted(n for n, _ in told) == list(range(50))
    assert len(reader.saw) <= verdict_queue.BATCH * verdict_queue.CALLS_LIMIT
    reader.open.set()
    asks.ask("again", ("sentiment",), 5, lambda verdict: told.append((50, verdict)))
    async with asyncio.timeout(5):
        while len(told) < 51:
            await asyncio.sleep(0.01)
    assert told[-1][1] is not None
    asks.stop()
