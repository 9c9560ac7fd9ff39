"""Redis from Debian and the Python server before it (`redis_geo_server.py`), started and stopped by pid."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.peers.processes import NotInstalledError, answers, running
from benchmarks.servers import Server, free_port

NAME = "Redis GEO + Python"


@contextmanager
def redis_geo(people: int, radius_m: int) -> Iterator[Server]:
    """Both processes; nothing is written to disk. It looks at no tokens: people are names of 7 characters."""
    program = shutil.which("redis-server")
    if program is None:
        raise NotInstalledError("redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hb-peer-", ignore_cleanup_errors=True) as folder:
        unix = Path(folder, "redis.sock")
        settings = ["--port", str(port + 1), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server_script = ROOT / "benchmarks/peers/redis_geo_server.py"
        with (
            running(
                [program, *settings, "--unixsocket", unix, "--dir", folder], Path(folder, "redis.log")
            ) as redis,
            _answering(port + 1, redis),
            running(
                [sys.executable, server_script, str(port), unix, str(radius_m)], Path(folder, "server.log")
            ) as front,
            _answering(port, front),
        ):
            server = Server(NAME, (redis.pid, front.pid), f"http://127.0.0.1:{port}", ("127.0.0.1", port))
            told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
            server.settings = {
                "redis-server": told.split("v=")[1].split()[0],
                **{name: version(name) for name in ("picows", "uvloop", "shapely")},
            }
            server.data = Path(folder)
            server.people = [{"user": f"u{number:06d}", "token": ""} for number in range(people)]
            yield server


@contextmanager
def _answering(port: int, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    answers(port, process)
    yield
