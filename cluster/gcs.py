"""The head's GCS, started again when it is killed: what it knows is in RocksDB, and the raylets, workers and
actors that ran go on meanwhile and come back to it.
"""

import asyncio
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from cluster.processes import Identity, Reaper

NAME = "gcs_server"
RESTARTS_LIMIT, RESTARTS_WINDOW_S = 3, 60.0
"""More ends than that in so short a time: something is wrong that starting it again does not mend."""


class Gcs:
    """Adopted once `ray start` has started it; `gave_up` is called when it is not to be started again."""

    def __init__(self, reaper: Reaper, tell: Callable[[str], None], gave_up: Callable[[], None]) -> None:
        self._reaper = reaper
        self._tell = tell
        self._gave_up = gave_up
        self._command: list[str] = []
        self._environment: dict[str, str] = {}
        self._ends_s: deque[float] = deque(maxlen=RESTARTS_LIMIT)
        self._loop = asyncio.get_running_loop()
        self.identity: Identity | None = None

    def adopt(self, identity: Identity) -> None:
        """Takes note of how it was started."""
        proc = Path(f"/proc/{identity.pid}")
        self._command = _strings(proc / "cmdline")
        self._environment = dict(entry.partition("=")[::2] for entry in _strings(proc / "environ"))
        self.identity = identity

    def release(self) -> None:
        """It is about to be stopped: its end is nothing to mend."""
        self.identity = None

    def ended(self) -> None:
        """To be called when the process has ended."""
        now_s = self._loop.time()
        if self.identity is None:
            return
        if len(self._ends_s) == RESTARTS_LIMIT and now_s - self._ends_s[0] < RESTARTS_WINDOW_S:
            self.identity = None
            self._gave_up()
            return
        self._ends_s.append(now_s)
        child = self._reaper.spawn(
            self._command, output=subprocess.DEVNULL, environment=self._environment, cwd=Path("/")
        )
        self.identity = child.identity
        child.exited.add_done_callback(lambda _: self.ended())
        self._tell("the GCS ended; started it again on what it had stored")


def _strings(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "surrogateescape").rstrip("\0").split("\0")
