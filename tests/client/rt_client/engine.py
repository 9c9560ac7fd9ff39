"""A real engine, started and stopped by the command that people use."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

HEREABOUTS = Path(sys.executable).with_name("hereabouts")
_STOP_LIMIT_S = 60


def _free_pair() -> int:
    """A port of loopback that is free, and so is the next (the gateway's)."""
    while True:
        with socket.socket() as http, socket.socket() as gateway:
            http.bind(("127.0.0.1", 0))
            port = int(http.getsockname()[1])
            with suppress(OSError, OverflowError):
                gateway.bind(("127.0.0.1", port + 1))
                return port


class Engine:
    """`hereabouts up` in a data folder. Rate limits are off, as a test is many people at one address."""

    def __init__(self, data: Path, port: int = 0, **settings: str) -> None:
        self.data = data
        self.port = port or _free_pair()
        self.url = ""
        self.log = data.with_name(data.name + "-up.log")
        self._settings = settings
        self._foreign = False
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    @classmethod
    def running(cls, data: Path, url: str) -> Self:
        """One that somebody else started and will stop."""
        engine = cls(data, int(url.rpartition(":")[2]))
        engine.url = url
        engine._foreign = True
        return engine

    def start(self) -> None:
        """Returns when it is ready; raises RuntimeError with the log's end if it does not get there."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [HEREABOUTS, "up", "--data", self.data],
                env=self._environment(), stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ready "):
                self.url = line.split()[1]
                return
        self.stop()
        raise RuntimeError(f"not ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """Ctrl-C."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def restart(self) -> None:
        """`down`, then `up` on the same data."""
        self._run("down")
        if self._foreign:
            self._run("up", "--detach")
            return
        self.stop()
        self.start()

    def _run(self, *command: str) -> None:
        with self.log.open("ab") as log:
            subprocess.run(
                [HEREABOUTS, *command, "--data", self.data],
                check=True, timeout=180, env=self._environment(), stdout=log, stderr=log,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEREABOUTS_")}
        return {**kept, "HEREABOUTS_RATE_LIMITS": "off", "HEREABOUTS_PORT": str(self.port), **self._settings}
