"""`hereabouts up`: starts everything, keeps it running, stops exactly what it started.

Postgres and Valkey are direct children. The Ray head's daemons are orphans of `ray start` that come to this
process as their subreaper, so all of the engine is one process tree with this at its root.
"""

import asyncio
import contextlib
import datetime as dt
import fcntl
import os
import random
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cluster import doctor, engine, layout, processes
from cluster.databases import Databases
from cluster.draining import drain_gateways
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.leftovers import MARK, remove_leftovers, stop_all
from cluster.plan import RAY_TOKEN_CHARACTERS, deployment_plan
from cluster.ports import choose_block
from cluster.processes import Reaper
from cluster.ray_cluster import RayCluster
from cluster.ray_head import RayPorts
from cluster.settings import Settings

READY_TIMEOUT_S = 120.0
READY_POLL_S = 0.1


@contextmanager
def locked(place: Layout) -> Iterator[None]:
    """Hold the data folder's lock. Raises OperatorError if another engine has it."""
    descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = engine.read(place.state)
            where = f" at {state.url} (pid {state.supervisor.pid})" if state else ""
            raise OperatorError(
                f"an engine already runs on {place.data}{where}",
                "use it, stop it with `hereabouts down`, or choose another folder with --data",
            ) from None
        yield
    finally:
        os.close(descriptor)


class Supervisor:
    """Created inside a running event loop, under the data folder's lock, with nothing left over."""

    def __init__(
        self, settings: Settings, place: Layout, inherited: Mapping[str, str], tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._place = place
        self._tell = tell
        chance = random.Random(secrets.randbits(64))  # noqa: S311 (which ports, nothing secret)
        layout.prepare(place)
        layout.secret(place.ray_token, RAY_TOKEN_CHARACTERS)
        self._ports = RayPorts(choose_block(chance))
        self._mark = f"{chance.getrandbits(64):016x}"
        self._reaper = Reaper(lambda pid, _code: self._ray.orphan_ended(pid))
        self._ray = RayCluster(
            place,
            self._ports,
            inherited={**inherited, MARK: self._mark},
            dashboard=settings.ray_dashboard,
            reaper=self._reaper,
            tell=tell,
        )
        self._databases = Databases(
            settings=settings,
            place=place,
            reaper=self._reaper,
            chance=chance,
            tell=tell,
            changed=self._record,
        )
        me = processes.identify(os.getpid())
        assert me is not None
        self._state = engine.EngineState(
            supervisor=me,
            url=settings.url,
            gateway_url=settings.gateway_url,
            mode=settings.mode,
            privacy_k=settings.privacy_k,
            run_dir=str(place.run),
            started_at=_now(),
            mark=self._mark,
            ray_address=self._ports.address,
            ray_dashboard_url=f"http://127.0.0.1:{self._ports.dashboard}" if settings.ray_dashboard else None,
            ray_token_path=str(place.ray_token),
            ports={
                "http": settings.port,
                "gateway": settings.gateway_port,
                "ray": self._ports.gcs,
                "metrics": self._ports.metrics,
                "ray_block_first": self._ports.block[0],
                "ray_block_last": self._ports.block[-1],
            },
        )

    def _record(self) -> None:
        self._state.processes = {**self._databases.identities(), **self._ray.identities()}
        engine.write(self._place.state, self._state)

    async def run(self, ready: Callable[[str], None]) -> None:
        """Until SIGINT or SIGTERM. Calls `ready` with the URL once, when everything answers.

        Raises OperatorError if something does not start; nothing is left behind either way.
        """
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        # SIGINT even where a shell's `&` has it ignored: somebody who sends it means it. nohup gets its way.
        loop.add_signal_handler(signal.SIGINT, asked.set)
        loop.add_signal_handler(signal.SIGTERM, asked.set)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, asked.set)
        processes.become_subreaper()
        self._record()
        life = asyncio.create_task(self._live(ready))
        stop = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            self._tell("stopping")
        finally:
            stop.cancel()
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            await self._stop()

    async def _live(self, ready: Callable[[str], None]) -> None:
        self._tell(f"data in {self._place.data}; starting Postgres, Valkey and Ray")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._databases.start())
                group.create_task(self._ray.start())
        except* OperatorError as several:
            raise several.exceptions[0] from None
        await self._deploy()
        self._state.ready_at = _now()
        self._record()
        ready(self._settings.url)
        while True:
            await self._ray.broken.wait()
            self._tell("the Ray head ended; starting it and everything on it again")
            await self._stop_ray()
            await self._ray.start()
            await self._deploy()
            self._tell("Ray and everything on it is back")

    async def _deploy(self) -> None:
        self._record()
        databases = self._databases
        plan = deployment_plan(
            self._settings, self._place, self._ports, databases.database_url, databases.redis_url
        )
        await self._ray.deploy(plan)
        await wait_until_ready(self._settings.bind, self._settings.port, READY_TIMEOUT_S)

    async def _stop_ray(self) -> None:
        await self._ray.stop(keep={each.pid for each in self._databases.identities().values()})

    async def _stop(self) -> None:
        await drain_gateways(self._place.run, self._tell)
        await self._stop_ray()
        await self._databases.stop()
        while rest := processes.descendants([os.getpid()]):
            await stop_all(rest)
        shutil.rmtree(self._place.run, ignore_errors=True)
        self._place.state.unlink(missing_ok=True)


async def wait_until_ready(host: str, port: int, timeout_s: float) -> None:
    """Wait for `GET /readyz` to answer 200. Raises OperatorError with its last answer."""
    answer = "no answer"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection(host, port)
                    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    received = await reader.read(65_536)
                    writer.close()
                    if received.startswith(b"HTTP/1.1 200"):
                        return
                    answer = received.decode("utf-8", "replace").strip() or answer
                await asyncio.sleep(READY_POLL_S)
    except TimeoutError:
        raise OperatorError(f"not ready after {timeout_s:g} s; /readyz says: {answer}") from None


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


async def up(
    settings: Settings,
    inherited: Mapping[str, str],
    tell: Callable[[str], None],
    ready: Callable[[str], None],
) -> None:
    """Run an engine until it is asked to stop. Raises OperatorError."""
    place = layout.layout_of(settings.data)
    layout.prepare(place)
    with locked(place):
        await remove_leftovers(place, tell)
        doctor.refuse_fatal(doctor.examine(settings, place))
        await Supervisor(settings, place, inherited, tell).run(ready)
    tell("stopped")
