"""What every journey starts from: a running engine, people with tokens, and their clients."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from rt_client.engine import Engine
from rt_client.town import Person, Town, endless_people, status

Scenario = Callable[[Town], Coroutine[Any, Any, None]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "beside(scenario): a wait of tens of seconds that runs beside the other journeys"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits long is looked at late; journeys that kill or restart come last, so that what they break is
    not blamed on others."""
    rough = {
        "test_resume.py": 2,
        "test_scores_survive.py": 2,
        "test_suggestions.py": 2,
        "test_sdk_survival.py": 2,
        "test_survival.py": 3,
        "test_readings_survival.py": 3,
        "test_restart.py": 4,
    }
    items.sort(key=lambda item: rough.get(item.path.name, int(item.get_closest_marker("beside") is not None)))


_told = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says something that stands in the run's summary, such as a count that proves that much was tried."""
    return request.config.stash.setdefault(_told, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_told, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A whole engine in a folder of its own, started by the command that people use; or the one that runs on
    the folder HEREABOUTS_TEST_DATA (rate limits off), which saves its start while a test is being written."""
    if given := os.environ.get("HEREABOUTS_TEST_DATA"):
        yield Engine.running(Path(given), status(given)["url"])
        return
    running = Engine(tmp_path_factory.mktemp("engine") / "data")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session", autouse=True)
def beside(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Callable[[Scenario], None]]:
    """Starts the scenarios of all tests marked `beside`, in a thread; called, waits for one's end."""
    marks = [item.get_closest_marker("beside") for item in request.session.items]
    scenarios: list[Scenario] = list(
        dict.fromkeys(mark.kwargs["scenario"] for mark in marks if mark is not None)
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="beside")
    thread.start()

    async def play(scenario: Scenario) -> None:
        async with AsyncExitStack() as stack:
            await scenario(Town(engine.url, engine.data, endless_people(engine.data, at_once=10), stack))

    running = {scenario: asyncio.run_coroutine_threadsafe(play(scenario), loop) for scenario in scenarios}
    yield lambda scenario: running[scenario].result(90)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def people(engine: Engine) -> Iterator[Person]:
    """As many people as anybody asks for, each handed out once."""
    return endless_people(engine.data)


@pytest.fixture
async def town(engine: Engine, people: Iterator[Person]) -> AsyncIterator[Town]:
    """The running engine."""
    async with AsyncExitStack() as stack:
        yield Town(engine.url, engine.data, people, stack)


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    """Both wire formats."""
    return str(request.param)
