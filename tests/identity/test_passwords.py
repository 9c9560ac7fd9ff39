"""Passwords cost the same for those who exist and those who do not."""

import asyncio

import pytest
from argon2 import PasswordHasher, extract_parameters

from identity.passwords import Passwords, TooManySignInsError


@pytest.fixture
def passwords():
    made = Passwords(queue_limit=3)
    yield made
    made.close()


async def test_a_hash_is_argon2id_with_19_mib_two_passes_one_lane(passwords):
    parameters = extract_parameters(await passwords.hash("correct horse"))
    assert (parameters.type.name, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        "ID", 19 * 1024, 2, 1)  # fmt: skip


async def test_the_right_password_is_right_and_another_is_not(passwords):
    stored = await passwords.hash("correct horse")
    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("battery staple", stored)


async def test_nobody_costs_a_verification_too(passwords):
    assert not await passwords.verify("nobody has this password", None)
    assert passwords.verifications == 1


async def test_a_hash_of_other_parameters_is_outdated(passwords):
    assert passwords.is_outdated(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x"))
    assert not passwords.is_outdated(await passwords.hash("x"))


async def test_a_damaged_hash_matches_nothing(passwords):
    assert not await passwords.verify("x", "not a hash")


async def test_a_full_queue_refuses_and_recovers(passwords):
    outcomes = await asyncio.gather(*(passwords.hash("x") for _ in range(9)), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, TooManySignInsError)]
    assert len(refused) == 4
    assert await passwords.hash("x")
