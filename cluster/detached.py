"""`up --detach` and `join --detach`: a supervisor in a session of its own, watched until it is ready."""

import os
import subprocess
import sys
import time
from pathlib import Path

from cluster import layout
from cluster.errors import OperatorError
from cluster.joined import Joining
from cluster.settings import Settings

POLL_S = 0.05


def up_detached(settings: Settings) -> str:
    """Start the supervisor of an engine and return its `ready …` line; see `_detached`."""
    given = ("data", "port", "bind", "shards", "gateways")
    return _detached(settings.data, ["up", *(f"--{name}={getattr(settings, name)}" for name in given)])


def join_detached(joining: Joining) -> str:
    """Start the supervisor of a node and return its `ready …` line; see `_detached`."""
    options = [
        f"--data={joining.data}", f"--name={joining.name}", f"--bind={joining.address}",
        f"--gateway-port={joining.gateway_port}", f"--shards={joining.shards}",
        f"--gateways={joining.gateways}",
    ]  # fmt: skip
    if joining.token_file is not None:
        options.append(f"--token-file={joining.token_file.absolute()}")
    return _detached(joining.data, ["join", joining.head, *options])


def _detached(data: Path, command: list[str]) -> str:
    """Start a supervisor; its progress is copied to standard error until it is ready.

    Raises OperatorError if it ends before that. It goes on running when this process ends.
    """
    place = layout.layout_of(data)
    layout.prepare(place)
    log = place.logs / "supervisor.log"
    with log.open("wb") as errors, log.open("rb") as progress:
        child = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", *command],
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
                raise OperatorError("it did not start", f"see {log}")
            time.sleep(POLL_S)
