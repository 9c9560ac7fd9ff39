"""ejabberd of Debian in a folder of its own: one Erlang node without distribution, rooms as MUC.

Passwords are JWTs (`auth_method: jwt`), so that a login is verified as the others verify theirs. Busy waiting
of the schedulers is off: it would be counted as work. With `archive`, every room's messages are stored by
mod_mam in Postgres before they are sent on.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg

from benchmarks.peers.postgres import Database, postgres
from benchmarks.peers.processes import NotInstalledError, answers, running
from benchmarks.servers import Server, free_port

_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
_SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")

_CONFIGURATION = """
hosts: [localhost]
loglevel: error
log_rotate_count: 0
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    backlog: 4096
    starttls: false
auth_method: [jwt]
jwt_key: "{folder}/key.jwk"
jwt_jid_field: jid
max_fsm_queue: 1000000
{sql}
modules:
  mod_muc:
    access_create: all
    max_users: 20000
    max_user_conferences: 1000
    history_size: 0
    default_room_options:
      persistent: {archived}
      max_users: 20000
      mam: {archived}
      presence_broadcast: [{presence}]
{archive}
"""
_SQL = """
sql_type: pgsql
sql_server: "127.0.0.1"
sql_port: {port}
sql_database: postgres
sql_username: postgres
sql_password: ""
"""
_ARCHIVE = """  mod_mam:
    db_type: sql
    default: always
    assume_mam_usage: true
"""


@contextmanager
def ejabberd(people: int, *, archive: bool = False, presence: bool = False) -> Iterator[Server]:
    """One node. `archive` puts what rooms say into a Postgres of its own, whose CPU counts with it;
    `presence` tells every member who comes and goes (else only moderators: joins would be quadratic).
    """
    if not (_LIBRARIES / "ejabberd-23.01").exists() and not list(_LIBRARIES.glob("ejabberd-*")):
        raise NotInstalledError("ejabberd")
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="hb-peer-", ignore_cleanup_errors=True))
        )
        database = stack.enter_context(postgres()) if archive else None
        if database is not None:
            asyncio.run(_create_tables(database))
        key = secrets.token_bytes(32)
        jwk = {"kty": "oct", "use": "sig", "alg": "HS256", "k": _base64(key)}
        Path(folder, "key.jwk").write_text(json.dumps(jwk))
        port = free_port()
        configuration = _CONFIGURATION.format(
            port=port,
            folder=folder,
            sql=_SQL.format(port=database.port) if database is not None else "",
            archived="true" if archive else "false",
            archive=_ARCHIVE if archive else "",
            presence="moderator, participant, visitor" if presence else "moderator",
        )
        Path(folder, "ejabberd.yml").write_text(configuration)
        command = [
            "erl", "-noinput", "+K", "true", "+P", "250000", "+Q", "65536",
            "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
            "-mnesia", "dir", f'"{folder}/mnesia"', "-s", "ejabberd",
        ]  # fmt: skip
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ERL_LIBS": str(_LIBRARIES),
            "ERL_MAX_PORTS": "65536",
            "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
        }
        process = stack.enter_context(running(command, folder / "out.log", environment=environment))
        try:
            answers(port, process)
        except (OSError, RuntimeError) as wrong:
            logs = [each.read_text(errors="replace")[-1500:] for each in folder.glob("*.log")]
            raise RuntimeError("ejabberd: " + "\n".join(logs)) from wrong
        roots = (process.pid, database.pid) if database is not None else (process.pid,)
        server = Server("ejabberd", roots, f"xmpp://127.0.0.1:{port}", ("127.0.0.1", port))
        version = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "ejabberd"], capture_output=True, text=True, check=False
        )
        server.settings = {
            "version": version.stdout,
            "configuration": configuration.split("\n"),
            "emulator": command[2:12],
        }
        if database is not None:
            server.database_url = database.url
            server.settings["archive"] = (
                "mod_mam in the embedded Postgres 18, configured as the engine's (fsync on)"
            )
        server.people = [_person(key, number) for number in range(people)]
        yield server


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _person(key: bytes, number: int) -> dict[str, str]:
    user = f"u{number:06d}"
    claims = {"jid": f"{user}@localhost", "exp": int(time.time()) + 86_400}
    signed = ".".join(_base64(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return {"user": user, "token": f"{signed}.{_base64(signature)}"}


async def _create_tables(database: Database) -> None:
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute(_SCHEMA.read_text())
    finally:
        await connection.close()
