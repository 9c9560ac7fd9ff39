"""Passwords by argon2id (RFC 9106) with 19 MiB, two passes, one lane (AUTH-1), never on the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

Result = TypeVar("Result")

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
THREADS = 2
QUEUE_LIMIT = 64
"""Sign-ins that may wait; one takes about 25 ms, so nobody waits longer than a second."""


class TooManySignInsError(Exception):
    """The queue is full: try again in a moment."""


class Passwords:
    """Hashes and verifies in its own small pool of threads. Raises TooManySignInsError when too many wait."""

    def __init__(self, *, threads: int = THREADS, queue_limit: int = QUEUE_LIMIT) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._room = threads + queue_limit
        self._dummy: str | None = None
        self.verifications = 0
        """How many hashes were computed to check a password, for the people who exist and for the others."""

    async def hash(self, password: str) -> str:
        """The encoded hash, with its own salt and parameters."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is right. None (nobody there, or no password) costs the same time: no."""
        if stored is None:
            stored, exists = await self._dummy_hash(), False
        else:
            exists = True
        self.verifications += 1
        return await self._run(self._matches, stored, password) and exists

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _dummy_hash(self) -> str:
        if self._dummy is None:
            self._dummy = await self.hash("nobody has this password")
        return self._dummy

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        if self._room == 0:
            raise TooManySignInsError
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._room += 1
