"""What a message costs between two processes: our link, pyzmq, and a Ray actor call (decision D2).

One process sends `--rate` messages a second (a `Publish` with a 256-byte body, as gateways send to shards),
another receives them; both run uvloop. CPU is of both processes, all their threads, per message. Latency is
one way: the body carries the monotonic clock, which the processes share. The CPU of making and pacing the
messages is measured beside each window and taken off. Transports alternate.

    link        actors.link over a Unix socket: one frame a tick (1 ms) holds all that was queued
    zmq         pyzmq PUSH/PULL over ipc://, one ZeroMQ message each
    zmq batched the same, but one ZeroMQ message a tick holds all that was queued
    ray batched a Ray actor call a tick holds all that was queued (needs a local Ray; its daemons not counted)

    pip install 'hereabouts[bench]'
    python benchmarks/link.py [--rate 50000] [--seconds 5] [--windows 3] [--quick]
"""

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from actors.link import TICK_S, Link, dial_until, listen
from actors.messages import Publish
from benchmarks import results
from benchmarks.machine import describe

BODY_BYTES = 256
_END = b"end"
_encoder = msgspec.msgpack.Encoder()
_one = msgspec.msgpack.Decoder(Publish)
_many = msgspec.msgpack.Decoder(list[Publish])


def message() -> Publish:
    """A publication that says when it left."""
    stamp = b'"%019d' % time.monotonic_ns()
    body = stamp.ljust(BODY_BYTES - 1, b"x") + b'"'
    room, user = "room:0198f0aa-0000-7000-8000-000000000001", "0198f0aa-0000-7000-8000-0000000000aa"
    return Publish(1, room, user, "c-12345678", body, "cid-0123456789", "relay")


class Counter:
    """The receiving end's notes."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.done = asyncio.Event()
        self._cpu_s = time.process_time()

    def take(self, messages: list[Publish]) -> None:
        now_ns = time.monotonic_ns()
        for each in messages:
            if each.d == _END:
                self.done.set()
            else:
                self.latencies_ms.append((now_ns - int(each.d[1:20])) / 1e6)

    def report(self) -> dict[str, Any]:
        cpu_s = time.process_time() - self._cpu_s
        ordered = sorted(self.latencies_ms)
        return {
            "count": len(ordered),
            "cpu_s": cpu_s,
            "p50_ms": results.quantile(ordered, 0.5),
            "p99_ms": results.quantile(ordered, 0.99),
        }


class LinkEnd:
    """Our link's endpoint: counts what arrives."""

    def __init__(self, counter: Counter | None = None) -> None:
        self._counter = counter

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Any]) -> None:  # noqa: ARG002
        if self._counter is not None:
            self._counter.take(messages)

    def link_closed(self, link: Link) -> None:
        pass


# -- receiving -------------------------------------------------------------------------------------------


async def receive(transport: str, path: str) -> dict[str, Any]:
    """The receiving process: until the last message."""
    counter = Counter()
    if transport == "link":
        server = await listen(f"unix:{path}", LinkEnd(counter))
        await counter.done.wait()
        server.close()
    else:
        await _receive_zmq(counter, path, batched=transport == "zmq batched")
    return counter.report()


async def _receive_zmq(counter: Counter, path: str, *, batched: bool) -> None:
    import zmq  # noqa: PLC0415 - an extra

    pull: Any = zmq.Context.instance().socket(zmq.PULL)
    pull.set_hwm(0)
    pull.bind(f"ipc://{path}")

    def readable() -> None:
        with suppress(zmq.Again):
            while True:
                data = pull.recv(zmq.NOBLOCK)
                counter.take(_many.decode(data) if batched else [_one.decode(data)])

    asyncio.get_running_loop().add_reader(pull.fileno(), readable)
    while not counter.done.is_set():
        readable()  # the descriptor is edge-triggered: an edge may have passed before the reader was added
        with suppress(TimeoutError):
            await asyncio.wait_for(counter.done.wait(), 0.2)


# -- sending ---------------------------------------------------------------------------------------------


async def send_evenly(
    send: Callable[[Publish], None], flush: Callable[[], None], rate: int, seconds: float
) -> int:
    """Calls `send` at `rate` a second, in steps of a tick, and `flush` after each. Returns how many."""
    start_s = time.monotonic()
    sent = 0
    while (now_s := time.monotonic()) < start_s + seconds:
        due = int((now_s - start_s) * rate)
        while sent < due:
            send(message())
            sent += 1
        flush()
        await asyncio.sleep(TICK_S)
    send(Publish(1, "", "", "", _END))
    flush()
    return sent


async def send_nowhere(rate: int, seconds: float) -> float:
    """CPU seconds of making the messages and pacing them, which is no transport's fault."""
    queue: list[Publish] = []
    cpu_s = time.process_time()
    await send_evenly(queue.append, queue.clear, rate, seconds)
    return time.process_time() - cpu_s


async def send_link(path: str, rate: int, seconds: float) -> tuple[int, float]:
    link = await dial_until(lambda: f"unix:{path}", LinkEnd())
    cpu_s = time.process_time()
    sent = await send_evenly(link.send, lambda: None, rate, seconds)
    await asyncio.sleep(0.2)
    return sent, time.process_time() - cpu_s


async def send_zmq(path: str, rate: int, seconds: float, *, batched: bool) -> tuple[int, float]:
    import zmq  # noqa: PLC0415 - an extra

    push: Any = zmq.Context.instance().socket(zmq.PUSH)
    push.set_hwm(0)
    push.connect(f"ipc://{path}")
    queue: list[Publish] = []

    def flush() -> None:
        if queue:
            push.send(_encoder.encode(queue), zmq.NOBLOCK)
            queue.clear()

    cpu_s = time.process_time()
    if batched:
        sent = await send_evenly(queue.append, flush, rate, seconds)
    else:
        sent = await send_evenly(
            lambda each: push.send(_encoder.encode(each), zmq.NOBLOCK), lambda: None, rate, seconds
        )
    await asyncio.sleep(0.2)
    used_s = time.process_time() - cpu_s
    push.close(linger=0)
    return sent, used_s


class RayReceiver:
    """The same receiving end as a Ray actor."""

    def __init__(self) -> None:
        self._counter = Counter()

    async def take(self, batch: bytes) -> None:
        self._counter.take(_many.decode(batch))

    async def report(self) -> dict[str, Any]:
        return self._counter.report()


async def send_ray(rate: int, seconds: float) -> tuple[int, float, dict[str, Any]]:
    import ray  # noqa: PLC0415 - slow to import, and only one transport needs it

    # By its module's name and not as __main__, which would be pickled by value, decoders and all.
    actor_class = importlib.import_module("benchmarks.link").RayReceiver
    receiver: Any = ray.remote(num_cpus=0)(actor_class).remote()
    await receiver.take.remote(_encoder.encode([]))
    queue: list[Publish] = []
    calls: list[Any] = []

    def flush() -> None:
        if queue:
            calls.append(receiver.take.remote(_encoder.encode(queue)))
            queue.clear()

    cpu_s = time.process_time()
    sent = await send_evenly(queue.append, flush, rate, seconds)
    await asyncio.gather(*calls[-50:])
    used_s = time.process_time() - cpu_s
    report = await receiver.report.remote()
    ray.kill(receiver)
    return sent, used_s, report


def window(transport: str, folder: str, rate: int, seconds: float) -> dict[str, Any]:
    """One window of one transport, in fresh processes (Ray: in a fresh actor)."""
    if transport == "ray batched":
        sent, sender_s, received = asyncio.run(send_ray(rate, seconds))
    else:
        path = f"{folder}/{transport.replace(' ', '-')}.sock"
        with suppress(FileNotFoundError):
            Path(path).unlink()
        receiver = subprocess.Popen(
            [sys.executable, __file__, "--receive", transport, path], stdout=subprocess.PIPE, text=True
        )
        try:
            time.sleep(1)
            if transport == "link":
                sent, sender_s = uvloop.run(send_link(path, rate, seconds))
            else:
                sent, sender_s = uvloop.run(send_zmq(path, rate, seconds, batched="batched" in transport))
            received = json.loads(receiver.communicate(timeout=30)[0])
        finally:
            receiver.kill()
            receiver.wait()
    if received["count"] != sent:
        raise RuntimeError(f"{transport}: {sent} sent, {received['count']} received")
    sender_s -= uvloop.run(send_nowhere(rate, 1.0)) * seconds
    return {**received, "sender_us": sender_s / sent * 1e6, "receiver_us": received["cpu_s"] / sent * 1e6}


def _start_ray() -> None:
    import ray  # noqa: PLC0415 - slow to import, and only one transport needs it

    paths = os.pathsep.join(filter(None, sys.path))
    ray.init(
        address="local",
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        num_cpus=2,
        log_to_driver=False,
        object_store_memory=80_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rate", type=int, default=50_000)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--windows", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="one-second windows; not for quoting")
    options.add_argument("--no-ray", action="store_true")
    options.add_argument("--receive", nargs=2, metavar=("TRANSPORT", "PATH"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.receive:
        print(json.dumps(uvloop.run(receive(*given.receive))))
        return
    transports = ["link", "zmq", "zmq batched"] + ([] if given.no_ray else ["ray batched"])
    seconds = 1.0 if given.quick else given.seconds
    if not given.no_ray:
        _start_ray()
    found: dict[str, list[dict[str, Any]]] = {transport: [] for transport in transports}
    with tempfile.TemporaryDirectory(prefix="hb-link-") as folder:
        for _ in range(given.windows):
            for transport in transports:
                found[transport].append(window(transport, folder, given.rate, seconds))
    machine = describe("pyzmq", "ray", "uvloop", "msgspec")
    table: list[tuple[str, ...]] = [
        ("transport", "CPU µs/message", "spread", "sender", "receiver", "p50 ms", "p99 ms")
    ]
    rows: dict[str, Any] = {}
    for transport, windows in found.items():
        columns = {
            "cpu_us_per_message": results.spread([w["sender_us"] + w["receiver_us"] for w in windows]),
            "sender_us": results.spread([w["sender_us"] for w in windows]),
            "receiver_us": results.spread([w["receiver_us"] for w in windows]),
            "p50_ms": results.spread([w["p50_ms"] for w in windows]),
            "p99_ms": results.spread([w["p99_ms"] for w in windows]),
        }
        rows[transport] = columns
        both = columns["cpu_us_per_message"]
        table.append(
            (transport, f"{both['median']:.2f}", f"{both['least']:.2f}-{both['most']:.2f}",
             *(f"{columns[name]['median']:.2f}" for name in ("sender_us", "receiver_us", "p50_ms", "p99_ms")))
        )  # fmt: skip
    results.show(machine, table)
    settings = {
        "rate_per_s": given.rate,
        "seconds": seconds,
        "windows": given.windows,
        "body_bytes": BODY_BYTES,
    }
    path: Path = results.write(
        "link_quick" if given.quick else "link", {"machine": machine, "settings": settings, "rows": rows}
    )
    print("written:", path.relative_to(results.FOLDER.parent.parent))


if __name__ == "__main__":
    main()
