"""People in a database of a test's own, and the Matcher over it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

from serve_app.matcher import MatcherConfig, MatcherService
from storage.ids import UserId, new_id
from storage.outbox import write_event

TODAY = date(2026, 11, 26)
NOW = datetime(2026, 11, 26, tzinfo=UTC)


@asynccontextmanager
async def matcher(database_url: str, k: int = 1, redis_url: str = "") -> AsyncIterator[MatcherService]:
    service = MatcherService(MatcherConfig(database_url, redis_url, k), today=lambda: TODAY)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def person(pool: Any, birth_date: date = date(1990, 1, 1), **preferences: Any) -> UserId:
    user = UserId(new_id())
    await pool.execute(
        "INSERT INTO users (id, handle, birth_date) VALUES ($1, $2, $3)", user, f"u{user[-12:]}", birth_date
    )
    await prefer(pool, user, **preferences)
    return user


async def prefer(pool: Any, user: UserId, **preferences: Any) -> None:
    async with pool.acquire() as connection, connection.transaction():
        names = list(preferences)
        await connection.execute("DELETE FROM preferences WHERE user_id = $1", user)
        await connection.execute(
            f"INSERT INTO preferences ({', '.join(['user_id', *names])}) "
            f"VALUES ({', '.join(f'${n + 1}' for n in range(len(names) + 1))})",
            user,
            *preferences.values(),
        )
        await write_event(
            connection, type="preferences.changed", aggregate=f"preferences:{user}", payload={}, touches=()
        )
