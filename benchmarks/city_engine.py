"""A running engine as the city's loop needs it: its stores, tokens for the city's people, jobs on its Ray."""

import asyncio
import json
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from benchmarks.machine import ROOT
from benchmarks.servers import Server, command
from cluster.embedded.postgres import stored_url
from cluster.layout import layout_of
from cluster.plan import development_key
from identity.keys import ensure_signing_key
from identity.tokens import issue_access_token
from storage.ids import UserId
from storage.postgres import open_pool

_TOKEN_S = 3_600.0


def redis_url(data: Path) -> str:
    """Of the embedded Valkey of a data folder."""
    password = (data / "secrets" / "valkey.password").read_text().strip()
    port = (data / "valkey" / "port").read_text().strip()
    return f"redis://:{quote(password)}@127.0.0.1:{port}/0"


@dataclass(frozen=True)
class CityEngine:
    """A development engine with embedded databases."""

    server: Server

    @property
    def data(self) -> Path:
        assert self.server.data is not None
        return self.server.data

    @property
    def database_url(self) -> str:
        return stored_url(self.data)

    @property
    def redis_url(self) -> str:
        return redis_url(self.data)

    def tokens(self, users: Sequence[str]) -> list[str]:
        """A token for each, as they would get by signing in."""

        async def issue() -> list[str]:
            pool = await open_pool(self.database_url, application_name="city")
            key = await ensure_signing_key(pool, development_key(layout_of(self.data)))
            await pool.close()
            now_s = time.time()
            return [
                issue_access_token(key, user=UserId(user), now_s=now_s, lifetime_s=_TOKEN_S) for user in users
            ]

        return asyncio.run(issue())

    def submit(self, *line: str) -> tuple[dict[str, Any], float]:
        """Runs a job by the line that `hereabouts status` says; its result and seconds. Or RuntimeError."""
        said = subprocess.run(
            [command(), "status", "--json"],
            env={**os.environ, "HEREABOUTS_DATA": str(self.data)}, cwd=ROOT, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        words = shlex.split(json.loads(said.stdout)["ray"]["submit"])
        settings = dict(word.split("=", 1) for word in words if word.partition("=")[0].isupper())
        program = [word for word in words if word.partition("=")[0] not in settings]
        begun_s = time.monotonic()
        done = subprocess.run(
            [*program, *line],
            env={**os.environ, **settings},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        results = [row for row in done.stdout.splitlines() if row.startswith("{")]
        if not results or "error" in json.loads(results[-1]):
            raise RuntimeError(f"{' '.join(line)} failed: {(done.stdout + done.stderr)[-1500:]}")
        return json.loads(results[-1]), time.monotonic() - begun_s

    def ask(self, query: str, *arguments: Any) -> list[Any]:
        """Rows of the database."""

        async def fetch() -> list[Any]:
            connection = await asyncpg.connect(self.database_url, command_timeout=300)
            try:
                return list(await connection.fetch(query, *arguments))
            finally:
                await connection.close()

        return asyncio.run(fetch())
