"""The link between an Api process and the Matcher: its answers, and what becomes of them when it is cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from match_people import matcher, person

from actors import messages as wire
from actors.link import dial
from actors.site import Site
from serve_app import match_link
from serve_app.match_link import LinkLostError, MatchLink, MatchListener, RefusedError
from storage.ids import new_id

NODE, OTHER_NODE = Site("a", "127.0.0.1", "the secret"), Site("b", "127.0.0.1", "the secret")


@asynccontextmanager
async def linked(find, site=NODE) -> AsyncIterator[MatchLink]:
    link = MatchLink(find, site)
    keeping = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def said(answer):
    """Without sources and their order, which change when vectors have been made."""
    return sorted((row.user, row.score, row.forward, row.backward, row.why) for row in answer.rows)


async def until_open(link):
    async with asyncio.timeout(30):
        while not link.is_open:
            await asyncio.sleep(0.01)


@pytest.fixture
async def replica(pool, database_url, tmp_path):
    """A Matcher that knows three people, and where it takes links."""
    people = [await person(pool, interests=["jazz"]) for _ in range(3)]
    async with matcher(database_url) as service:
        listener = MatchListener(service)
        address = await listener.listen(str(tmp_path), NODE)
        yield service, listener, address, people
        listener.close()


@pytest.mark.parametrize("site", [NODE, OTHER_NODE])
async def test_the_link_says_what_the_matcher_says(replica, site):
    service, _, address, (viewer, near, _) = replica

    async def find():
        return address

    async with linked(find, site) as link:
        await until_open(link)
        for around in ([], [(near, 100.0)]):
            expected = await service.recommend(viewer, around, 5, "champion")
            assert len(expected.rows) == 2
            answer = await link.recommend(viewer, around, 5, "champion")
            assert answer.model == expected.model
            assert said(answer) == said(expected)


async def test_who_waits_when_the_replica_goes_is_told_and_its_successor_is_found(replica, tmp_path):
    service, listener, address, people = replica
    addresses = [address]

    async def find():
        return addresses[-1]

    async with linked(find) as link:
        with pytest.raises(LinkLostError):
            await link.recommend(people[0], [], 5, "champion")
        await until_open(link)
        async with service._reading:  # who asks about a stranger waits for this
            waiting = asyncio.create_task(link.recommend(new_id(), [], 5, "champion"))
            while not listener._answering:
                await asyncio.sleep(0)
            listener.close()
            with pytest.raises(LinkLostError):
                await waiting
        assert not link.is_open
        successor = MatchListener(service)
        (tmp_path / "next").mkdir()
        addresses.append(await successor.listen(str(tmp_path / "next"), NODE))
        await until_open(link)
        assert len((await link.recommend(people[0], [], 5, "champion")).rows) == 2
        successor.close()


async def test_what_cannot_be_answered_is_refused_and_the_link_stays(replica, monkeypatch):
    service, listener, address, people = replica

    async def find():
        return address

    async with linked(find) as link:
        await until_open(link)
        monkeypatch.setattr(match_link, "ANSWERING_LIMIT", 1)
        async with service._reading:
            waiting = asyncio.create_task(link.recommend(new_id(), [], 5, "champion"))
            while not listener._answering:
                await asyncio.sleep(0)
            with pytest.raises(RefusedError):
                await link.recommend(people[0], [], 5, "champion")
        assert (await waiting).rows == []
        await service._pool.close()
        with pytest.raises(RefusedError):
            await link.recommend(new_id(), [], 5, "champion")
        assert len((await link.recommend(people[0], [], 5, "champion")).rows) == 2


async def test_a_peer_that_asks_for_something_else_is_cut_off(replica):
    _, _, address, _ = replica
    closed = asyncio.Event()

    class Peer:
        def link_opened(self, link):
            pass

        def link_received(self, link, view_version, messages):
            pass

        def link_closed(self, link):  # noqa: ARG002
            closed.set()

    link = await dial(address, Peer(), NODE)
    link.send(wire.StatusQuery(1))
    await asyncio.wait_for(closed.wait(), 30)
