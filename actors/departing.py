"""Accounts that are given up: what a shard keeps of them goes at once, all the rest when its time has come.

Both are reminders, so that no restart forgets them; each may be repeated (identity/leaving.py sets them).
"""

from datetime import UTC, datetime
from typing import Any

from actors import messages as wire
from actors.activation import Activation
from actors.crossings import Crossings
from actors.effects import NOBODY
from actors.forgetting import Forgetting
from actors.host import Hosting
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.share_host import ShareHost
from actors.stay_keeping import StayKeeping
from identity.erasing import erase_if_due
from storage.accounts import is_leaving


class Departing:
    """Of one shard's people."""

    def __init__(
        self,
        shard: Hosting,
        crossings: Crossings,
        shares: ShareHost,
        stays: StayKeeping,
        forgetting: Forgetting,
    ) -> None:
        self._shard = shard
        self._crossings = crossings
        self._shares = shares
        self._stays = stays
        self._forgetting = forgetting

    async def remind(self, activation: Activation, _: str, __: Any) -> None:
        """The actor is live though its account was given up: it reads that first, and the reminder comes
        again when it has gone. Raises EngineError.
        """
        self._shard.deliver(wire.Refresh(0, "user", activation.key), NOBODY, "")
        raise EngineError(ErrorCode.MOVED, "the person is still live here")

    async def see_off(self, user: str) -> None:
        """There is no such active person: what was under way ends. Of an account that was given up nothing
        is kept of where they were, whether or not they were live. Raises what the stores raise.
        """
        await self._crossings.see_off(user)
        async with self._shard.pool.acquire() as connection:
            if not await is_leaving(connection, user):
                return
        await self._shares.see_off(user)
        await self._stays.see_off(user)
        await self._forgetting.erase_departed(slot_of("user", user), user)
        await erase_if_due(self._shard.pool, user, datetime.fromtimestamp(self._shard.now_ms() / 1000, UTC))
