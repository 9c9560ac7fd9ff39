"""`ws`, Socket.IO and uWebSockets.js, each a program of about forty lines in `node/`."""

import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.processes import CACHE, NotInstalledError, answers, running
from benchmarks.servers import Server, free_port

PROGRAMS = {"uWebSockets.js": "uws", "ws": "ws", "Socket.IO": "socketio"}
_PACKAGES = {"uws": "@btc-vision/uwebsockets.js", "ws": "ws", "socketio": "socket.io"}


def _node(program: str) -> tuple[list[str], str]:
    """The command that runs Node, and on which C library."""
    node = shutil.which("node")
    if node is None or not (CACHE / "node" / "node_modules" / _PACKAGES[program]).is_dir():
        raise NotInstalledError(program)
    libraries = CACHE / "libc" / "root" / "usr" / "lib" / "x86_64-linux-gnu"
    if program == "uws" and libraries.is_dir():
        loader = libraries / "ld-linux-x86-64.so.2"
        return [str(loader), "--library-path", str(libraries), node], "glibc of Debian 13, unpacked aside"
    return [node], "the system's C library"


@contextmanager
def node(name: str, people: int, *, presence: bool = False) -> Iterator[Server]:
    """One of PROGRAMS, with tokens for so many users."""
    program = PROGRAMS[name]
    command, library = _node(program)
    key = secrets.token_hex(16)
    environment = {**os.environ, "BENCH_KEY": key, "NODE_ENV": "production"}
    environment.pop("NODE_OPTIONS", None)
    if presence:
        environment["BENCH_PRESENCE"] = "1"
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="hb-peer-") as folder,
        running(
            [*command, CACHE / "node" / f"{program}.js", str(port)],
            Path(folder, "log"),
            environment=environment,
        ) as process,
    ):
        answers(port, process)
        server = Server(name, (process.pid,), f"http://127.0.0.1:{port}", ("127.0.0.1", port))
        package = CACHE / "node" / "node_modules" / _PACKAGES[program] / "package.json"
        words = Path(folder, "log").read_text().split()
        server.settings = {
            "version": json.loads(package.read_text())["version"],
            "node": words[1] if words[:1] == ["ready"] else "unknown",
            "library": library,
            "processes": 1,
            "compression": "off",
        }
        if program == "uws":
            server.settings |= {"maxBackpressure": 16 * 1024 * 1024, "idleTimeout": 0}
        server.people = [_person(key, number) for number in range(people)]
        yield server


def _person(key: str, number: int) -> dict[str, str]:
    user = f"u{number:06d}"
    signature = hmac.new(key.encode(), user.encode(), hashlib.sha256).hexdigest()
    return {"user": user, "token": f"{user}.{signature}"}
