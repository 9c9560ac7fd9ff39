"""What every journey starts from: a running engine, people with tokens, and their clients."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from rt_client.engine import Engine
from rt_client.town import Person, Town, endless_people, status


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys that kill or restart come last, so that what they break is not blamed on others."""
    rough = {"test_survival.py": 1, "test_restart.py": 2}
    items.sort(key=lambda item: rough.get(item.path.name, 0))


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
