"""PostGIS and Redis from Debian as second opinions (GEO-27); what they say is kept in a result file."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import results
from benchmarks.machine import describe
from benchmarks.peers.postgis import postgis as run_postgis
from benchmarks.peers.postgres import Database
from benchmarks.peers.processes import NotInstalledError
from benchmarks.peers.redis_only import Redis, redis_only


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """What each oracle found, by its name; written down when all have spoken."""
    found: dict[str, Any] = {}
    yield found
    if len(found) >= 4:
        machine = describe("numpy", "shapely", "pyproj", "h3", "asyncpg")
        results.write("oracles", {"machine": machine, **dict(sorted(found.items()))})


@pytest.fixture(scope="session")
def postgis() -> Iterator[Database]:
    try:
        with run_postgis() as database:
            yield database
    except NotInstalledError as missing:
        pytest.skip(f"no {missing} on this machine: `make oracles`")


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    try:
        with redis_only() as running:
            yield running
    except NotInstalledError as missing:
        pytest.skip(f"no {missing} on this machine: `make oracles`")


@pytest.fixture(scope="session")
def redis_version() -> str:
    told = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return told.split("v=")[1].split()[0]
