"""`hereabouts up --detach`: a supervisor in a session of its own, watched until it is ready."""

import os
import subprocess
import sys
import time
from pathlib import Path

from cluster import layout
from cluster.errors import OperatorError
from cluster.settings import Settings

POLL_S = 0.05


def up_detached(settings: Settings) -> str:
    """Start the supervisor and return its `ready …` line; its progress is copied to standard error meanwhile.

    Raises OperatorError if it ends before that. It goes on running when this process ends.
    """
    place = layout.layout_of(settings.data)
    layout.prepare(place)
    log = place.logs / "supervisor.log"
    given = ("data", "port", "bind", "shards", "gateways")
    options = [f"--{name}={getattr(settings, name)}" for name in given]
    with log.open("wb") as errors, log.open("rb") as progress:
        child = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", "up", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=Path.cwd(),
            start_new_session=True,
        )
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        said = b""
        while True:
            sys.stderr.buffer.write(progress.read())
            sys.stderr.flush()
            ended = child.poll() is not None
            said += child.stdout.read() or b""
            if said.endswith(b"\n"):
                child.returncode = 0  # it is meant to outlive us: no warning about that
                return said.decode().strip()
            if ended:
                sys.stderr.buffer.write(progress.read())
                raise OperatorError("the engine did not start", f"see {log}")
            time.sleep(POLL_S)
