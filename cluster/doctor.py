"""`hereabouts doctor`: what about this machine would keep an engine from running, and what to do about it.

`up` runs the same checks and refuses to start when one of them is fatal.
"""

import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster import engine, processes, ray_head
from cluster.embedded.account import server_account
from cluster.embedded.binaries import postgres_programs, valkey_program
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.ports import is_free
from cluster.settings import Settings

NEEDED_MEMORY_MIB, COMFORTABLE_MEMORY_MIB = 1_600, 3_000
NEEDED_DISK_MIB, COMFORTABLE_DISK_MIB = 500, 5_000
NEEDED_DESCRIPTORS, COMFORTABLE_DESCRIPTORS = 8_192, 16_384

Level = Literal["ok", "warning", "fatal"]


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    subject: str
    found: str
    fix: str = ""


def examine(settings: Settings, place: Layout) -> list[Finding]:
    """Every check, in order; never raises for what it finds."""
    checks: tuple[Callable[[Settings, Layout], Iterator[Finding]], ...] = (
        _system,
        _account,
        _data_folder,
        _engine,
        _ports,
        _descriptors,
        _memory,
        _disk,
    )
    return [finding for check in checks for finding in check(settings, place)]


def _system(_settings: Settings, _place: Layout) -> Iterator[Finding]:
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    if platform.system() != "Linux":
        yield Finding(
            "fatal", "system", machine, "run it on Linux (a container or a virtual machine will do)"
        )
    else:
        yield Finding("ok", "system", machine)
    encoding = sys.getfilesystemencoding()
    if encoding.lower() == "utf-8":
        yield Finding("ok", "locale", encoding)
    else:
        yield Finding("warning", "locale", encoding, "export LC_ALL=C.UTF-8")


def _account(settings: Settings, _place: Layout) -> Iterator[Finding]:
    if settings.database_url is not None and settings.redis_url is not None:
        yield Finding("ok", "servers", "external Postgres and Redis")
        return
    try:
        account = server_account()
        if settings.database_url is None:
            postgres_programs(account)
        if settings.redis_url is None:
            valkey_program(account)
    except OperatorError as wrong:
        yield Finding("fatal", "servers", wrong.problem, wrong.fix)
        return
    who = f"uid {account.uid}, since this is root" if account else f"uid {os.geteuid()}"
    yield Finding("ok", "servers", f"embedded, running as {who}")


def _data_folder(_settings: Settings, place: Layout) -> Iterator[Finding]:
    folder = place.data
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield Finding("ok", "data folder", str(place.data))
    else:
        yield Finding(
            "fatal",
            "data folder",
            f"{folder} is not writable",
            "choose another with HEREABOUTS_DATA or --data",
        )
    if place.run.exists() and place.run.lstat().st_uid != os.getuid():
        yield Finding(
            "fatal", "run folder", f"{place.run} is not ours", f"look at it, then remove {place.run}"
        )


def _engine(_settings: Settings, place: Layout) -> Iterator[Finding]:
    state = engine.read(place.state) if place.data.is_dir() and os.access(place.data, os.R_OK) else None
    if state is None:
        yield Finding("ok", "engine", "none runs on this data folder")
    elif processes.is_alive(state.supervisor):
        yield Finding("ok", "engine", f"one runs at {state.url}")
    else:
        alive = sum(processes.is_alive(each) for each in state.processes.values())
        yield Finding(
            "warning",
            "engine",
            f"an earlier one was killed; {alive} of its processes still run",
            "`hereabouts up` or `hereabouts down` cleans up",
        )


def _ports(settings: Settings, place: Layout) -> Iterator[Finding]:
    state = engine.read(place.state) if place.data.is_dir() and os.access(place.data, os.R_OK) else None
    if state is not None:
        whose = "the engine of this data folder"
        if not processes.is_alive(state.supervisor):
            whose = "what an earlier engine left behind, if by anybody: `up` sees to that first"
        yield Finding("ok", "ports", f"held by {whose}")
        return
    for name, port in (("port", settings.port), ("gateway_port", settings.gateway_port)):
        if is_free(port, settings.bind):
            yield Finding("ok", name, f"{settings.bind}:{port} is free")
        elif port < 1024 and os.geteuid() != 0:
            yield Finding("fatal", name, f"{port} is below 1024 and this is not root", "choose a higher port")
        else:
            variable = f"HEREABOUTS_{name.upper()}"
            yield Finding(
                "fatal",
                name,
                f"{settings.bind}:{port} is taken or not ours",
                f"set {variable} to a free port",
            )


def _descriptors(_settings: Settings, _place: Layout) -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit == resource.RLIM_INFINITY or limit >= COMFORTABLE_DESCRIPTORS:
        shown = "without limit" if limit == resource.RLIM_INFINITY else str(limit)
        yield Finding("ok", "open files", f"{shown}; HTTP connections at most {ray_head.front_connections()}")
        return
    level: Level = "warning" if limit >= NEEDED_DESCRIPTORS else "fatal"
    most = ray_head.front_connections()
    yield Finding(
        level,
        "open files",
        f"limit {limit}; leaves HAProxy {most} connections (it needs two each and 4,000 more)",
        "raise it: `ulimit -Hn 65536`, or LimitNOFILE= in the service's unit",
    )


def _memory(_settings: Settings, _place: Layout) -> Iterator[Finding]:
    values = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    available = int(values["MemAvailable"].split()[0]) // 1024
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.exists() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
            available = min(available, int(text) // 2**20)
    level: Level = "ok"
    if available < COMFORTABLE_MEMORY_MIB:
        level = "warning" if available >= NEEDED_MEMORY_MIB else "fatal"
    fix = "" if level == "ok" else f"an engine needs about {NEEDED_MEMORY_MIB} MiB; close other programs"
    yield Finding(level, "memory", f"{available} MiB available", fix)


def _disk(_settings: Settings, place: Layout) -> Iterator[Finding]:
    folder = place.data
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free // 2**20
    level: Level = "ok"
    if free < COMFORTABLE_DISK_MIB:
        level = "warning" if free >= NEEDED_DISK_MIB else "fatal"
    yield Finding(
        level, "disk", f"{free} MiB free at {folder}", "" if level == "ok" else "make room, or move --data"
    )
    shared = Path("/dev/shm")  # noqa: S108 (where Ray keeps its object store)
    room = shutil.disk_usage(shared).free if shared.is_dir() else 0
    if room >= ray_head.OBJECT_STORE_BYTES:
        yield Finding("ok", "shared memory", f"{room // 2**20} MiB free at {shared}")
    else:
        yield Finding(
            "warning",
            "shared memory",
            f"{room // 2**20} MiB free at {shared}; Ray's object store will lie on disk",
            "in a container: --shm-size=256m",
        )


def refuse_fatal(findings: list[Finding]) -> None:
    """Raise OperatorError with the first fatal finding."""
    for finding in findings:
        if finding.level == "fatal":
            raise OperatorError(f"{finding.subject}: {finding.found}", finding.fix)


def render(findings: list[Finding]) -> str:
    marks: dict[Level, str] = {"ok": "ok     ", "warning": "warning", "fatal": "FATAL  "}
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.level]}  {finding.subject}: {finding.found}")
        if finding.fix:
            lines.append(f"         fix: {finding.fix}")
    return "\n".join(lines)
