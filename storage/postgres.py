"""Connections to Postgres. `json` columns travel as text: whoever needs the objects decodes them."""

from typing import Any

import asyncpg

MAX_CONNECTIONS = 10
STATEMENT_TIMEOUT_S = 10.0
DURABILITY = {"fsync": ("on",), "synchronous_commit": ("on", "remote_write", "remote_apply")}


UNREACHABLE = (
    OSError,  # TimeoutError is one
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a pool raises when it resets a connection that was cut meanwhile
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
)
"""The database does not answer now. What was under way may or may not have happened."""


class _Stateless(asyncpg.Connection):  # type: ignore[misc]
    """Nothing here sets session state on a pooled connection, so there is none to reset: by default every
    release costs a second round trip.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        """No query; an open transaction is rolled back all the same."""
        return ""


class NotDurableError(Exception):
    """The server would acknowledge what it may lose (architecture.md, D7)."""


async def open_pool(
    database_url: str,
    *,
    application_name: str,
    max_connections: int = MAX_CONNECTIONS,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    counts_everybody: bool = False,
) -> Any:
    """A pool of at most `max_connections`, none of them open before it is needed (STORE-7).

    A statement that runs longer than `statement_timeout_s` is cancelled by the server; the client gives up a
    little later, for a server that no longer answers. `counts_everybody`: fences count also people who have
    not said that they may (migration 0009).
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=max_connections,
        connection_class=_Stateless,
        timeout=10.0,
        command_timeout=statement_timeout_s + 5.0,
        max_inactive_connection_lifetime=300.0,
        server_settings={
            "application_name": application_name,
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": "30000",
            "timezone": "UTC",
            "hereabouts.counts_everybody": "on" if counts_everybody else "off",
        },
    )


async def assert_durable(connection: Any) -> None:
    """Raise NotDurableError unless a commit on this server means stored, for new sessions too."""
    rows = await connection.fetch(
        "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(DURABILITY)
    )
    for row in rows:
        if row["setting"] not in DURABILITY[row["name"]]:
            raise NotDurableError(f"Postgres runs with {row['name']} = {row['setting']}; it must be on")
