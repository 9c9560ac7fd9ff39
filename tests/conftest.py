"""Real servers for every test that stores: one Postgres and one Valkey a run, a fresh database a test."""

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import settings
from recorded import fetch_recorded

from cluster.embedded.account import open_folder, server_account
from cluster.embedded.binaries import clean_environment, postgres_programs, valkey_program
from storage.postgres import open_pool
from storage.schema import migrate

# No deadline: what is red here is red everywhere, also on a busy machine.
settings.register_profile("engine", deadline=None)
settings.load_profile("engine")

_numbers = count(1)
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the child, before the program runs: a killed test run leaves no server behind (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server with every migration applied to its database `template`; fsync is on."""
    account = server_account()
    programs = postgres_programs(account)
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="hb-test-pg-", dir=memory if os.access(memory, os.W_OK) else None))
    port = _free_port()
    with open_folder(place / "postgres", account) as folder, (place / "log").open("wb") as log:
        common: dict[str, Any] = {
            "cwd": "/",
            "env": clean_environment(),
            "pass_fds": folder.pass_fds,
            "stdout": log,
            "stderr": log,
            "preexec_fn": _end_with_parent,
        }
        if account is not None:
            common |= {"user": account.uid, "group": account.gid, "extra_groups": []}
        subprocess.run(
            [programs / "initdb", "-D", f"{folder.inside}/data", "-U", "hereabouts", "-A", "trust",
             "-E", "UTF8", "--no-sync", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
             "--locale=C"],
            check=True, **common,
        )  # fmt: skip
        server = subprocess.Popen(
            [programs / "postgres", "-D", f"{folder.inside}/data", "-p", str(port),
             "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
             "-c", "shared_buffers=32MB"],
            **common,
        )  # fmt: skip
        url = f"postgresql://hereabouts@127.0.0.1:{port}"
        try:
            asyncio.run(_prepare_template(url))
            yield url
        finally:
            server.terminate()
            server.wait(20)
            shutil.rmtree(place, ignore_errors=True)


async def _prepare_template(url: str) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            connection = await asyncpg.connect(f"{url}/postgres")
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline_s, "Postgres did not start"
            await asyncio.sleep(0.05)
        else:
            break
    await connection.execute("CREATE DATABASE template")
    await connection.close()
    connection = await asyncpg.connect(f"{url}/template")
    await migrate(connection)
    await connection.close()


@pytest.fixture
async def database_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of an empty, migrated database of this test's own."""
    name = f"test_{next(_numbers)}"
    control = await asyncpg.connect(f"{postgres_server}/postgres")
    await control.execute(f"CREATE DATABASE {name} TEMPLATE template STRATEGY file_copy")
    yield f"{postgres_server}/{name}"
    await control.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await control.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    """A pool on this test's own database."""
    opened = await open_pool(database_url, application_name="test")
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def recorded(pytestconfig: pytest.Config) -> Path:
    """The folder of recorded traces, fetched where this clone has none yet."""
    assert pytestconfig.cache is not None
    return fetch_recorded(pytestconfig.cache.mkdir("traces"))


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A real Valkey for the run, on a socket file."""
    place = Path(tempfile.mkdtemp(prefix="hb-test-vk-"))
    socket_path = place / "valkey.sock"
    server = subprocess.Popen(
        [valkey_program(None), "--port", "0", "--unixsocket", socket_path, "--dir", place, "--save", ""],
        stdout=subprocess.DEVNULL,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - one prctl call, before any thread starts
    )
    deadline_s = time.monotonic() + 20
    while not socket_path.exists():
        assert server.poll() is None
        assert time.monotonic() < deadline_s, "Valkey did not start"
        time.sleep(0.01)
    yield f"unix://{socket_path}"
    server.terminate()
    server.wait(10)
    shutil.rmtree(place)
