"""W4: one user comes and goes, and 100 others in the room see it.

`on` is from the first packet of the newcomer's connection (so it holds the handshake, the login and the join)
until a watcher has read that the user is there; `off` from its clean close until a watcher has read that it
left. p50 and p99 are over all watchers and all rounds; the last watcher of a round is beside them.

    python -m benchmarks.presence_change [--quick] [--only NAME] [--rounds 60]
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import results
from benchmarks.cpu import TreeClock
from benchmarks.dialing import Step, dial
from benchmarks.entrants import OURS, Claim, Entrant, claim, median, ratio
from benchmarks.servers import Server
from benchmarks.sockets import Fan, Stream

WATCHERS = 100
ROUNDS, QUICK_ROUNDS = 60, 15
PEERS = ("uWebSockets.js", "ws", "Socket.IO", "ejabberd")
_PAUSE_S = 0.05
_LIMIT_S = 5.0


class Watchers:
    """The hundred, and when each of them sees something."""

    def __init__(self, fan: Fan) -> None:
        self.fan = fan
        self.seen_s: list[float] = []

    def look(self, wait_s: float) -> None:
        before = self.fan.deliveries
        self.fan.turn(wait_s)
        self.seen_s += [time.monotonic()] * (self.fan.deliveries - before)

    def expect(self, mark: bytes) -> None:
        self.fan.look_for(mark)
        self.seen_s = []

    def all_ms(self, since_s: float, leaving: Stream | None = None) -> list[float]:
        """Waits until all have seen it; how long each took. Who is leaving closes when the server has."""
        while len(self.seen_s) < WATCHERS:
            if time.monotonic() - since_s > _LIMIT_S:
                raise TimeoutError(f"{len(self.seen_s)} of {WATCHERS} saw it")
            watched: list[Any] = [self.fan.fileno()]
            if leaving is not None and leaving.socket.fileno() >= 0:
                watched.append(leaving.socket)
            ready, _, _ = select.select(watched, [], [], 0.2)
            if self.fan.fileno() in ready:
                self.look(0)
            if leaving is not None and leaving.socket in ready and not leaving.socket.recv(65536):
                leaving.close()
        if len(self.seen_s) > WATCHERS:
            raise RuntimeError(f"{len(self.seen_s)} sightings by {WATCHERS} watchers")
        return [(each - since_s) * 1e3 for each in self.seen_s]


def come(address: tuple[str, int], steps: Sequence[Step], look: Callable[[float], None], fan: Fan) -> Stream:
    """Follows the script while the watchers are being read."""
    stream = Stream(socket.create_connection(address, timeout=_LIMIT_S))
    stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for step in steps:
        stream.send(step.say)
        heard = b""
        while step.until not in heard:
            watched: list[Any] = [stream.socket, fan.fileno()]
            ready, _, _ = select.select(watched, [], [], _LIMIT_S)
            if fan.fileno() in ready:
                look(0)
            if stream.socket in ready:
                heard += stream.socket.recv(65536)
                if step.refusal in heard:
                    raise ConnectionError(heard[-300:].decode(errors="replace"))
            if not ready:
                raise TimeoutError("the newcomer is not let in")
    return stream


def measure(run: Claim, entrant: Entrant, server: Server, rounds: int) -> None:
    """One row."""
    dialect: Any = entrant.dialect(server)  # all of PEERS are Watched
    room = dialect.rooms([range(WATCHERS + 1)], "memory")[0]
    dialled = dial(server.address, [dialect.watching(user, room) for user in range(WATCHERS)], at_once=8)
    fan = Fan(dialled.streams)
    watchers = Watchers(fan)
    came, left = dialect.signs(WATCHERS)
    script = dialect.opening(WATCHERS, room)
    on_ms: list[list[float]] = []
    off_ms: list[list[float]] = []
    try:
        while fan.turn(0.5):
            pass
        clock = TreeClock(*server.roots)
        for number in range(rounds + 1):
            if number % 40 == 0:
                for each in fan.sockets:
                    each.send(dialect.beat)
            watchers.expect(came)
            begun_s = time.monotonic()
            stream = come(server.address, script, watchers.look, fan)
            on = watchers.all_ms(begun_s)
            time.sleep(_PAUSE_S)
            watchers.look(0)
            watchers.expect(left)
            begun_s = time.monotonic()
            stream.send(dialect.goodbye)
            off = watchers.all_ms(begun_s, stream)
            stream.close()
            time.sleep(_PAUSE_S)
            watchers.look(0)
            if number:  # the first one warms up
                on_ms.append(on)
                off_ms.append(off)
        cpu_s = clock.used_s()[0]
    finally:
        fan.close()
    run.rows[entrant.name] = {
        "on": _figures(on_ms),
        "off": _figures(off_ms),
        "cpu_ms_a_round": round(cpu_s / (rounds + 1) * 1e3, 2),
    }
    row = run.rows[entrant.name]
    run.say(f"{entrant.name}: on p50 {row['on']['p50_ms']} ms, off p50 {row['off']['p50_ms']} ms")


def _figures(rounds: list[list[float]]) -> dict[str, float]:
    every = sorted(each for one in rounds for each in one)
    last = sorted(max(one) for one in rounds)
    return {
        "p50_ms": round(results.quantile(every, 0.5), 3),
        "p99_ms": round(results.quantile(every, 0.99), 3),
        "last_watcher_p50_ms": round(results.quantile(last, 0.5), 3),
        "last_watcher_p99_ms": round(results.quantile(last, 0.99), 3),
    }


def main() -> None:
    assert __doc__
    run = claim("presence_change", __doc__, {"watchers": WATCHERS, "rounds": ROUNDS}, seconds=0, windows=1)
    rounds = QUICK_ROUNDS if run.options.quick else ROUNDS
    presence = {f"{name}__presence": True for name in PEERS}
    run.each(
        (*PEERS, OURS),
        WATCHERS + 1,
        lambda entrant, server: measure(run, entrant, server, rounds),
        **presence,
    )
    for way in ("on", "off"):
        ours = median(run.rows.get(OURS, {}).get(way), "p50_ms")
        theirs = median(run.rows.get("Socket.IO", {}).get(way), "p50_ms")
        run.goal(
            f"W4: p50 until a watcher sees `{way}`, times Socket.IO's (at most 2)",
            ratio(ours, theirs),
            lambda times: times <= 2,
        )
    table: list[tuple[str, ...]] = [
        ("row", "on p50/p99 ms", "last p50", "off p50/p99 ms", "last p50", "CPU ms a round")
    ]
    for name, row in run.rows.items():
        if "on" in row:
            on, off = row["on"], row["off"]
            table.append(
                (
                    name,
                    f"{on['p50_ms']:.2f} / {on['p99_ms']:.2f}",
                    f"{on['last_watcher_p50_ms']:.2f}",
                    f"{off['p50_ms']:.2f} / {off['p99_ms']:.2f}",
                    f"{off['last_watcher_p50_ms']:.2f}",
                    f"{row['cpu_ms_a_round']:.2f}",
                )
            )
    run.finish(table)


if __name__ == "__main__":
    main()
