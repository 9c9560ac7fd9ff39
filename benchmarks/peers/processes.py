"""Starting a peer's process and ending it by its pid."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

CACHE = Path(os.environ.get("HEREABOUTS_BENCH_CACHE", ROOT / ".benchmark-peers"))
INSTALL = ROOT / "benchmarks" / "peers" / "install.sh"


class NotInstalledError(RuntimeError):
    """A peer is not there; `benchmarks/peers/install.sh` installs it."""


def installed() -> str:
    """Runs the install script; its last words if it failed, else nothing."""
    done = subprocess.run(["sh", INSTALL, CACHE], stderr=subprocess.PIPE, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr[-500:]


def answers(port: int, process: "subprocess.Popen[Any] | None" = None, limit_s: float = 60.0) -> None:
    """Waits until somebody listens on the port. Raises RuntimeError if the process ends before."""
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"ended with {process.returncode} before it listened") from None
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    stop: signal.Signals = signal.SIGTERM,
    patience_s: float = 20.0,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for the length of the block, its output in `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(each) for each in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
