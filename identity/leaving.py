"""Giving up an account: out of everything at once, and erased when its time has come."""

from datetime import datetime, timedelta
from typing import Any

from identity.memberships import leave_all
from identity.passwords import Passwords
from storage import departures, erasing_matching, reminders
from storage.ids import UserId
from storage.outbox import Touch, write_event
from storage.placement import slot_of
from storage.reminders import Reminder


class WrongPasswordError(Exception):
    """The password is not the account's."""


class AccountGoneError(Exception):
    """The account is given up already, or never was."""


GOES, ERASE = "account:goes", "account:erase"
"""Reminders of a person's shard: what it keeps of them goes; the rest, too."""


async def leave(  # noqa: PLR0917 - who, how, when
    pool: Any, passwords: Passwords, me: UserId, password: str | None, now: datetime, grace: timedelta
) -> tuple[datetime, list[Touch]]:
    """The account is `deleting`: signed out, in no room, seen by nobody. Returns from when on it is erased,
    and the virtual actors that this touched.

    Raises AccountGoneError, or WrongPasswordError where the account has a password and it is another.
    """
    async with pool.acquire() as connection:
        stored = await connection.fetchval("SELECT password_hash FROM users WHERE id = $1", me)
    if stored is not None and not (password is not None and await passwords.verify(password, stored)):
        raise WrongPasswordError
    due_at = now + grace
    async with pool.acquire() as connection, connection.transaction():
        if not await departures.begin(connection, me, now, due_at):
            raise AccountGoneError
        await erasing_matching.mark(connection, me)  # from now on nothing is made of what they are in
        touches: list[Touch] = [("user", me), *await leave_all(connection, me, now)]
        for name, at in ((GOES, now), (ERASE, due_at)):
            due_ms = round(at.timestamp() * 1000)
            await reminders.put(connection, Reminder("user", me, name, slot_of("user", me), due_ms), None)
        await write_event(
            connection,
            type="user.deleting",
            aggregate=f"user:{me}",
            payload={},
            touches=[*touches, ("reminder", me), ("withdrawn", me)],
        )
    return due_at, list(dict.fromkeys(touches))
