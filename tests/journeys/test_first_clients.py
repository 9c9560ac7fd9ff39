"""The README's first clients, run as they are printed (examples/)."""

import asyncio
import json
import re
import sys
from pathlib import Path

from rt_client.browser import Chromium
from rt_client.town import Town
from rt_client.walk import Clock

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
THERE = (51.3767, 0.7313)
"""Where the examples say they are."""


async def somebody_there(town: Town) -> str:
    """A person at the same place; their id."""
    who = town.person()
    connection = await town.connected(who)
    await connection.command("pos", [*THERE, 10, Clock(30).after(1)])
    return who.user


async def test_the_python_client_sees_who_is_near(town: Town) -> None:
    other, me = await somebody_there(town), town.person()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "first_client.py",
        await town.door(),
        me.token,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        told = ""
        async with asyncio.timeout(20):
            while other not in told:
                told += (await process.stdout.readline()).decode()
    finally:
        process.kill()
        await process.wait()
    frames = [json.loads(line) for line in told.splitlines()]
    assert frames[0]["connect"]["user"] == me.user
    rows = [row for frame in frames for row in frame.get("k", [])]
    assert [row[2]["band"] for row in rows if row[0] == other] == ["<1"]


async def test_the_javascript_client_sees_who_is_near(town: Town) -> None:
    other, me = await somebody_there(town), town.person()
    async with Chromium(town.url) as browser:
        page = await (await browser.profile()).new_page()
        await page.goto(f"{town.url}/healthz")
        script = (EXAMPLES / "first_client.mjs").read_text()
        given = f"globalThis.process = {{argv: ['', '', '{await town.door()}', '{me.token}']}};"
        async with page.expect_console_message(lambda said: other in said.text, timeout=20_000):
            await page.evaluate(f"{given}\n{script}\n0")


def test_both_clients_are_ten_lines_at_most_and_stand_in_the_readme() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    for name in ("first_client.py", "first_client.mjs"):
        text = (EXAMPLES / name).read_text()
        assert len(re.findall(r"^.*\S.*$", text, re.MULTILINE)) <= 10
        assert text.strip() in readme
