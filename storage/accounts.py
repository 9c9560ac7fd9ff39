"""Rows of people: who they are, how they sign in, what they let others see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import asyncpg

from storage.ids import UserId, new_id
from storage.outbox import write_events

_READY_LOCK = 0x7265_6164  # "read(y)"; any fixed number, the same in every version
_BATCH = 10_000


class HandleTakenError(Exception):
    """Somebody has this handle, in whatever case."""


@dataclass(frozen=True, slots=True)
class Account:
    user: UserId
    handle: str
    birth_date: date
    mail: str | None
    status: str
    visibility_audience: str
    visibility_precision: str
    who_can_add_me: str
    version: int
    ghost_mode: str | None = None
    ghost_until: datetime | None = None
    keeps_places: bool = True
    infers_home_and_work: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    user: UserId
    password_hash: str | None
    status: str


_ACCOUNT = (
    "id::text, handle, birth_date, mail, status, visibility_audience, visibility_precision, who_can_add_me, "
    "version, ghost_mode, ghost_until, keeps_places, infers_home_and_work"
)


async def insert_account(
    connection: Any,
    *,
    user: UserId,
    handle: str,
    password_hash: str | None,
    birth_date: date,
    mail: str | None,
) -> None:
    """Raises HandleTakenError; the transaction is then of no more use."""
    try:
        await connection.execute(
            "INSERT INTO users (id, handle, password_hash, birth_date, mail) VALUES ($1, $2, $3, $4, $5)",
            user,
            handle,
            password_hash,
            birth_date,
            mail,
        )
    except asyncpg.UniqueViolationError:
        raise HandleTakenError from None


async def load_account(connection: Any, user: UserId) -> Account | None:
    row = await connection.fetchrow(f"SELECT {_ACCOUNT} FROM users WHERE id = $1", user)
    return None if row is None else Account(*row)


async def load_credentials(connection: Any, handle: str) -> Credentials | None:
    row = await connection.fetchrow(
        "SELECT id::text, password_hash, status FROM users WHERE lower(handle) = lower($1)", handle
    )
    return None if row is None else Credentials(*row)


async def replace_password_hash(connection: Any, user: UserId, password_hash: str) -> None:
    await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", user, password_hash)


async def update_profile(
    connection: Any,
    user: UserId,
    *,
    version: int | None,
    handle: str | None,
    who_can_add_me: str | None,
    keeps_places: bool | None = None,
    infers_home_and_work: bool | None = None,
) -> Account | None:
    """Changes what is not None, if the row still has `version` (None: whatever it has).

    Returns the account, or None when the version is another. Raises HandleTakenError.
    """
    try:
        row = await connection.fetchrow(
            "UPDATE users SET handle = coalesce($3, handle), who_can_add_me = coalesce($4, who_can_add_me), "
            "keeps_places = coalesce($5, keeps_places), "
            "infers_home_and_work = coalesce($6, infers_home_and_work), "
            "version = version + 1 WHERE id = $1 AND ($2::bigint IS NULL OR version = $2) "
            f"RETURNING {_ACCOUNT}",
            user,
            version,
            handle,
            who_can_add_me,
            keeps_places,
            infers_home_and_work,
        )
    except asyncpg.UniqueViolationError:
        raise HandleTakenError from None
    return None if row is None else Account(*row)


async def update_visibility(connection: Any, user: UserId, *, audience: str, precision: str) -> None:
    await connection.execute(
        "UPDATE users SET visibility_audience = $2, visibility_precision = $3, version = version + 1 "
        "WHERE id = $1",
        user,
        audience,
        precision,
    )


async def is_leaving(connection: Any, user: str) -> bool:
    """Whether the account is being erased, or was."""
    status = await connection.fetchval("SELECT status FROM users WHERE id = $1", user)
    return status in ("deleting", "erased")


async def roles_of(connection: Any, user: UserId) -> list[str]:
    """The roles of an active person; none of anybody else."""
    roles = await connection.fetchval("SELECT roles FROM users WHERE id = $1 AND status = 'active'", user)
    return list(roles or ())


async def living_users(connection: Any, users: Sequence[str]) -> dict[UserId, str]:
    """Those of `users` who take part or pause, with who may add them to a room."""
    rows = await connection.fetch(
        "SELECT id::text, who_can_add_me FROM users WHERE id = ANY($1::uuid[]) "
        "AND status IN ('active', 'paused')",
        list(users),
    )
    return {UserId(row["id"]): row["who_can_add_me"] for row in rows}


async def insert_ready_users(
    connection: Any, count: int, prefix: str, roles: Sequence[str] = (), *, told: bool = False
) -> list[tuple[UserId, str]]:
    """`count` users `<prefix>-000001` … who are active, adult and visible to everybody at res 8; numbering
    goes on where an earlier call ended. They cannot sign in with a password. `told`: whoever reads the outbox
    hears of them, as of those who register.
    """
    created: list[tuple[UserId, str]] = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _READY_LOCK)
        last = await connection.fetchval(
            "SELECT max(substr(handle, length($1) + 2)::bigint) FROM users "
            r"WHERE starts_with(lower(handle), lower($1) || '-') "
            r"AND substr(handle, length($1) + 2) ~ '^\d{1,12}$'",
            prefix,
        )
        first = (last or 0) + 1
        for start in range(first, first + count, _BATCH):
            numbers = range(start, min(start + _BATCH, first + count))
            batch = [(UserId(new_id()), f"{prefix}-{number:06d}") for number in numbers]
            await connection.execute(
                "INSERT INTO users (id, handle, birth_date, visibility_audience, visibility_precision, "
                "who_can_add_me, roles) SELECT id, handle, '1990-01-01', 'everyone', 'r8', 'everyone', $3 "
                "FROM unnest($1::uuid[], $2::text[]) AS ready (id, handle)",
                [user for user, _ in batch],
                [handle for _, handle in batch],
                list(roles),
            )
            if told:
                await write_events(connection, "user.registered", [f"user:{user}" for user, _ in batch])
            created += batch
    return created
