"""Alive, ready, where the WebSocket is, and the page."""

import asyncio

import pytest

from serve_app.routes.page import FOLDER


async def test_ready_names_everything_that_is_there(engine):
    somebody = await engine.anybody()
    async with asyncio.timeout(10):
        while (await somebody.ask("GET", "/readyz")).status_code != 200:
            await asyncio.sleep(0.02)
    ready = await somebody.get("/readyz")
    assert ready == {"status": "ready", "checks": dict.fromkeys(ready["checks"], True)}
    assert await somebody.get("/healthz") == {"status": "alive", "version": "0"}
    engine.app.state.services.draining = True
    unready = await somebody.get("/readyz", 503)
    assert (unready["code"], unready["checks"]["serving"]) == (100, False)


async def test_without_anything_it_is_alive_and_not_ready(open_town):
    nowhere = "postgresql://hereabouts@127.0.0.1:1/nothing"
    async with open_town(database_url=nowhere, valkey_url="redis://127.0.0.1:1") as town:
        somebody = await town.anybody()
        await somebody.get("/healthz")
        checks = (await somebody.get("/readyz", 503))["checks"]
        assert {name for name, there in checks.items() if there} == {"serving"}


async def test_the_websocket_is_at_a_gateway_that_the_directory_knows(engine):
    found = await (await engine.anybody()).get("/v1/rt")
    assert found == {
        "url": "ws://127.0.0.1:9/rt",
        "fallback": "ws://serve/rt",
        "protocols": ["rt.v1.json", "rt.v1.msgpack"],
    }


async def test_until_a_gateway_is_known_the_configured_url_is_given(town):
    assert (await (await town.anybody()).get("/v1/rt"))["url"] == "ws://gateway/rt"


async def test_the_page_needs_no_other_host(town):
    client = await town.client()
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "http" not in policy
    assert "//" not in policy
    for file in FOLDER.iterdir():
        answer = await client.get(f"/page/{file.name}")
        assert (answer.status_code, answer.content) == (200, file.read_bytes())
        assert answer.headers["cache-control"] == "no-cache"
        again = await client.get(f"/page/{file.name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2fapp.py", "%2Fetc%2Fpasswd", "a%00b"])
async def test_nothing_but_the_page_is_served(town, name):
    assert (await (await town.client()).get(f"/page/{name}")).status_code == 404


async def test_other_origins_may_call_only_where_they_are_listed(open_town):
    async with open_town(allowed_origins=("https://app.example",)) as town:
        client = await town.client()
        for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
            answer = await client.get("/v1/rt", headers={"Origin": origin})
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
