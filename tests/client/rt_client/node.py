"""A node beside a running engine, as `hereabouts join` makes it."""

import os
import signal
import subprocess
from pathlib import Path

from cluster import processes
from rt_client.engine import HEREABOUTS, Engine


class Node:
    """`hereabouts join` with a data folder of its own."""

    def __init__(
        self, engine: Engine, data: Path, name: str, *, shards: int = 1, gateways: int = 1,
        head: str = "", options: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.data = data
        self.name = name
        self.log = data.with_name(data.name + "-join.log")
        self.url = ""
        self._command = [
            str(HEREABOUTS), "join", head or f"127.0.0.1:{engine.port}", "--data", str(data), "--name", name,
            "--shards", str(shards), "--gateways", str(gateways), *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when its shards and gateways serve; raises RuntimeError with the log's end otherwise."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ready "):
                self.url = line.split()[1]
                return
        self.stop()
        raise RuntimeError(f"not ready:\n{self.log.read_text()[-4000:]}")

    def processes(self) -> list[int]:
        """The supervisor and everything below it."""
        assert self._process is not None
        return [self._process.pid, *(each.pid for each in processes.descendants([self._process.pid]))]

    def kill(self) -> None:
        """kill -9 of everything of the node at once, the supervisor first so that it mends nothing."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        """Ctrl-C: it hands off what stands there, and ends."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                self.kill()
            self._reap()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()
