"""The embedded Postgres 18: created once, started, restarted on the same port (STORE-1…4)."""

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from cluster import layout, processes
from cluster.embedded.account import Folder
from cluster.embedded.binaries import clean_environment, postgres_programs
from cluster.embedded.keeper import tail
from cluster.errors import OperatorError
from cluster.ports import choose_port
from cluster.processes import Child, Identity, Reaper

ROLE, DATABASE, ADMIN = "hereabouts", "hereabouts", "postgres"

# Small, for a machine shared with everything else; the durability lines are what D7 rests on.
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": ".",  # relative to the data folder, so its length is no matter
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "48MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "io_method": "sync",  # no I/O workers: they cost memory and this load does not read from disk
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    "autovacuum_naptime": "60s",
    "wal_writer_delay": "1s",  # only for asynchronous commits, which there are none of
    "bgwriter_delay": "1s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "restart_after_crash": "on",
}


class Postgres:
    """One cluster in `{folder}/data`. `ADMIN` owns it; the engine is `ROLE`, which owns `DATABASE` alone."""

    name = "Postgres"
    stop_signal = signal.SIGINT  # fast shutdown: sessions are ended, a checkpoint is written
    stop_patience_s = 15.0

    def __init__(
        self, folder: Folder, secrets: Path, log: Path, reaper: Reaper, chance: random.Random
    ) -> None:
        self._folder = folder
        self._data = folder.path / "data"
        self._log = log
        self._reaper = reaper
        self._programs = postgres_programs(folder.account)
        self._admin_password = layout.secret(secrets / "postgres-admin.password")
        self._password = layout.secret(secrets / "postgres.password")
        port_file = folder.path / "port"
        known = int(port_file.read_text()) if port_file.exists() else None
        self.port = choose_port(known, chance)
        port_file.write_text(f"{self.port}\n")

    @property
    def url(self) -> str:
        return url_of(self._password, self.port)

    async def start(self) -> Child:
        if not self._data.exists():
            await self._create()
        configuration = self._data / "postgresql.conf"
        lines = [
            f"{name} = '{value}'\n" for name, value in (CONFIGURATION | {"port": str(self.port)}).items()
        ]
        configuration.write_text(
            "# Written at each start by Hereabouts; changes do not last.\n" + "".join(lines)
        )
        self._folder.give(configuration)
        return self._spawn("postgres", "-D", f"{self._folder.inside}/data")

    def _spawn(self, program: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Child:
        account = self._folder.account
        with self._log.open("ab") as log:
            return self._reaper.spawn(
                [str(self._programs / program), *arguments],
                output=log,
                environment=clean_environment(),
                cwd=Path("/"),
                user=account.uid if account else None,
                group=account.gid if account else None,
                pass_fds=(*self._folder.pass_fds, *pass_fds),
            )

    async def _create(self) -> None:
        """Run initdb into a folder aside, so that an interrupted one is never taken for a cluster."""
        unfinished = self._folder.path / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = os.memfd_create("password")  # neither an argument nor a file that others could read
        try:
            os.write(password, self._admin_password.encode() + b"\n")
            child = self._spawn(
                "initdb",
                f"--pgdata={self._folder.inside}/data.new",
                f"--pwfile=/proc/self/fd/{password}",
                f"--username={ADMIN}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--data-checksums",
                "--no-instructions",
                pass_fds=(password,),
            )
        finally:
            os.close(password)
        if await child.exited != 0:
            raise OperatorError(f"initdb failed; the end of its log:\n{self.log_tail()}")
        unfinished.rename(self._data)

    async def ready(self) -> None:
        while True:
            try:
                connection = await self._connect_as_admin()
                try:
                    await self._ensure_database(connection)
                finally:
                    connection.terminate()
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                await asyncio.sleep(0.02)
            else:
                return

    async def _connect_as_admin(self) -> Any:
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=ADMIN,
            password=self._admin_password,
            database="postgres",
            timeout=5.0,
        )

    async def _ensure_database(self, connection: Any) -> None:
        # Utility statements take no parameters: the password is URL-safe base64, so quoting it is exact.
        if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE) is None:
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._password}'")
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE) is None:
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    async def clear(self) -> None:
        """End the orphans of a killed postmaster, which hold its shared memory, and remove its lock files
        unless they name a living Postgres.
        """
        orphans = [each for each in processes.descendants([os.getpid()]) if self._is_ours(each)]
        await processes.stop(orphans, signal.SIGQUIT, 2.0)
        for lock in (self._data / "postmaster.pid", self._data / f".s.PGSQL.{self.port}.lock"):
            if (holder := _holder(lock)) is None:
                continue
            if (living := processes.identify(holder)) is not None and self._is_ours(living):
                raise OperatorError(f"another Postgres (pid {holder}) runs on {self._data}", "stop it first")
            lock.unlink(missing_ok=True)

    def _is_ours(self, identity: Identity) -> bool:
        try:
            # The working folder of every process of a cluster is its data folder.
            return Path(f"/proc/{identity.pid}/cwd").readlink() == self._data.resolve()
        except OSError:
            return False

    def log_tail(self) -> str:
        return tail(self._log.read_text(errors="replace")) if self._log.exists() else ""


def _holder(lock: Path) -> int | None:
    """The pid in a lock file, 0 in a damaged one, None without one."""
    try:
        return int(lock.read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return None
    except ValueError:
        return 0


def url_of(password: str, port: int) -> str:
    return f"postgresql://{ROLE}:{quote(password)}@127.0.0.1:{port}/{DATABASE}"


def stored_url(data: Path) -> str:
    """The URL of the embedded server of a data folder. Raises FileNotFoundError if there never was one."""
    password = (data / "secrets" / "postgres.password").read_text(encoding="ascii").strip()
    return url_of(password, int((data / "postgres" / "port").read_text(encoding="ascii")))
