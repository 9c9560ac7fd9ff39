"""What the OpenAPI document promises holds for whatever is sent (schemathesis, bounded)."""

import asyncio
import socket
from collections import Counter
from typing import Any

import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks

from storage.ids import new_id

EXAMPLES = 6
"""Cases an operation and direction (valid, spoiled)."""

ENDLESS = "GET /v1/rt/sse"
"""Its answer has no end: tests/serve_app/http/test_events.py."""

NOT_EXPRESSIBLE = {
    # JSON Schema can't say what a fence's ring, a calendar date of an adult, or a fresh fix is.
    "positive_data_acceptance",
    # One caller here: who owns what is tested in test_rooms.py.
    "object_level_authorization",
}


def failures_of(url: str, token: str) -> tuple[list[str], Counter[str]]:
    """Runs every operation against the served application: a line for each that broke its promise, and how
    often each was tried.
    """
    load_all_checks()
    names = set(CHECKS.get_all_names()) - NOT_EXPRESSIBLE
    checks = [CHECKS.get_one(name) for name in sorted(names)]
    schema = schemathesis.openapi.from_url(f"{url}/v1/openapi.json")
    found, tried = [], Counter[str]()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.label == ENDLESS:
            continue
        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def run(case: Any) -> None:
                tried[case.operation.label] += 1
                case.call_and_validate(
                    base_url=url, checks=checks, headers={"Authorization": f"Bearer {token}"}
                )

            try:
                run()
            except Unsatisfiable:
                pass  # nothing to spoil: it takes no parameters, or any text
            except Exception as error:  # noqa: BLE001 - a line for each, not the first only
                found.append(f"{operation.label} ({mode.value}): {error}")
    return found, tried


async def test_the_application_keeps_its_promises(engine, beside):
    ada = await engine.person()
    # She can't be deleted without her password.
    password = await engine.app.state.services.passwords.hash(new_id())
    await engine.pool.execute(
        "UPDATE users SET roles = '{admin}', password_hash = $2 WHERE id = $1", ada.user, password
    )
    await beside.service.start()
    engine.app.state.services.matcher = beside
    token = ada.client.headers["authorization"].removeprefix("Bearer ")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(engine.app, lifespan="off", log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        found, tried = await asyncio.to_thread(failures_of, url, token)
    finally:
        server.should_exit = True
        await serving
    assert not found, "\n\n".join(found)
    assert len(tried) == sum(len(methods) for methods in engine.app.openapi()["paths"].values()) - 1
