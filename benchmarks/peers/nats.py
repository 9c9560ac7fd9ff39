"""nats-server: a room is a subject, the log a JetStream stream on disk that syncs each write."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.processes import CACHE, NotInstalledError, answers, running
from benchmarks.servers import Server, free_port

_PASSWORD = "bench"


@contextmanager
def nats(people: int, *, durable: bool = False) -> Iterator[Server]:
    """One server; with `durable`, JetStream with sync_interval: always."""
    program = CACHE / "nats" / "bin" / "nats-server"
    if not program.exists():
        raise NotInstalledError("nats-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hb-peer-", ignore_cleanup_errors=True) as folder:
        lines = [
            f'listen: "127.0.0.1:{port}"',
            "max_connections: 100000",
            'write_deadline: "30s"',
            'ping_interval: "60m"',
            f'authorization {{ user: bench, password: "{_PASSWORD}" }}',
        ]
        if durable:
            lines.append(f'jetstream {{ store_dir: "{folder}/js", sync_interval: always }}')
        Path(folder, "nats.conf").write_text("\n".join(lines))
        with running([program, "-c", Path(folder, "nats.conf")], Path(folder, "log")) as process:
            answers(port, process)
            server = Server("NATS", (process.pid,), f"nats://127.0.0.1:{port}", ("127.0.0.1", port))
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
            server.settings = {
                "version": version.stdout.split()[-1],
                "settings": [each for each in lines if not each.startswith(("listen", "authorization"))],
            }
            server.people = [{"user": "bench", "token": _PASSWORD}] * people
            yield server
