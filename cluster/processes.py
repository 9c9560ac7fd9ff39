"""Processes by identity (Linux): a pid with its start time, so that a reused pid is never mistaken."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Identity:
    """`started_ticks` counts clock ticks since boot (proc(5), stat field 22); `boot` names the boot."""

    pid: int
    started_ticks: int
    boot: str


class Stat(NamedTuple):
    name: str
    state: str
    parent: int
    cpu_ticks: int
    started_ticks: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_stat(pid: int) -> Stat | None:
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = raw.partition("(")[2].rpartition(")")
    part = rest.split()
    return Stat(name, part[0], int(part[1]), int(part[11]) + int(part[12]), int(part[19]))


def identify(pid: int) -> Identity | None:
    """The identity of a running process; None for one that is gone or a zombie."""
    found = read_stat(pid)
    return None if found is None or found.state in "ZX" else Identity(pid, found.started_ticks, boot_id())


def is_alive(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def descendants(roots: Iterable[int], without: Collection[int] = ()) -> list[Identity]:
    """The living processes below `roots`, parents before children, except `without` and theirs."""
    children: dict[int, list[tuple[int, Stat]]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208 (names, not paths)
        if (found := read_stat(pid)) is not None and found.state not in "ZX":
            children.setdefault(found.parent, []).append((pid, found))
    boot = boot_id()
    below: list[Identity] = []
    queue = list(roots)
    while queue:
        for pid, found in children.get(queue.pop(0), ()):
            if pid not in without:
                below.append(Identity(pid, found.started_ticks, boot))
                queue.append(pid)
    return below


def send(identity: Identity, number: signal.Signals) -> None:
    """Signal exactly this process, if it still lives."""
    if is_alive(identity):
        with contextlib.suppress(ProcessLookupError):  # it ended between the two lines
            os.kill(identity.pid, number)


def _has_let_go(identity: Identity) -> bool:
    """Whether the process has ended and holds no port or file any more: of one that was killed the first
    thread is a zombie while others are still on their way out, with all that they share.
    """
    found = read_stat(identity.pid)
    if found is None or found.started_ticks != identity.started_ticks or boot_id() != identity.boot:
        return True
    if found.state not in "ZX":
        return False
    try:
        return len(os.listdir(f"/proc/{identity.pid}/task")) <= 1  # noqa: PTH208 (names, not paths)
    except OSError:
        return True


async def wait_gone(identities: Iterable[Identity], timeout_s: float) -> list[Identity]:
    """Wait until they have ended; returns those that have not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    left = [each for each in identities if not _has_let_go(each)]
    while left and loop.time() < deadline:
        await asyncio.sleep(0.02)
        left = [each for each in left if not _has_let_go(each)]
    return left


async def stop(identities: Sequence[Identity], first: signal.Signals, patience_s: float) -> None:
    """Ask with `first`, and after `patience_s` insist with SIGKILL."""
    for each in identities:
        send(each, first)
    left = await wait_gone(identities, patience_s)
    for each in left:
        send(each, signal.SIGKILL)
    await wait_gone(left, 5.0)


def title(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def pss_kib(pid: int) -> int | None:
    """Proportional set size: shared pages are divided among those who share them. None if not readable."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process instead of init's (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@dataclass(slots=True)
class Child:
    """A process started by `Reaper.spawn`. `exited` resolves to its return code, negative for a signal."""

    identity: Identity
    exited: asyncio.Future[int]
    popen: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        return self.identity.pid


class Reaper:
    """The one caller of waitpid: for the children we start and for the orphans that come to us."""

    def __init__(self, on_orphan_exit: Callable[[int, int], None] = lambda _pid, _code: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._children: dict[int, Child] = {}
        self._on_orphan_exit = on_orphan_exit
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(
        self,
        command: Sequence[str],
        *,
        output: IO[bytes] | int,
        environment: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        errors: IO[bytes] | int = subprocess.STDOUT,
        cwd: Path | None = None,
        user: int | None = None,
        group: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Child:
        """Start a process in a session of its own, so that the terminal's Ctrl-C reaches only us."""
        popen = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=errors,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            pass_fds=pass_fds,
        )
        stat = read_stat(popen.pid)  # there even if it has ended: only this class reaps
        identity = Identity(popen.pid, stat.started_ticks if stat else 0, boot_id())
        child = Child(identity, self._loop.create_future(), popen)
        self._children[popen.pid] = child
        return child

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            child = self._children.pop(pid, None)
            if child is None:
                self._on_orphan_exit(pid, code)
                continue
            child.popen.returncode = code
            if not child.exited.done():
                child.exited.set_result(code)
