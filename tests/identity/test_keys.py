"""Signing keys: one for all replicas, sealed at rest, found by those who verify."""

import asyncio
import json

import asyncpg
import pytest

from identity.keys import ReloadingVerifier, SealBrokenError, ensure_signing_key, load_verifying_keys
from identity.tokens import TokenExpired, TokenInvalid, UnknownKey, issue_access_token
from storage.ids import UserId, new_id

SECRET = "s" * 43


async def ensure(pool, secret=SECRET):
    return await ensure_signing_key(pool, secret)


async def test_replicas_that_start_at_once_agree_on_one_key(pool):
    keys = await asyncio.gather(*(ensure(pool) for _ in range(8)))
    assert len({key.kid for key in keys}) == 1
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1


async def test_the_private_key_is_not_in_the_database_in_the_clear(pool):
    key = await ensure(pool)
    row = await pool.fetchrow("SELECT * FROM signing_keys")
    number = key.private_key.private_numbers().private_value.to_bytes(32, "big")
    assert number not in row["private_key_sealed"]
    assert "d" not in json.loads(row["public_jwk"])


async def test_another_secret_key_does_not_open_the_seal(pool):
    await ensure(pool)
    with pytest.raises(SealBrokenError):
        await ensure(pool, "t" * 43)


async def test_a_seal_belongs_to_its_kid(pool):
    await ensure(pool)
    await pool.execute("UPDATE signing_keys SET kid = 'another'")
    with pytest.raises(SealBrokenError):
        await ensure(pool)


async def test_a_verifier_finds_a_key_that_was_made_after_it(pool):
    now_s = 1_800_000_000.0
    verifier = ReloadingVerifier(pool, clock=lambda: now_s)
    key = await ensure(pool)
    user = UserId(new_id())
    assert (await verifier.verify(issue_access_token(key, user=user, now_s=now_s))).user == user
    with pytest.raises(TokenExpired):
        await verifier.verify(issue_access_token(key, user=user, now_s=now_s - 999))
    with pytest.raises(TokenInvalid):
        await verifier.verify("nonsense")


async def test_a_flood_of_unknown_kids_reads_the_keys_once(pool):
    now_s = 1_800_000_000.0
    verifier = ReloadingVerifier(pool, clock=lambda: now_s)
    stranger = await ensure(pool)
    token = issue_access_token(stranger, user=UserId(new_id()), now_s=now_s)
    await pool.execute("UPDATE signing_keys SET retired_at = now()")
    with pytest.raises(UnknownKey):
        await verifier.verify(token)
    await pool.execute("UPDATE signing_keys SET retired_at = NULL")
    with pytest.raises(UnknownKey):
        await verifier.verify(token)
    now_s += 3
    await verifier.verify(token)


async def test_all_who_come_while_the_keys_are_read_wait_for_them(pool):
    now_s = 1_800_000_000.0
    verifier = ReloadingVerifier(pool, clock=lambda: now_s)
    key = await ensure(pool)
    tokens = [issue_access_token(key, user=UserId(new_id()), now_s=now_s) for _ in range(20)]
    claims = await asyncio.gather(*(verifier.verify(token) for token in tokens))
    assert len({each.user for each in claims}) == 20


async def test_a_failed_read_of_the_keys_is_told_and_tried_again(pool):
    now_s = 1_800_000_000.0
    verifier = ReloadingVerifier(pool, clock=lambda: now_s)
    token = issue_access_token(await ensure(pool), user=UserId(new_id()), now_s=now_s)
    await pool.execute("ALTER TABLE signing_keys RENAME TO away")
    with pytest.raises(asyncpg.UndefinedTableError):
        await verifier.verify(token)
    await pool.execute("ALTER TABLE away RENAME TO signing_keys")
    await verifier.verify(token)


async def test_public_keys_are_es256_keys_by_kid(pool):
    key = await ensure(pool)
    published = await load_verifying_keys(pool)
    assert published == {key.kid: key.public_jwk}
    assert (published[key.kid]["alg"], published[key.kid]["crv"]) == ("ES256", "P-256")
