"""Registering, signing in, staying signed in."""

import asyncio
from datetime import date

import pytest
from argon2 import PasswordHasher

from identity.accounts import (
    Accounts,
    HandleInvalidError,
    RefreshRefusedError,
    SignInRefusedError,
    TooYoungError,
    age_years,
    create_ready_users,
)
from identity.keys import ReloadingVerifier, ensure_signing_key
from identity.passwords import Passwords
from storage.accounts import HandleTakenError
from storage.ids import is_id

SECRET = "s" * 43
START_S = 1_800_000_000.0  # 2027-01-15
ADULT = date(1990, 5, 17)


class Clock:
    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def passwords():
    made = Passwords()
    yield made
    made.close()


@pytest.fixture
async def accounts(pool, passwords, clock):
    key = await ensure_signing_key(pool, SECRET)
    return Accounts(pool, passwords, key, SECRET, clock=clock)


async def register(accounts, handle="ada", **changes):
    given = {"password": "correct horse", "birth_date": ADULT, "device": "phone", **changes}
    return await accounts.register(handle=handle, **given)


async def test_a_registered_person_is_signed_in_and_seen_by_matches(accounts, pool, clock):
    tokens = await register(accounts)
    claims = await ReloadingVerifier(pool, clock).verify(tokens.access_token)
    assert claims.user == tokens.user
    assert claims.expires_at_s == START_S + tokens.expires_in_s == START_S + 600
    row = await pool.fetchrow("SELECT * FROM users")
    assert (row["status"], row["visibility_audience"], row["who_can_add_me"]) == (
        "active",
        "matches",
        "matches",
    )
    assert row["password_hash"].startswith("$argon2id$")
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE type = 'user.registered'") == 1


async def test_a_handle_is_taken_in_any_case(accounts, pool):
    await register(accounts, "ada")
    with pytest.raises(HandleTakenError):
        await register(accounts, "ADA")
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1


async def test_of_many_who_want_a_handle_at_once_one_gets_it(accounts):
    outcomes = await asyncio.gather(*(register(accounts) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(each, HandleTakenError) for each in outcomes) == 5


@pytest.mark.parametrize("handle", ["ab", "a" * 33, "-ada", "ada-", "a da", "ada\n", "ädä", "a\0da", ""])
async def test_a_handle_outside_the_rules_is_refused(accounts, handle):
    with pytest.raises(HandleInvalidError):
        await register(accounts, handle)


async def test_the_day_before_the_eighteenth_birthday_is_too_young(accounts):
    with pytest.raises(TooYoungError):
        await register(accounts, birth_date=date(2009, 1, 16))
    await register(accounts, birth_date=date(2009, 1, 15))


def test_age_counts_completed_years_also_for_the_29th_of_february():
    assert age_years(date(2008, 2, 29), date(2026, 2, 28)) == 17
    assert age_years(date(2008, 2, 29), date(2026, 3, 1)) == 18


async def test_signing_in_is_by_handle_in_any_case_and_password(accounts):
    registered = await register(accounts)
    assert (await accounts.login(handle="Ada", password="correct horse")).user == registered.user
    with pytest.raises(SignInRefusedError):
        await accounts.login(handle="ada", password="battery staple")


async def test_an_unknown_handle_costs_one_verification_like_a_known_one(accounts, passwords):
    await register(accounts)
    for handle in ("ada", "nobody"):
        before = passwords.verifications
        with pytest.raises(SignInRefusedError):
            await accounts.login(handle=handle, password="battery staple")
        assert passwords.verifications == before + 1


async def test_a_person_without_a_password_costs_one_too_and_is_refused(accounts, passwords, pool):
    await create_ready_users(pool, 1, "u")
    with pytest.raises(SignInRefusedError):
        await accounts.login(handle="u-000001", password="nobody has this password")
    assert passwords.verifications == 1


@pytest.mark.parametrize("status", ["suspended", "deleting", "erased", "pending"])
async def test_who_may_not_sign_in_is_refused_with_the_right_password(accounts, pool, status):
    tokens = await register(accounts)
    await pool.execute("UPDATE users SET status = $1", status)
    with pytest.raises(SignInRefusedError):
        await accounts.login(handle="ada", password="correct horse")
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(tokens.refresh_token, device="phone")


async def test_an_outdated_hash_is_renewed_at_sign_in(accounts, pool):
    await register(accounts)
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("correct horse")
    await pool.execute("UPDATE users SET password_hash = $1", old)
    await accounts.login(handle="ada", password="correct horse")
    assert await pool.fetchval("SELECT password_hash LIKE '%m=19456,t=2,p=1%' FROM users")


async def test_a_refresh_replaces_the_token_and_the_database_knows_hashes_only(accounts, pool, clock):
    first = await register(accounts)
    clock.now_s += 500
    second = await accounts.refresh(first.refresh_token, device="phone")
    assert second.user == first.user
    assert second.refresh_token != first.refresh_token
    row = await pool.fetchrow("SELECT * FROM sessions")
    assert row["refresh_generation"] == 2
    assert second.refresh_token.encode() not in bytes(row["refresh_sha256"])


async def test_the_same_device_gets_the_same_successor_within_20_s(accounts, clock):
    first = await register(accounts)
    second = await accounts.refresh(first.refresh_token, device="phone")
    clock.now_s += 20
    again = await accounts.refresh(first.refresh_token, device="phone")
    unnamed = await accounts.refresh(first.refresh_token)
    assert again.refresh_token == unnamed.refresh_token == second.refresh_token
    await accounts.refresh(again.refresh_token, device="phone")


@pytest.mark.parametrize(("waited_s", "device"), [(21, "phone"), (21, None), (1, "another"), (1, "")])
async def test_a_used_token_later_or_elsewhere_ends_the_session(accounts, pool, clock, waited_s, device):
    first = await register(accounts)
    second = await accounts.refresh(first.refresh_token, device="phone")
    clock.now_s += waited_s
    for token in (first, second, second):
        with pytest.raises(RefreshRefusedError):
            await accounts.refresh(token.refresh_token, device=device)
    told = await pool.fetch("SELECT body FROM user_events WHERE stream = 'me'")
    assert len(told) == 1
    assert "refresh_reuse" in told[0]["body"]


async def test_a_token_two_generations_old_ends_the_session_at_once(accounts):
    first = await register(accounts)
    second = await accounts.refresh(first.refresh_token, device="phone")
    third = await accounts.refresh(second.refresh_token, device="phone")
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(first.refresh_token, device="phone")
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(third.refresh_token, device="phone")


async def test_a_forged_token_ends_nothing(accounts):
    tokens = await register(accounts)
    forged = ("A" if tokens.refresh_token[-1] != "A" else "B").join([tokens.refresh_token[:-1], ""])
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(forged, device="phone")
    await accounts.refresh(tokens.refresh_token, device="phone")


async def test_of_concurrent_refreshes_all_get_the_same_successor(accounts, pool):
    first = await register(accounts)
    outcomes = await asyncio.gather(
        *(accounts.refresh(first.refresh_token, device="phone") for _ in range(8))
    )
    assert len({each.refresh_token for each in outcomes}) == 1
    assert await pool.fetchval("SELECT refresh_generation FROM sessions") == 2


async def test_a_session_ends_30_days_after_its_last_refresh(accounts, clock):
    tokens = await register(accounts)
    clock.now_s += 29 * 86_400
    tokens = await accounts.refresh(tokens.refresh_token, device="phone")
    clock.now_s += 30 * 86_400
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(tokens.refresh_token, device="phone")


async def test_logging_out_ends_this_session_and_no_other(accounts, pool, clock):
    phone = await register(accounts)
    laptop = await accounts.login(handle="ada", password="correct horse", device="laptop")
    claims = await ReloadingVerifier(pool, clock).verify(phone.access_token)
    await accounts.logout(claims.session)
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(phone.refresh_token, device="phone")
    await accounts.refresh(laptop.refresh_token, device="laptop")


async def test_ready_users_go_on_counting_where_they_ended(pool):
    first = await create_ready_users(pool, 3, "u")
    second = await create_ready_users(pool, 2, "u")
    other = await create_ready_users(pool, 1, "u-0")
    assert [handle for _, handle in first + second] == [f"u-{number:06d}" for number in range(1, 6)]
    assert other[0][1] == "u-0-000001"
    assert all(is_id(user) for user, _ in first)
    row = await pool.fetchrow("SELECT * FROM users WHERE handle = 'u-000005'")
    assert (row["status"], row["visibility_audience"], row["who_can_add_me"]) == (
        "active",
        "everyone",
        "everyone",
    )
    assert row["visibility_precision"] == "r8"


async def test_ready_users_made_at_once_have_different_handles(pool):
    batches = await asyncio.gather(*(create_ready_users(pool, 50, "u") for _ in range(4)))
    assert len({handle for batch in batches for _, handle in batch}) == 200


async def test_a_refresh_token_is_enough_to_log_out(accounts):
    tokens = await register(accounts)
    await accounts.logout_by_refresh(tokens.refresh_token)
    with pytest.raises(RefreshRefusedError):
        await accounts.refresh(tokens.refresh_token)
    with pytest.raises(RefreshRefusedError):
        await accounts.logout_by_refresh("nonsense")
