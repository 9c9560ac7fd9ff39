"""The page at `/`, in a real Chromium, against a real engine."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect
from rt_client.browser import PHONE, WIDE, Chromium, Visitor
from rt_client.town import Person, Town
from rt_client.walk import Clock, Place


@pytest.fixture
async def browser(town: Town) -> AsyncIterator[Chromium]:
    """A browser whose pages must neither complain nor ask another host for anything."""
    async with Chromium(town.url) as running:
        yield running
    assert running.complaints == []
    assert running.hosts <= {"127.0.0.1"}


async def fence_with_room(town: Town, owner: Person, place: Place, name: str) -> str:
    """A fence of 600 m around a place, and its room; the room's id."""
    fence = await town.http("POST", "/v1/fences", place.square(300, name=name), owner)
    assert fence.status == 201, fence
    wanted = {"name": name, "kind": "place", "fence": fence.body["id"]}
    room = await town.http("POST", "/v1/rooms", wanted, owner)
    assert room.status == 201, room
    return str(room.body["id"])


async def test_one_click_joins_and_the_page_is_live(browser: Chromium) -> None:
    visitor = await browser.visitor()
    handle = (await visitor.join()).handle
    await expect(visitor["#handle"]).to_have_text(handle)
    await expect(visitor["#door"]).to_be_hidden()
    assert "#" not in visitor.page.url
    assert "token" not in visitor.page.url


async def test_nothing_inline_and_nothing_foreign_is_allowed(browser: Chromium) -> None:
    visitor = await browser.visitor()
    answer = await visitor.page.request.get(browser.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert await visitor["style, script:not([src])"].count() == 0


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1440", "390"])
async def test_nothing_overflows_and_every_part_is_reached(browser: Chromium, size: tuple[int, int]) -> None:
    visitor = await browser.visitor(size)
    await visitor.join()
    for view in ("map", "near", "events", "talk"):
        await visitor.show(view)
        await expect(visitor[f"#{view}"]).to_be_visible()
        assert await visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await visitor.page.evaluate("document.documentElement.scrollHeight <= innerHeight")


async def test_somebody_near_appears_moves_and_goes(town: Town, browser: Chromium) -> None:
    """As a coarse cell with handle and band: in the list, on the map and in the events."""
    place, clock = Place(), Clock()
    other = town.person()
    walker = await town.connected(other)
    visitor = await browser.visitor()
    await visitor.join()
    await visitor.look_at(place)
    await visitor.stand_at_the_middle()

    await walker.command("pos", [*place.snapped(0, 0), 5, clock.after(1)])
    row = visitor[f"#people li[data-user='{other.user}']"]
    await expect(row).to_contain_text(other.handle)
    await expect(row).to_contain_text("under 1 km")
    await expect(visitor["#chart .chip"]).to_have_count(1)
    await expect(visitor["#chart .cell"]).to_have_count(1)
    await expect(visitor["#feed"]).to_contain_text(f"{other.handle} is near")

    # Two km on: the cell that others see follows when it is clear that they have left it.
    for _ in range(4):
        await walker.command("pos", [*place.snapped(1_150, 1_900), 5, clock.after(40)])
    await expect(row).to_contain_text("under 2 km")
    await expect(visitor["#feed"]).to_contain_text(f"{other.handle} moved away")

    for _ in range(5):
        await walker.command("pos", [*place.at(5_500), 5, clock.after(120)])
    await expect(row).to_have_count(0)
    await expect(visitor["#feed"]).to_contain_text(f"{other.handle} is no longer near")


async def test_a_person_who_joins_is_hidden_until_they_choose(town: Town, browser: Chromium) -> None:
    place, clock = Place(), Clock(60)
    watcher = town.person()
    near = await town.connected(watcher)
    await near.command("pos", [*place.at(0), 5, clock.after(1)])
    visitor = await browser.visitor()
    me = await visitor.join()
    await visitor.look_at(place)
    await visitor.stand_at_the_middle()
    await expect(visitor["#hint-text"]).to_contain_text("Only your connections")

    async def band() -> list[str]:
        looked = await town.http("GET", "/v1/people/near", who=watcher)
        return [row["band"] for row in looked.body["items"] if row["user"] == me.user]

    assert await band() == []

    await visitor["#appear"].click()
    await expect(visitor["#audience"]).to_have_value("everyone")
    await expect(visitor["#hint"]).to_be_hidden()
    for _ in range(300):
        if await band():
            break
        await asyncio.sleep(0.1)
    assert await band() == ["<1"]


async def test_walking_into_a_fence_leads_to_its_room_and_people_talk(town: Town, browser: Chromium) -> None:
    place, owner = Place(), town.person()
    name = f"Pier {owner.handle}"
    room = await fence_with_room(town, owner, place, name)
    visitor = await browser.visitor()
    handle = (await visitor.join()).handle
    await visitor.look_at(place)
    await visitor[f"#fences li:has-text('{name}') input"].check()
    await visitor.stand_at_the_middle()
    await expect(visitor["#feed"]).to_contain_text(name)
    await expect(visitor[f"#fences li:has-text('{name}')"]).to_contain_text("you are inside")
    await visitor.open_room(name)
    await expect(visitor["#messages"]).to_contain_text(f"{handle} joined")

    host = await town.connected(owner)
    await host.sub(f"room:{room}")
    await expect(visitor["#talk-count"]).to_have_text("2 here")
    markup = "<img src=x onerror=document.title='owned'> & <b>hello</b>"
    await host.pub(f"room:{room}", {"text": markup}, cid="markup", ack="durable")
    await expect(visitor["#messages p"]).to_have_text([markup])
    assert await visitor["#messages img, #messages p b"].count() == 0

    await visitor.say("Hello to you")
    await expect(visitor["#messages .mine p"]).to_have_text("Hello to you")
    await expect(visitor["#messages .pending"]).to_have_count(0)
    await host.until(lambda frame: "m" in frame and frame["m"]["d"].get("text") == "Hello to you")


async def test_two_people_who_are_near_begin_to_talk(browser: Chromium) -> None:
    """One asks the other in, who takes it up; each sees that the other is there, and types."""
    place = Place()
    one, other = await browser.visitor(), await browser.visitor(PHONE)
    names = [(await each.join()).handle for each in (one, other)]
    for each in (one, other):
        await each.look_at(place)
        await each.stand_at_the_middle()
        await each["#appear"].click()
    await one[f"#people li:has-text('{names[1]}') summary"].click()
    await one["#people .menu button:has-text('Talk')"].click()
    await expect(one["#talk-title"]).to_have_text(names[1])

    await other.show("events")
    await expect(other["#feed"]).to_contain_text(f"{names[0]} invites you to {names[0]}")
    await other.open_room(names[0])
    await expect(one["#talk-count"]).to_have_text("2 here")
    await expect(other["#talk-count"]).to_have_text("2 here")
    await expect(one["#people li .avatar"]).to_have_class(re.compile("online"))
    await other["#say input"].press_sequentially("Hel")
    await expect(one["#typing"]).to_have_text(f"{names[1]} is typing…")
    await other.say("Hello!")
    await expect(one["#messages p"]).to_have_text(["Hello!"])
    await expect(one["#typing"]).to_have_text("")


async def test_a_request_to_connect_is_accepted_where_it_is_told(browser: Chromium) -> None:
    place = Place()
    one, other = await browser.visitor(), await browser.visitor()
    names = [(await each.join()).handle for each in (one, other)]
    for each in (one, other):
        await each.look_at(place)
        await each.stand_at_the_middle()
        await each["#appear"].click()
    await one[f"#people li:has-text('{names[1]}') summary"].click()
    await one["#people .menu button:has-text('connect')"].click()
    await expect(other["#feed"]).to_contain_text(f"{names[0]} would like to connect")
    await other["#feed button:has-text('Accept')"].click()
    await expect(one["#feed"]).to_contain_text(f"You and {names[1]} are connected")
    await expect(other["#feed"]).to_contain_text(f"You and {names[0]} are connected")


async def test_keys_alone_are_enough(browser: Chromium) -> None:
    visitor = await browser.visitor()
    await expect(visitor["#join .wide"]).to_be_focused()
    await visitor.page.keyboard.press("Enter")
    await visitor.is_live()
    await visitor["#chart"].focus()
    before = await visitor["#scale-text"].text_content()
    for _ in range(5):
        await visitor.page.keyboard.press("+")
    await expect(visitor["#scale-text"]).not_to_have_text(before or "")
    await visitor.page.keyboard.press("ArrowRight")
    await visitor.page.keyboard.press("Enter")
    await expect(visitor["#chart .spot"]).to_be_visible()
    await expect(visitor["#hint-text"]).to_contain_text("Only your connections")


async def test_a_handle_signs_in_again_with_the_password_that_was_kept(browser: Chromium) -> None:
    visitor = await browser.visitor()
    handle = (await visitor.join()).handle
    await visitor["#account summary"].click()
    await visitor["#reveal"].click()
    password = await visitor["#password"].text_content()
    assert password
    await visitor["#leave"].click()
    await expect(visitor["#door"]).to_be_visible()

    elsewhere: Visitor = await browser.visitor(PHONE)
    await elsewhere["#switch"].click()
    await elsewhere["#enter [name=handle]"].fill(handle)
    await elsewhere["#enter [name=password]"].fill("not the password")
    await elsewhere["#enter .wide"].click()
    await expect(elsewhere["#door-error"]).to_be_visible()
    browser.complaints[:] = [text for text in browser.complaints if "401" not in text]
    await elsewhere["#enter [name=password]"].fill(password)
    await elsewhere["#enter .wide"].click()
    await elsewhere.is_live()
    kept = await elsewhere.page.evaluate("JSON.stringify(localStorage)")
    assert password not in kept

    await visitor.page.goto(f"{browser.url}/#handle={handle}")
    await visitor.page.reload()
    await visitor.is_live()
    await expect(visitor["#handle"]).to_have_text(re.compile(handle))
