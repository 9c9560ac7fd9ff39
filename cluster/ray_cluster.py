"""Ray on this node, and the orders that are carried out on it, as one thing that starts, breaks and stops."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import gcs, processes, ray_head
from cluster.embedded.keeper import tail
from cluster.errors import OperatorError
from cluster.gcs import Gcs
from cluster.layout import Layout
from cluster.leftovers import stop_all
from cluster.processes import Child, Identity, Reaper
from cluster.ray_head import RayPorts

HEAD_DAEMONS = ("gcs_server", "raylet")
NODE_DAEMONS = ("raylet",)
START_TIMEOUT_S = 90.0
ORDER_TIMEOUT_S = 150.0
STOP_PATIENCE_S = 1.0  # all but the GCS end within 0.2 s; it holds nothing that outlives it


class RayCluster:
    def __init__(
        self,
        place: Layout,
        ports: RayPorts,
        *,
        command: Sequence[str],
        daemons: Sequence[str],
        inherited: Mapping[str, str],
        reaper: Reaper,
        tell: Callable[[str], None],
    ) -> None:
        self._place = place
        self._ports = ports
        self._environment = ray_head.environment(place, ports, inherited)
        self.command = command
        self._critical = daemons
        self._reaper = reaper
        self.tell = tell
        self._deployer: Child | None = None
        self._head: Child | None = None
        self._daemons: dict[str, Identity] = {}
        self.broken = asyncio.Event()
        self._gcs = Gcs(reaper, tell, self.broken.set)

    def identities(self) -> dict[str, Identity]:
        return self._daemons | ({gcs.NAME: self._gcs.identity} if self._gcs.identity else {})

    def orphan_ended(self, pid: int) -> None:
        """To be called when an adopted process ends: without GCS or raylet there is no cluster."""
        for name in self._critical:
            if name in self._daemons and self._daemons[name].pid == pid:
                if name == gcs.NAME:
                    self._gcs.ended()
                else:
                    self.broken.set()

    async def start(self) -> None:
        """Start Ray, and meanwhile the process that will carry out the first order. Raises OperatorError."""
        self.broken.clear()
        shutil.rmtree(self._place.gcs_storage, ignore_errors=True)  # of an earlier head
        # With it `ray start` would take the raylets of joined nodes for signs of a head that runs.
        (self._place.ray_temp / "ray_current_cluster").unlink(missing_ok=True)
        before = {each.pid for each in processes.descendants([os.getpid()])}
        log = self._place.logs / "ray-start.log"
        with log.open("wb") as output:
            self._head = self._reaper.spawn(
                self.command,
                output=output,
                environment=self._environment,
                cwd=Path("/"),
            )
        self._deployer = self._start_deployer()
        try:
            code = await asyncio.wait_for(asyncio.shield(self._head.exited), START_TIMEOUT_S)
        except TimeoutError:
            code = -1
        if code != 0:
            raise OperatorError(
                f"Ray did not start; the end of {log}:\n{tail(log.read_text(errors='replace'))}"
            )
        self._daemons = self._adopted(before)
        if missing := [name for name in self._critical if name not in self._daemons]:
            raise OperatorError(f"Ray did not keep running: no {' and no '.join(missing)}; see {log}")
        if gcs.NAME in self._daemons:
            self._gcs.adopt(self._daemons[gcs.NAME])
        self.tell("Ray runs")

    def _adopted(self, before: set[int]) -> dict[str, Identity]:
        """The daemons that came to us, by the name of their program."""
        found: dict[str, Identity] = {}
        for each in processes.descendants([os.getpid()]):
            stat = processes.read_stat(each.pid)
            mine = self._deployer is not None and each.pid == self._deployer.pid
            if stat is not None and stat.parent == os.getpid() and each.pid not in before and not mine:
                name = stat.name if stat.name in self._critical else f"ray-{each.pid}"
                found[name] = each
        return found

    def _start_deployer(self) -> Child:
        with (self._place.logs / "deploy.log").open("wb") as errors:
            return self._reaper.spawn(
                [sys.executable, "-m", "cluster.deploy"],
                stdin=subprocess.PIPE,
                output=subprocess.PIPE,
                errors=errors,
                environment=self._environment,
                cwd=Path("/"),
            )

    async def carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have an order of `cluster.deploy` carried out; its answer. One at a time. Raises OperatorError."""
        child, self._deployer = self._deployer or self._start_deployer(), None
        assert child.popen.stdin is not None
        assert child.popen.stdout is not None
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), child.popen.stdout
        )
        code, answer = -1, {}
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended; its code says so
                child.popen.stdin.write(json.dumps(order).encode() + b"\n")
                child.popen.stdin.close()
            async with asyncio.timeout(ORDER_TIMEOUT_S):
                while line := await reader.readline():
                    if line.startswith(b"{"):
                        answer = json.loads(line)
                    else:
                        self.tell(line.decode().strip())
                code = await asyncio.shield(child.exited)
        except TimeoutError:
            pass
        finally:
            transport.close()
            processes.send(child.identity, signal.SIGKILL)
        if "error" in answer:
            raise OperatorError(answer["error"])
        if code != 0:
            log = self._place.logs / "deploy.log"
            end = tail(log.read_text(errors="replace"), 25)
            raise OperatorError(
                f"`{order['order']}` failed; the end of {log}:\n{end}",
                f"Ray's own logs are in {self._keep_logs()}",
            )
        found: dict[str, Any] = answer["ok"]
        return found

    def _keep_logs(self) -> Path:
        """Copy Ray's logs out of the run folder, which is about to be removed."""
        kept = self._place.logs / "ray-failed"
        shutil.rmtree(kept, ignore_errors=True)
        session = self._place.ray_temp / "session_latest" / "logs"
        shutil.copytree(session, kept, ignore_dangling_symlinks=True)
        return kept

    async def stop(self, keep: set[int]) -> None:
        """End the cluster: all of this process's descendants but `keep` and what is below these."""
        self._gcs.release()
        if self._deployer is not None:
            processes.send(self._deployer.identity, signal.SIGKILL)
        while ours := processes.descendants([os.getpid()], without=keep):
            await stop_all(ours, STOP_PATIENCE_S)
        self._daemons = {}
