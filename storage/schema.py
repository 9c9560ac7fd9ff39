"""The database's schema: numbered forward migrations, applied once each, in order (STORE-5).

The schema version is the number of the last migration applied. A migration may begin with a line
`-- compat: N`: engines whose newest migration is N or later may go on running against it. Without the line
only engines that know the migration may.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_KEY = 0x6865_7265  # "here"; any fixed number, the same in every version
MONTHS_AHEAD = 2
_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_COMPAT = re.compile(r"^-- compat: (\d+)$", re.MULTILINE)


class SchemaError(Exception):
    """The database and this version of the engine do not fit; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str
    sha256: str
    compat: int


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """The migrations of a folder, in order. Raises SchemaError for a wrong name, a gap or a double."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        named = _NAME.match(path.name)
        if named is None:
            raise SchemaError(f"{path.name} is not named NNNN_lower_case.sql")
        sql = path.read_text(encoding="utf-8")
        number = int(named[1])
        compat = _COMPAT.search(sql)
        digest = hashlib.sha256(sql.encode()).hexdigest()
        found.append(Migration(number, named[2], sql, digest, int(compat[1]) if compat else number))
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise SchemaError(f"migrations in {folder.name} are not numbered 1, 2, 3 … without gaps")
    return found


async def migrate(connection: Any, migrations: list[Migration] | None = None) -> int:
    """Bring the database up to date and return its schema version.

    Engines that start at once wait for each other. Each migration is one transaction. Raises SchemaError if
    an applied migration has changed or is unknown here and not declared compatible.
    """
    known = read_migrations() if migrations is None else migrations
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (number integer PRIMARY KEY, name text NOT NULL, "
            "sha256 text NOT NULL, compat integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = await connection.fetch(
            "SELECT number, name, sha256, compat FROM schema_migrations ORDER BY number"
        )
        _refuse_misfit(known, applied)
        for migration in known[len(applied) :]:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name, sha256, compat) VALUES ($1, $2, $3, $4)",
                    migration.number,
                    migration.name,
                    migration.sha256,
                    migration.compat,
                )
        return max(len(known), len(applied))
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)


def _refuse_misfit(known: list[Migration], applied: list[Any]) -> None:
    by_number = {each.number: each for each in known}
    for row in applied:
        migration = by_number.get(row["number"])
        if migration is not None and migration.sha256 != row["sha256"]:
            raise SchemaError(
                f"migration {row['number']:04d}_{row['name']} is not the one this database was built with; "
                "migrations never change once applied"
            )
    if len(applied) > len(known) and (oldest := max(row["compat"] for row in applied)) > len(known):
        raise SchemaError(
            f"the database has schema version {len(applied)} and admits engines from version {oldest} on; "
            f"this one knows {len(known)}: upgrade it"
        )


async def ensure_partitions(connection: Any, now: datetime) -> None:
    """Create the message partitions of this month and the next ones, if they are missing (STORE-6)."""
    for ahead in range(MONTHS_AHEAD + 1):
        months = now.year * 12 + now.month - 1 + ahead
        first = now.replace(
            year=months // 12, month=months % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0
        )
        await connection.execute("SELECT ensure_message_partition($1)", first)
