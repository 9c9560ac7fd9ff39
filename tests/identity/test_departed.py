"""A token of somebody who has given up their account is believed by no process for long."""

import time
from datetime import UTC, datetime

import pytest

from identity.accounts import create_ready_users
from identity.departed import LOOK_S
from identity.keys import ReloadingVerifier, ensure_signing_key
from identity.tokens import TokenInvalid, issue_access_token
from storage import departures


class Clock:
    def __init__(self):
        self.now_s = time.time()

    def __call__(self):
        return self.now_s


async def test_another_process_believes_it_no_longer_than_it_looks_away(pool):
    [(ada, _), (bob, _)] = await create_ready_users(pool, 2, "d")
    key, clock = await ensure_signing_key(pool, "s" * 43), Clock()
    tokens = [issue_access_token(key, user=user, now_s=clock.now_s) for user in (ada, bob)]
    verifier = ReloadingVerifier(pool, clock)
    for token in tokens:
        await verifier.verify(token)
    now = datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction():
        assert await departures.begin(connection, ada, now, now)
        assert not await departures.begin(connection, ada, now, now)
    clock.now_s += 3 * LOOK_S
    with pytest.raises(TokenInvalid):
        await verifier.verify(tokens[0])
    assert (await verifier.verify(tokens[1])).user == bob


async def test_while_postgres_is_away_who_was_known_to_have_left_stays_out(pool):
    [(ada, _)] = await create_ready_users(pool, 1, "d")
    key, clock = await ensure_signing_key(pool, "s" * 43), Clock()
    verifier = ReloadingVerifier(pool, clock)
    token = issue_access_token(key, user=ada, now_s=clock.now_s)
    await verifier.verify(token)
    verifier.departed.add(ada)
    await pool.close()
    clock.now_s += 3 * LOOK_S
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)
