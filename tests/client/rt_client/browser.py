"""The page in a real Chromium, as people see it."""

import shutil
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from rt_client.town import Person
from rt_client.walk import Place

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = (1440, 900), (390, 844)


def chromium() -> str:
    """The browser of this machine; without one the test is skipped (`make browser` installs it)."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on this machine: `make browser`")


class Chromium:
    """One browser; each visitor has a profile of their own. What pages complain of is in `complaints`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self._running: Any = None
        self._browser: Browser

    async def __aenter__(self) -> Self:
        path = chromium()
        self._running = await async_playwright().start()
        self._browser = await self._running.chromium.launch(executable_path=path, args=FLAGS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._browser.close()
        await self._running.stop()

    async def profile(self, size: tuple[int, int] = WIDE, **options: Any) -> BrowserContext:
        width, height = size
        context = await self._browser.new_context(
            viewport={"width": width, "height": height}, locale="en-GB", **options
        )
        context.set_default_timeout(15_000)
        context.on("request", lambda asked: self.hosts.add(urlsplit(asked.url).hostname or asked.url))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", self._hear)
        return context

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def visitor(self, size: tuple[int, int] = WIDE, **options: Any) -> "Visitor":
        """Somebody opens the page for the first time."""
        context = await self.profile(size, **options)
        page = await context.new_page()
        await page.goto(self.url)
        return Visitor(page, size)


class Visitor:
    """Somebody with the page open."""

    def __init__(self, page: Page, size: tuple[int, int]) -> None:
        self.page = page
        self.narrow = size[0] <= 900

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    async def join(self) -> Person:
        """One click, with the handle that was suggested."""
        handle = await self["#join [name=handle]"].input_value()
        async with self.page.expect_response("**/v1/auth/register") as registered:
            await self["#join .wide"].click()
        answer = await (await registered.value).json()
        await self.is_live()
        return Person(answer["user"], handle, answer["access_token"])

    async def is_live(self) -> None:
        await expect(self["#state"]).to_have_attribute("data-state", "live")

    async def show(self, view: str) -> None:
        """Turns to a view where only one fits."""
        if self.narrow:
            await self[f"[data-tab={view}]"].click()

    async def look_at(self, place: Place) -> None:
        """Opens the page with this place in the middle of its map, and signs in again by itself."""
        view = {"lat": place.lat, "lon": place.lon, "mpp": 8}
        await self.page.evaluate(
            "view => localStorage.setItem('hereabouts.view', JSON.stringify(view))", view
        )
        await self.page.reload()
        await self.is_live()

    async def stand_at_the_middle(self) -> None:
        await self.show("map")
        box = await self["#chart"].bounding_box()
        assert box is not None
        await self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    async def open_room(self, name: str) -> None:
        await self.show("talk")
        await self[f"#rooms button:has-text('{name}')"].click()

    async def say(self, text: str) -> None:
        await self["#say input"].fill(text)
        await self["#say input"].press("Enter")
