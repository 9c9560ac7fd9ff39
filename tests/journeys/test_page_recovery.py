"""The page when its connection breaks: nothing lost, nothing twice, nobody asked to sign in again."""

import json
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, WebSocketRoute, expect
from rt_client.browser import Chromium, Visitor
from rt_client.town import Person, Town


@pytest.fixture
async def browser(town: Town) -> AsyncIterator[Chromium]:
    async with Chromium(town.url) as running:
        yield running


class Wire:
    """The page's WebSockets, which a test can cut, and whose next ack of a publication it can swallow."""

    def __init__(self) -> None:
        self.sockets: list[WebSocketRoute] = []
        self.swallows = False

    @classmethod
    async def of(cls, page: Page) -> "Wire":
        wire = cls()
        await page.route_web_socket(re.compile("/rt$"), wire.opened)
        return wire

    def opened(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        self.sockets.append(socket)

        def pass_on(message: str | bytes) -> None:
            if self.swallows and any("pub" in json.loads(line) for line in str(message).splitlines()):
                self.swallows = False
                return
            socket.send(message)

        server.on_message(pass_on)

    async def cut(self) -> None:
        await self.sockets[-1].close(code=1011, reason="cut by the test")


async def in_a_room(town: Town, browser: Chromium) -> tuple[Visitor, Wire, str, Person]:
    """A visitor in a room that somebody else owns."""
    owner = town.person()
    visitor = await browser.visitor()
    wire = await Wire.of(visitor.page)
    me = await visitor.join()
    room = await town.room(owner, Person(me.user, me.handle, me.token), name="The kitchen")
    await visitor.open_room("The kitchen")
    await expect(visitor["#talk-title"]).to_have_text("The kitchen")
    return visitor, wire, room, owner


async def test_a_cut_loses_no_message_and_doubles_none(town: Town, browser: Chromium) -> None:
    """The ack of one is lost, another is said in the gap, and so is one by somebody else."""
    visitor, wire, room, owner = await in_a_room(town, browser)
    host = await town.connected(owner)
    await visitor.say("one")
    await expect(visitor["#messages .mine:not(.pending) p"]).to_have_text(["one"])

    wire.swallows = True
    await visitor.say("two")
    await visitor.page.wait_for_function("() => document.querySelectorAll('#messages .mine').length === 2")
    await wire.cut()
    await expect(visitor["#state"]).not_to_have_attribute("data-state", "live")
    await visitor.say("three")
    await host.pub(room, {"text": "from elsewhere"}, cid="elsewhere", ack="durable")
    await visitor.is_live()
    await expect(visitor["#messages .pending"]).to_have_count(0)
    said = await visitor["#messages p"].all_text_contents()
    assert sorted(said) == ["from elsewhere", "one", "three", "two"]
    stored = await town.http("GET", f"/v1/rooms/{room[5:]}/messages", who=owner)
    texts = [m["d"]["text"] for m in stored.body["items"] if "text" in m["d"]]
    assert texts == said
    assert len(wire.sockets) == 2


async def test_more_than_a_recovery_holds_is_read_anew(town: Town, browser: Chromium) -> None:
    visitor, wire, room, owner = await in_a_room(town, browser)
    host = await town.connected(owner)
    await visitor.page.context.set_offline(True)  # so that it can't come back at once
    await wire.cut()
    for number in range(310):
        await host.pub(room, {"text": f"message {number}"}, cid=f"m{number}", ack="relay")
    await visitor.page.context.set_offline(False)
    await visitor.is_live()
    await expect(visitor["#messages p"].last).to_have_text("message 309")
    shown = await visitor["#messages p"].all_text_contents()
    assert shown == [f"message {number}" for number in range(310 - len(shown), 310)]
    await visitor["#earlier"].click()
    await expect(visitor["#messages p"]).to_have_count(len(shown) + 50)


async def test_who_is_taken_out_of_a_room_is_told(town: Town, browser: Chromium) -> None:
    visitor, _, room, owner = await in_a_room(town, browser)
    members = (await town.http("GET", f"/v1/rooms/{room[5:]}", who=owner)).body["members"]
    other = next(member["user"] for member in members if member["user"] != owner.user)
    gone = await town.http("DELETE", f"/v1/rooms/{room[5:]}/members/{other}", who=owner)
    assert gone.status == 204
    await expect(visitor["#talk-title"]).to_have_text("Rooms")
    await expect(visitor["#rooms li"]).to_have_count(0)


async def test_the_token_is_renewed_before_it_runs_out(browser: Chromium) -> None:
    context = await browser.profile()
    page = await context.new_page()
    await page.clock.install()
    await page.goto(browser.url)
    visitor = Visitor(page, (1440, 900))
    await visitor.join()
    async with page.expect_response("**/v1/auth/refresh") as renewed:
        await page.clock.fast_forward("08:00")
    assert (await renewed.value).status == 200
    await page.clock.fast_forward("00:30")
    await visitor.is_live()
    await expect(visitor["#door"]).to_be_hidden()
