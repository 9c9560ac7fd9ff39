"""The report in a real Chromium: at both widths, by keyboard, light and dark, complaining of nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect
from rt_client.browser import FLAGS, PHONE, WIDE, chromium

from cluster.demo.fences import fences_around
from cluster.demo.walks import gates
from cluster.replay import read_route
from cluster.report import offline, writing


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as running:
        started = await running.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
def page_file(recorded: Path, tmp_path: Path) -> Path:
    routes = [read_route(recorded / name) for name in ("two-stays.gpx", "jump.gpx")]
    fences = fences_around(gates(routes[0], 2))
    path = tmp_path / "report.html"
    judged = [trail for each in routes if (trail := offline.judge(each, fences)) is not None]
    writing.tell(path, "no engine", ["a note"], fences, judged)
    return path


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["1440-light", "390-dark"]
)
async def test_everything_is_shown_reached_and_nothing_is_asked_for(
    browser: Browser, page_file: Path, size: tuple[int, int], scheme: str
) -> None:
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = await context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(page_file.as_uri())

    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await expect(page.get_by_text("This page holds precise positions.")).to_be_visible()
    await expect(page.locator("#summary tbody tr")).to_have_count(2)
    events = page.locator("#events li")
    assert await events.count() == await page.locator("#map [data-of=events] .pin").count() > 4
    await expect(page.locator("#stops li").first).to_contain_text("stays 20.2 min")
    await expect(page.locator("#map .cell")).to_have_count(4)
    await expect(page.locator("#map .fence")).to_have_count(2)

    # The slider goes by keys, and what it has passed is marked; an event goes to its moment.
    slider = page.locator("#slider")
    await slider.focus()
    await expect(page.locator("#events li:not(.later)")).to_have_count(0)
    await page.keyboard.press("End")
    await expect(page.locator("#events li.later")).to_have_count(0)
    await page.keyboard.press("Home")
    await events.first.locator("button").focus()
    await page.keyboard.press("Enter")
    await expect(events.first).to_have_class("now")
    assert await slider.input_value() == str(round(float(await events.first.get_attribute("data-s") or 0)))
    await expect(page.locator("#map .cell.now")).to_have_count(1)

    # The map zooms and moves by keys, too, and its pins tell what they are.
    chart = page.locator("#map")
    before = await chart.get_attribute("viewBox")
    await chart.focus()
    for key in ("+", "ArrowLeft"):
        await page.keyboard.press(key)
    assert await chart.get_attribute("viewBox") != before
    await page.keyboard.press("0")
    assert await chart.get_attribute("viewBox") == before
    await page.locator("#map [data-of=events] .pin.enter").first.dispatch_event("pointerenter")
    await expect(page.locator("#tip")).to_contain_text("enters First gate")

    await page.locator("#which").select_option("1")
    await expect(page.locator("#rejected li")).to_have_count(1)
    await expect(page.locator("#rejected li")).to_contain_text("implausible speed")
    await page.locator("[data-layer=cells]").uncheck()
    await expect(page.locator("#map [data-of=cells]")).to_be_hidden()
    assert complaints == []
    assert asked == [page_file.as_uri()]
    await context.close()
