"""The embedded Valkey 9: append-only file, password, loopback (STORE-1…4)."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from urllib.parse import quote

from cluster import layout
from cluster.embedded.account import Folder
from cluster.embedded.binaries import clean_environment, valkey_program
from cluster.embedded.keeper import tail
from cluster.ports import choose_port
from cluster.processes import Child, Reaper

CONFIGURATION = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory-policy": "noeviction",
    "io-threads": "1",
    "hz": "10",
    "daemonize": "no",
}


class Valkey:
    name = "Valkey"
    stop_signal = signal.SIGTERM
    stop_patience_s = 10.0

    def __init__(
        self, folder: Folder, secrets: Path, log: Path, reaper: Reaper, chance: random.Random
    ) -> None:
        self._folder = folder
        self._log = log
        self._reaper = reaper
        self._program = valkey_program(folder.account)
        self._password = layout.secret(secrets / "valkey.password")
        port_file = folder.path / "port"
        known = int(port_file.read_text()) if port_file.exists() else None
        self.port = choose_port(known, chance)
        port_file.write_text(f"{self.port}\n")

    @property
    def url(self) -> str:
        return f"redis://:{quote(self._password)}@127.0.0.1:{self.port}/0"

    async def start(self) -> Child:
        settings = CONFIGURATION | {"port": str(self.port), "requirepass": self._password}
        account = self._folder.account
        given, taken = os.pipe()  # the configuration holds the password: neither an argument nor a file
        try:
            os.write(taken, "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
            with self._log.open("ab") as log:
                return self._reaper.spawn(
                    [str(self._program), "-"],
                    stdin=given,
                    output=log,
                    environment=clean_environment(),
                    cwd=self._folder.path,  # entered before the privileges are dropped
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                )
        finally:
            os.close(given)
            os.close(taken)

    async def ready(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
                    await reader.readline()
                    if await reader.readline() == b"+PONG\r\n":
                        return
                finally:
                    writer.close()
            await asyncio.sleep(0.02)

    async def clear(self) -> None:
        """Valkey leaves nothing behind that blocks a start."""

    def log_tail(self) -> str:
        return tail(self._log.read_text(errors="replace")) if self._log.exists() else ""
