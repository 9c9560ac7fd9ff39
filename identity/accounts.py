"""Registering, signing in and staying signed in."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from identity.passwords import Passwords
from identity.refresh import RefreshToken, RefreshTokens
from identity.secrets import derive
from identity.tokens import LIFETIME_S, SigningKey, issue_access_token
from storage.accounts import (
    insert_account,
    insert_ready_users,
    load_credentials,
    replace_password_hash,
)
from storage.ids import SessionId, UserId, new_id
from storage.outbox import append_user_event, write_event
from storage.sessions import SessionRow, insert_session, load_session, revoke_session, rotate_refresh

MINIMUM_AGE_YEARS = 18
HANDLE = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{1,30}[A-Za-z0-9]$"
PASSWORD_MINIMUM, PASSWORD_MAXIMUM = 8, 256
SESSION_LIFETIME = timedelta(days=30)
"""A session ends this long after its last refresh."""

REFRESH_GRACE = timedelta(seconds=20)
_MAY_SIGN_IN = ("active", "paused")


class TooYoungError(Exception):
    """Below the minimum age."""


class HandleInvalidError(Exception):
    """Not 3 to 32 letters, digits, `_`, `.` or `-` that begin and end with a letter or digit."""


class SignInRefusedError(Exception):
    """Unknown handle, wrong password, or not allowed in: the caller is not told which."""


class RefreshRefusedError(Exception):
    """Not the current refresh token of a standing session."""


@dataclass(frozen=True, slots=True)
class Tokens:
    user: UserId
    access_token: str
    refresh_token: str
    expires_in_s: int


def age_years(birth_date: date, today: date) -> int:
    """Completed years."""
    return today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))


class Accounts:
    """The sign-in side of identity, over one pool. `clock` gives Unix seconds."""

    def __init__(
        self,
        pool: Any,
        passwords: Passwords,
        signing_key: SigningKey,
        secret_key: str,
        *,
        access_token_s: float = LIFETIME_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._passwords = passwords
        self._signing_key = signing_key
        self._refresh_tokens = RefreshTokens(derive(secret_key, "refresh tokens"))
        self._access_token_s = access_token_s
        self._clock = clock

    async def register(
        self, *, handle: str, password: str, birth_date: date, mail: str | None = None, device: str = ""
    ) -> Tokens:
        """Makes an account and signs it in.

        Raises HandleInvalidError, TooYoungError, HandleTakenError or TooManySignInsError.
        """
        now = self._now()
        if re.fullmatch(HANDLE, handle) is None:
            raise HandleInvalidError
        if age_years(birth_date, now.date()) < MINIMUM_AGE_YEARS:
            raise TooYoungError
        password_hash = await self._passwords.hash(password)
        user = UserId(new_id())
        async with self._pool.acquire() as connection, connection.transaction():
            await insert_account(
                connection,
                user=user,
                handle=handle,
                password_hash=password_hash,
                birth_date=birth_date,
                mail=mail,
            )
            await write_event(
                connection, type="user.registered", aggregate=f"user:{user}", payload={}, touches=()
            )
            return await self._start_session(connection, user, device, now)

    async def login(self, *, handle: str, password: str, device: str = "") -> Tokens:
        """Signs in. Raises SignInRefusedError or TooManySignInsError."""
        async with self._pool.acquire() as connection:
            found = await load_credentials(connection, handle)
        stored = found.password_hash if found is not None else None
        right = await self._passwords.verify(password, stored)
        if found is None or stored is None or not right or found.status not in _MAY_SIGN_IN:
            raise SignInRefusedError
        renewed = await self._passwords.hash(password) if self._passwords.is_outdated(stored) else None
        async with self._pool.acquire() as connection, connection.transaction():
            if renewed is not None:
                await replace_password_hash(connection, found.user, renewed)
            return await self._start_session(connection, found.user, device, self._now())

    async def refresh(self, refresh_token: str, *, device: str | None = None) -> Tokens:
        """The next pair of tokens. Raises RefreshRefusedError.

        A token that was used before ends its session, because one of the two who hold it is a thief; only the
        same device (or one that does not say), within 20 s, is taken for one whose answer got lost.
        """
        presented = self._refresh_tokens.read(refresh_token)
        if presented is None:
            raise RefreshRefusedError
        successor = self._refresh_tokens.successor(presented)
        now = self._now()
        async with self._pool.acquire() as connection:
            user = await rotate_refresh(
                connection,
                presented.session,
                presented=presented.sha256,
                successor=successor.sha256,
                now=now,
                expires_at=now + SESSION_LIFETIME,
            )
            if user is None:
                found = await load_session(connection, presented.session)
                if found is None or found.revoked_at is not None or found.expires_at <= now:
                    raise RefreshRefusedError
                if not _is_repeat(found, successor, device, now):
                    await self._end_stolen(connection, found, presented, now)
                    raise RefreshRefusedError
                user = found.user
        return self._tokens(user, successor)

    async def logout(self, session: SessionId) -> None:
        """Ends the session; its access tokens run out by themselves."""
        async with self._pool.acquire() as connection:
            await revoke_session(connection, session, self._now())

    async def logout_by_refresh(self, refresh_token: str) -> None:
        """Ends the session that the token was issued for, for who has no access token any more.

        Raises RefreshRefusedError for a token that this engine did not issue.
        """
        token = self._refresh_tokens.read(refresh_token)
        if token is None:
            raise RefreshRefusedError
        await self.logout(token.session)

    async def _end_stolen(
        self, connection: Any, found: SessionRow, presented: RefreshToken, now: datetime
    ) -> None:
        if found.refresh_sha256 == presented.sha256:
            return  # the current one, of somebody who may not sign in at the moment
        async with connection.transaction():
            if not await revoke_session(connection, found.session, now):
                return
            await append_user_event(
                connection,
                found.user,
                {"type": "account.session_ended", "v": 1, "reason": "refresh_reuse", "device": found.device},
            )
            await write_event(
                connection,
                type="session.ended",
                aggregate=f"user:{found.user}",
                payload={"session": found.session, "reason": "refresh_reuse"},
                touches=[("user", found.user)],
            )

    async def _start_session(self, connection: Any, user: UserId, device: str, now: datetime) -> Tokens:
        token = self._refresh_tokens.issue(SessionId(new_id()))
        await insert_session(
            connection,
            session=token.session,
            user=user,
            device=device,
            refresh_sha256=token.sha256,
            created_at=now,
            expires_at=now + SESSION_LIFETIME,
        )
        return self._tokens(user, token)

    def _tokens(self, user: UserId, refresh: RefreshToken) -> Tokens:
        access = issue_access_token(
            self._signing_key,
            user=user,
            session=refresh.session,
            now_s=self._clock(),
            lifetime_s=self._access_token_s,
        )
        return Tokens(user, access, refresh.text, int(self._access_token_s))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _is_repeat(found: SessionRow, successor: RefreshToken, device: str | None, now: datetime) -> bool:
    """Whether the token was current until just now and the same device asks again."""
    return (
        found.refresh_sha256 == successor.sha256
        and device in (None, found.device)
        and found.rotated_at is not None
        and now - found.rotated_at <= REFRESH_GRACE
    )


async def create_ready_users(
    pool: Any, count: int, prefix: str, roles: Sequence[str] = (), *, told: bool = False
) -> list[tuple[UserId, str]]:
    """`count` users for development and benchmarks: active, adult, visible to everyone at res 8, addable by
    everyone, without a password. Handles `<prefix>-000001` … go on where the last call ended. `told`: in the
    outbox, as those who register are.
    """
    if re.fullmatch(HANDLE, f"{prefix}-000001") is None:
        raise HandleInvalidError
    async with pool.acquire() as connection:
        return await insert_ready_users(connection, count, prefix, roles, told=told)
