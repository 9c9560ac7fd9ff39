"""Migrations: in order, once, whole or not at all, and never over a database that does not fit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage.postgres import NotDurableError, assert_durable, open_pool
from storage.schema import SchemaError, ensure_partitions, migrate, read_migrations

_numbers = count(1)


@pytest.fixture
async def empty_url(postgres_server: str) -> AsyncIterator[str]:
    """A database without a schema."""
    name = f"schema_{next(_numbers)}"
    control = await asyncpg.connect(f"{postgres_server}/postgres")
    await control.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    await control.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await control.close()


@pytest.fixture
async def connection(empty_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(empty_url)
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE a (x int);")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE a ADD COLUMN y int; INSERT INTO a VALUES (1, 2);")
    return tmp_path


async def test_each_migration_is_applied_once(connection: Any, folder: Path) -> None:
    assert await migrate(connection, read_migrations(folder)) == 2
    assert await migrate(connection, read_migrations(folder)) == 2
    assert await connection.fetchval("SELECT count(*) FROM a") == 1


async def test_engines_that_start_at_once_wait_for_each_other(empty_url: str, folder: Path) -> None:
    connections = [await asyncpg.connect(empty_url) for _ in range(4)]
    versions = await asyncio.gather(*(migrate(each, read_migrations(folder)) for each in connections))
    assert versions == [2, 2, 2, 2]
    assert await connections[0].fetchval("SELECT count(*) FROM a") == 1
    for each in connections:
        await each.close()


async def test_a_migration_that_fails_leaves_nothing_and_can_be_mended(connection: Any, folder: Path) -> None:
    third = folder / "0003_third.sql"
    third.write_text("CREATE TABLE b (x int); SELECT nonsense;")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await migrate(connection, read_migrations(folder))
    assert await connection.fetchval("SELECT to_regclass('b')") is None
    third.write_text("CREATE TABLE b (x int);")
    assert await migrate(connection, read_migrations(folder)) == 3


async def test_an_applied_migration_that_changed_is_refused(connection: Any, folder: Path) -> None:
    await migrate(connection, read_migrations(folder))
    (folder / "0001_first.sql").write_text("CREATE TABLE a (x bigint);")
    with pytest.raises(SchemaError, match="0001_first"):
        await migrate(connection, read_migrations(folder))


async def test_a_newer_database_is_refused_unless_it_says_it_is_compatible(
    connection: Any, folder: Path
) -> None:
    older = read_migrations(folder)
    (folder / "0003_third.sql").write_text("-- compat: 2\nALTER TABLE a ADD COLUMN z int;")
    assert await migrate(connection, read_migrations(folder)) == 3
    assert await migrate(connection, older) == 3
    (folder / "0004_fourth.sql").write_text("ALTER TABLE a DROP COLUMN x;")
    assert await migrate(connection, read_migrations(folder)) == 4
    with pytest.raises(SchemaError, match="upgrade"):
        await migrate(connection, older)


@pytest.mark.parametrize("name", ["0004_gap.sql", "0002_again.sql", "3_short.sql", "0003-dash.sql"])
def test_a_gap_a_double_or_a_wrong_name_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(SchemaError):
        read_migrations(folder)


async def test_the_months_ahead_have_partitions_and_a_message_lies_in_its_own(connection: Any) -> None:
    await migrate(connection)
    november = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for _ in range(2):
        await ensure_partitions(connection, november)
    await connection.execute(
        'INSERT INTO messages (room_id, "offset", sent_at, id, sender_id, body) '
        "VALUES (gen_random_uuid(), 1, $1, gen_random_uuid(), gen_random_uuid(), '{}')",
        datetime(2027, 1, 31, 23, 59, tzinfo=UTC),
    )
    where = await connection.fetchval("SELECT tableoid::regclass::text FROM messages")
    assert where == "messages_2027_01"


async def test_a_server_that_acknowledges_before_it_stores_is_refused(connection: Any) -> None:
    await assert_durable(connection)
    await connection.execute("SET synchronous_commit = off")
    with pytest.raises(NotDurableError, match="synchronous_commit"):
        await assert_durable(connection)


async def test_a_statement_that_runs_too_long_is_cancelled(empty_url: str) -> None:
    pool = await open_pool(empty_url, application_name="test", statement_timeout_s=0.05)
    with pytest.raises(asyncpg.QueryCanceledError):
        await pool.execute("SELECT pg_sleep(5)")
    await pool.close()
