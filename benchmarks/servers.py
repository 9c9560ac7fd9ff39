"""The servers under test, started for a run and stopped by pid: the whole engine, and the naive peer."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.cpu import tree_s
from benchmarks.machine import ROOT

_START_LIMIT_S = 180
_STOP_LIMIT_S = 60


@dataclass(slots=True)
class Server:
    """`roots` are the processes whose trees are the server; `url` is where HTTP is, `address` where clients
    connect.
    """

    name: str
    roots: tuple[int, ...]
    url: str
    address: tuple[str, int] = ("127.0.0.1", 0)
    data: Path | None = None
    people: list[dict[str, str]] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)
    """Room → the user, counted from 0, that made it."""
    database_url: str = ""
    """Of a peer's archive."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Version and whatever departs from the server's defaults, for the result file."""

    def request(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """A JSON request; raises urllib.error.HTTPError on a refusal."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def free_port() -> int:
    """A port of loopback whose successor is free, too, and which the system gives to no client's socket."""
    for _ in range(200):
        port = random.randrange(20_000, 30_000, 2)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise OSError("no two free ports from 20,000 to 30,000")


def command() -> Path:
    """The `hereabouts` of this virtual environment."""
    return Path(sys.executable).with_name("hereabouts")


def _stop(process: "subprocess.Popen[Any]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def engine(port: int, people: int, *, shards: int = 2, gateways: int = 1) -> Iterator[Server]:
    """A whole engine in a folder of its own, rate limits off, with `people` ready users."""
    with tempfile.TemporaryDirectory(prefix="hb-bench-", ignore_cleanup_errors=True) as folder:
        environment = {
            **os.environ,
            "HEREABOUTS_DATA": folder,
            "HEREABOUTS_PORT": str(port),
            "HEREABOUTS_RATE_LIMITS": "off",
            "HEREABOUTS_SHARDS": str(shards),
            "HEREABOUTS_GATEWAYS": str(gateways),
        }
        with Path(folder, "bench-up.log").open("wb") as log:
            process = subprocess.Popen(
                [command(), "up"], stdout=subprocess.PIPE, stderr=log, env=environment, cwd=ROOT
            )
            try:
                yield _ready(process, Path(folder), environment, people)
            finally:
                _stop(process)


def _ready(
    process: "subprocess.Popen[Any]", folder: Path, environment: dict[str, str], people: int
) -> Server:
    assert process.stdout is not None
    deadline_s = time.monotonic() + _START_LIMIT_S
    url = ""
    for line in process.stdout:
        words = line.decode().split()
        if words[:1] == ["ready"]:
            url = words[1]
            break
        if time.monotonic() > deadline_s:
            break
    if not url:
        said = Path(folder, "bench-up.log").read_text(errors="replace")
        raise RuntimeError(f"the engine did not come up:\n{said[-2000:]}")
    server = Server("hereabouts", (process.pid,), url, data=folder)
    listener = urlsplit(server.request("GET", "/v1/rt")["url"])
    server.address = (listener.hostname or "127.0.0.1", listener.port or 0)
    titles = [title for title, _ in tree_s(process.pid).values()]
    server.settings = {
        kind: sum(title.startswith(f"hereabouts-{kind}") for title in titles) for kind in ("shard", "gateway")
    }
    made = subprocess.run(
        [command(), "dev-users", "--count", str(people), "--prefix", "bench", "--json"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"no users: {made.stderr[-500:]}")
    server.people = [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]
    return server


def history_count(server: Server, room: str) -> int:
    """How many messages the durable room `room:<id>` holds: its newest offset. Its owner asks."""
    name = room.partition(":")[2]
    owner = server.owners[room]
    page = server.request("GET", f"/v1/rooms/{name}/messages?limit=1", token=server.people[owner]["token"])
    return int(page["items"][-1]["o"]) if page["items"] else 0


@contextmanager
def naive(port: int, people: int = 0) -> Iterator[Server]:
    """The naive FastAPI server, under uvicorn. It knows no users: their tokens are not looked at."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "benchmarks/peers/fastapi_naive.py", str(port)], cwd=ROOT
    )
    try:
        deadline_s = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline_s or process.poll() is not None:
                    raise
                time.sleep(0.1)
        server = Server("FastAPI naive", (process.pid,), f"http://127.0.0.1:{port}", ("127.0.0.1", port))
        server.settings = {name: version(name) for name in ("fastapi", "uvicorn", "websockets")}
        server.people = [{"user": f"u{number}", "token": ""} for number in range(people)]
        yield server
    finally:
        _stop(process)
