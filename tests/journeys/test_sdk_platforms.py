"""The SDKs where apps have them: the examples of their READMEs, and a browser."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rt_client.browser import Chromium
from rt_client.town import Town
from sdk_hands.typescript_hand import NODE, build, environment
from sdk_hands.typescript_hand import SDK as TYPESCRIPT_SDK

PYTHON_SDK = TYPESCRIPT_SDK.parents[1] / "sdk" / "python"


@pytest.mark.parametrize("kind", ["python", "typescript"])
async def test_the_example_of_the_readme_runs(town: Town, kind: str) -> None:
    await asyncio.to_thread(build)
    folder, name = (PYTHON_SDK, "first.py") if kind == "python" else (TYPESCRIPT_SDK, "first.ts")
    example = folder / "examples" / name
    assert example.read_text() in (folder / "README.md").read_text()
    assert len(example.read_text().splitlines()) <= 18
    me = town.person()
    room = await town.room(me)
    program, given = (sys.executable, python_environment()) if kind == "python" else (NODE, environment())
    process = await asyncio.create_subprocess_exec(
        program, example, town.url, me.token, room,
        stdout=asyncio.subprocess.PIPE, env={**given, "NO_PROXY": "127.0.0.1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        told = ""
        async with asyncio.timeout(20):
            while "hello" not in told:
                told = (await process.stdout.readline()).decode()
                assert told, "the example ended"
        assert told.startswith(me.user)
    finally:
        process.kill()
        await process.wait()


def python_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PYTHON_SDK / "src")}


async def test_the_typescript_sdk_works_in_a_browser(town: Town) -> None:
    """The very files that tsc wrote, as modules of a page of another port."""
    await asyncio.to_thread(build)
    me = town.person()
    room = await town.room(me)
    script = """async ([url, token, room]) => {
        const { Client } = await import("/index.js");
        const client = new Client({ url, token });
        await client.connect();
        const talk = client.subscribe(room);
        const heard = new Promise((resolve) => talk.on("publication", ({ data }) => resolve(data)));
        await talk.live();
        await talk.publish({ text: "from a page" });
        const told = [client.user, (await heard).text];
        client.close();
        return told;
    }"""
    with served(TYPESCRIPT_SDK / "dist") as address:
        async with Chromium(address) as browser:
            page = await (await browser.profile()).new_page()
            await page.goto(f"{address}/index.d.ts")  # any page of that origin
            told = await page.evaluate(script, [await town.door(), me.token, room])
    assert told == [me.user, "from a page"]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder over HTTP."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
