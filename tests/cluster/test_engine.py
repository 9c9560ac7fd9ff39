"""A whole engine through its command: what it listens on, what survives, what it leaves behind."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from rt_client.engine import HEREABOUTS, Engine
from rt_client.town import hereabouts, pids, request, status

from cluster import engine as engine_file
from cluster import layout, processes
from cluster.embedded.postgres import stored_url
from cluster.processes import Identity

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for the tests of this file, which run in their order. pytest's folder is its user's alone,
    so as root this is also an engine below a folder that only root can enter."""
    running = Engine(tmp_path_factory.mktemp("cluster") / "data")
    running.start()
    yield running
    running.stop()


def tree(engine: Engine) -> list[Identity]:
    own = processes.identify(engine.pid)
    assert own is not None
    return [own, *processes.descendants([engine.pid])]


def wait_until_ready(engine: Engine, limit_s: float = 90.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        try:
            if request(engine.url, "GET", "/readyz").status == 200:
                return
        except (OSError, ValueError):  # nobody there, or not the Api yet: Serve's own 404 is no JSON
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {limit_s:g} s")


def test_it_listens_on_loopback_only(engine: Engine) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for each in tree(engine)
        for connection in psutil.Process(each.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    }
    assert listening == {"127.0.0.1"}


def test_the_servers_own_their_folders_and_are_not_root(engine: Engine) -> None:
    for server in ("postgres", "valkey"):
        state = engine_file.read(layout.layout_of(engine.data).state)
        assert state is not None
        uid = psutil.Process(state.processes[server].pid).uids().effective
        assert uid != 0
        assert uid == (engine.data / server).stat().st_uid


def test_passwords_are_in_no_argument_and_no_environment(engine: Engine) -> None:
    secrets = [path.read_text().strip() for path in (engine.data / "secrets").iterdir()]
    assert len(secrets) >= 4
    for each in tree(engine):
        process = psutil.Process(each.pid)
        seen = " ".join(process.cmdline()) + str(process.environ())
        assert not [secret for secret in secrets if secret in seen]


def test_a_second_up_on_the_same_data_is_refused_and_says_where_the_first_is(engine: Engine) -> None:
    second = subprocess.run(
        [HEREABOUTS, "up", "--data", engine.data], check=False, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert engine.url in second.stderr
    assert request(engine.url, "GET", "/readyz").status == 200


def test_status_names_every_process_and_divides_the_slots(engine: Engine) -> None:
    found = status(engine.data)
    assert found["ready"]
    assert {row["pid"] for row in found["processes"]} >= {engine.pid}
    for title in ("hereabouts-directory", "hereabouts-shard", "hereabouts-gateway", "hereabouts-api"):
        assert pids(engine.data, title)
    assert sum(shard["slots"] for shard in found["directory"]["shards"].values()) == 1024
    assert Path(found["ray"]["token_path"]).stat().st_mode & 0o077 == 0
    assert found["pss_mib"] < 1600


async def test_a_killed_postgres_comes_back_on_its_port_although_its_orphans_are_busy(engine: Engine) -> None:
    state = engine_file.read(layout.layout_of(engine.data).state)
    assert state is not None
    url = stored_url(engine.data)
    busy = await asyncpg.connect(url)
    query = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
    await asyncio.sleep(0.2)
    os.kill(state.processes["postgres"].pid, signal.SIGKILL)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await query
    for _ in range(600):
        try:
            again = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.05)
        else:
            break
    assert await again.fetchval("SELECT count(*) FROM schema_migrations") >= 1
    await again.close()


@pytest.mark.slow
def test_a_killed_raylet_takes_nothing_with_it_for_good(engine: Engine) -> None:
    before = hereabouts(engine.data, "dev-users", "--count", "1", "--prefix", "raylet")
    raylet = pids(engine.data, "/raylet/raylet")[0]
    os.kill(raylet, signal.SIGKILL)
    deadline_s = time.monotonic() + 90
    while pids(engine.data, "/raylet/raylet") in ([], [raylet]):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    wait_until_ready(engine)
    after = hereabouts(engine.data, "dev-users", "--count", "1", "--prefix", "raylet")
    assert ("raylet-000001" in before, "raylet-000002" in after) == (True, True)


def test_after_a_killed_supervisor_the_next_up_cleans_up_and_finds_the_data(engine: Engine) -> None:
    hereabouts(engine.data, "dev-users", "--count", "1", "--prefix", "kept")
    before = tree(engine)
    os.kill(engine.pid, signal.SIGKILL)
    engine.stop()
    assert hereabouts(engine.data, "status", check_code=False) == ""
    engine.start()
    assert not [each for each in before if processes.is_alive(each)]
    assert "kept-000002" in hereabouts(engine.data, "dev-users", "--count", "1", "--prefix", "kept")


def test_down_leaves_nothing_behind_but_the_data(engine: Engine) -> None:
    before = tree(engine)
    run = Path(status(engine.data)["run_dir"])
    assert run.is_dir()
    hereabouts(engine.data, "down")
    engine.stop()
    assert not [each for each in before if processes.is_alive(each)]
    assert not run.exists()
    assert not (engine.data / "engine.json").exists()
    assert (engine.data / "postgres" / "data" / "PG_VERSION").exists()
    assert hereabouts(engine.data, "down") == ""


def as_user(name: str) -> list[str]:
    """The command prefix that runs something as an ordinary user. Where this Python lies below a folder that
    only root can enter, the user may read all files, and nothing more."""
    become = ["setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--clear-groups"]
    if all(folder.stat().st_mode & 0o001 for folder in Path(sys.executable).resolve().parents):
        return [*become, "--bounding-set=-all", "--inh-caps=-all"]
    only = "-all,+dac_read_search"
    return [*become, f"--bounding-set={only}", f"--inh-caps={only}", f"--ambient-caps={only}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="all of these tests just ran as an ordinary user")
def test_an_ordinary_user_runs_one_too() -> None:
    user = pwd.getpwnam("daemon")
    home = Path(tempfile.mkdtemp(prefix="hb-test-user-", dir="/tmp"))
    os.chown(home, user.pw_uid, user.pw_gid)
    port = Engine(home / "unused").port
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HEREABOUTS_PORT": str(port)}
    command = [*as_user("daemon"), str(HEREABOUTS)]
    try:
        up = subprocess.run(
            [*command, "up", "--detach"],
            check=False,
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert up.stdout == f"ready http://127.0.0.1:{port}\n", up.stderr
        state = engine_file.read(home / ".hereabouts" / "engine.json")
        assert state is not None
        below = processes.descendants([state.supervisor.pid])
        assert {psutil.Process(each.pid).uids().effective for each in below} == {user.pw_uid}
        down = subprocess.run(
            [*command, "down"], check=False, cwd=home, env=environment, capture_output=True, timeout=60
        )
        assert down.returncode == 0
        assert not [each for each in below if processes.is_alive(each)]
    finally:
        shutil.rmtree(home)
