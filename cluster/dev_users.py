"""`hereabouts dev-users`: accounts ready for use, each with a token, for development and benchmarks."""

import time
from collections.abc import Iterator, Sequence

import asyncpg

from cluster import engine, processes
from cluster.embedded.postgres import stored_url
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.plan import development_key
from cluster.settings import Settings
from identity.accounts import HandleInvalidError, create_ready_users
from identity.keys import SealBrokenError, ensure_signing_key
from identity.tokens import issue_access_token
from storage.postgres import open_pool

BATCH = 1_000


async def create(  # noqa: PLR0917
    settings: Settings, place: Layout, count: int, prefix: str, ttl_s: float, roles: Sequence[str] = ()
) -> list[dict[str, str]]:
    """`count` users with their tokens: {"user", "handle", "token"}. Raises OperatorError."""
    state = engine.read(place.state) if place.data.is_dir() else None
    if settings.mode == "production" or (state is not None and state.mode == "production"):
        raise OperatorError("dev-users does not work in production mode", "register real accounts")
    if state is None or state.ready_at is None or not processes.is_alive(state.supervisor):
        raise OperatorError(f"no engine is ready on {place.data}", "start one with `hereabouts up`")
    url = settings.database_url or stored_url(place.data)
    try:
        pool = await open_pool(url, application_name="hereabouts dev-users")
        try:
            key = await ensure_signing_key(pool, settings.secret_key or development_key(place))
            users = [
                user
                for size in _batches(count)
                for user in await create_ready_users(pool, count=size, prefix=prefix, roles=roles, told=True)
            ]
        finally:
            await pool.close()
    except HandleInvalidError:
        raise OperatorError(
            f"{prefix!r} cannot begin a handle", "use lower-case letters and digits"
        ) from None
    except SealBrokenError:
        raise OperatorError(
            "the signing key was sealed with another secret key",
            "give the HEREABOUTS_SECRET_KEY of the engine",
        ) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as wrong:
        raise OperatorError(f"the database refuses: {wrong}", "see `hereabouts status`") from wrong
    now_s = time.time()
    return [
        {
            "user": user,
            "handle": handle,
            "token": issue_access_token(key, user=user, now_s=now_s, lifetime_s=ttl_s),
        }
        for user, handle in users
    ]


def _batches(count: int) -> Iterator[int]:
    """Sizes that fit the statement timeout."""
    while count > 0:
        yield min(count, BATCH)
        count -= BATCH
