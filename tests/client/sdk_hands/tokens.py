"""Tokens that end soon, signed with the running engine's own key."""

import time
from pathlib import Path

from cluster.embedded.postgres import stored_url
from cluster.layout import layout_of
from cluster.plan import development_key
from identity.keys import ensure_signing_key
from identity.tokens import issue_access_token
from storage.ids import UserId
from storage.postgres import open_pool


async def short_token(data: Path, user: str, lifetime_s: float) -> str:
    """An access token of `user`; a lifetime below 0 gives one that has ended."""
    pool = await open_pool(stored_url(data), application_name="test")
    try:
        key = await ensure_signing_key(pool, development_key(layout_of(data)))
    finally:
        await pool.close()
    now_s = time.time() + min(lifetime_s, 0)
    return issue_access_token(key, user=UserId(user), now_s=now_s, lifetime_s=abs(lifetime_s))
