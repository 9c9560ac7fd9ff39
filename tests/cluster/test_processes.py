"""Processes are known by pid and start time; folders, ports and the state file."""

import os
import random
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import engine, layout, ports, processes
from cluster.errors import OperatorError
from cluster.processes import Identity


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_an_identity_is_not_that_of_a_later_process_with_the_same_pid() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    assert processes.is_alive(me)
    assert not processes.is_alive(Identity(me.pid, me.started_ticks - 1, me.boot))
    assert not processes.is_alive(Identity(me.pid, me.started_ticks, "another boot"))


def test_a_signal_for_an_earlier_process_does_not_reach_the_one_that_has_its_pid() -> None:
    child = sleeper()
    now = processes.identify(child.pid)
    assert now is not None
    processes.send(Identity(now.pid, now.started_ticks - 1, now.boot), signal.SIGKILL)
    assert child.poll() is None
    processes.send(now, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL


async def test_a_zombie_is_gone() -> None:
    child = sleeper()
    identity = processes.identify(child.pid)
    assert identity is not None
    await processes.stop([identity], signal.SIGTERM, 10.0)
    assert processes.identify(child.pid) is None
    child.wait(10)


def test_descendants_are_found_at_any_depth() -> None:
    inner = "import time; print(1, flush=True); time.sleep(60)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    child = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    below = processes.descendants([child.pid])
    assert len(below) == 1
    spared = processes.descendants([os.getpid()], without={child.pid})
    assert not {child.pid, below[0].pid} & {each.pid for each in spared}
    for each in (*below, processes.identify(child.pid)):
        assert each is not None
        processes.send(each, signal.SIGKILL)
    child.wait(10)
    child.stdout.close()


def test_a_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first = layout.secret(tmp_path / "secrets" / "key")
    assert layout.secret(tmp_path / "secrets" / "key") == first
    assert len(first) == 43
    assert stat.S_IMODE((tmp_path / "secrets" / "key").stat().st_mode) == 0o600


def test_a_run_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    layout.prepare_run_folder(run)
    layout.prepare_run_folder(run)
    run.chmod(0o755)
    with pytest.raises(OperatorError, match="not ours alone"):
        layout.prepare_run_folder(run)
    run.rmdir()
    run.symlink_to(tmp_path)
    with pytest.raises(OperatorError, match="not ours alone"):
        layout.prepare_run_folder(run)


def test_the_run_folder_is_short_however_long_the_data_folder_is(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    assert len(str(layout.layout_of(long).run)) < 40
    assert layout.layout_of(long) == layout.layout_of(long)
    assert layout.layout_of(long).run != layout.layout_of(tmp_path).run


def test_a_taken_port_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        assert not ports.is_free(port)
        assert ports.choose_port(port, random.Random(1)) != port
    assert ports.choose_port(port, random.Random(1)) == port


def test_the_state_file_keeps_what_it_was_given_and_is_private(tmp_path: Path) -> None:
    me = Identity(1, 2, "boot")
    state = engine.EngineState(
        supervisor=me, url="u", gateway_url="g", mode="development", privacy_k=1, run_dir="r",
        started_at="t", mark="m", node="head", host="127.0.0.1", directory="",
        processes={"postgres": Identity(3, 4, "boot")},
    )  # fmt: skip
    path = tmp_path / "engine.json"
    assert engine.read(path) is None
    engine.write(path, state)
    assert engine.read(path) == state
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("{half")
    assert engine.read(path) is None
