"""Hearing what commits tell of (storage.outbox.notify): one connection, made anew whenever it is lost."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from storage.outbox import CHANNEL
from storage.postgres import UNREACHABLE

RETRY_S = 0.2
PROBE_S = 5.0
"""How often a silent connection is asked whether it lives."""


async def hear(database_url: str, heard: Callable[[str, str], None], connected: Callable[[], None]) -> None:
    """Calls `heard(kind, key)` for each notification, until cancelled; and `connected` whenever listening
    begins, also after a gap in which some were missed.
    """

    def notified(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        kind, _, key = str(payload).partition(":")
        heard(kind, key)

    while True:
        with suppress(asyncpg.PostgresError, *UNREACHABLE):
            connection = await asyncpg.connect(database_url, timeout=5)
            try:
                await connection.add_listener(CHANNEL, notified)
                connected()
                while not connection.is_closed():
                    await connection.execute("SELECT 1", timeout=5)
                    await asyncio.sleep(PROBE_S)
            finally:
                with suppress(Exception):
                    await connection.close(timeout=1)
        await asyncio.sleep(RETRY_S)
