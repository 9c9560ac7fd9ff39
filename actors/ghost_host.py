"""Ghosts among the people of a shard: what they froze is kept; their time ends (GEO-22)."""

import logging
from typing import Any

from redis.exceptions import RedisError

from actors import ghosts
from actors.activation import Activation
from actors.host import Hosting
from actors.person import UserState
from storage import ghosts as table
from storage.ghosts import FrozenPlace, Ghost
from storage.messages import assert_epoch, moment
from storage.outbox import append_user_event, write_event

log = logging.getLogger("hereabouts.user")


class GhostHost:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard

    async def restore(self, state: UserState) -> None:
        """The state was loaded anew: what its ghost froze is read."""
        ghost = state.record.ghost
        if ghost is None:
            return
        place = None
        try:
            place = await table.frozen(self._shard.valkey, state.user, ghost.since_ms)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("a ghost's place is not known, so it is hidden: %s", type(error).__name__)
        ghosts.restored(state, place)

    def begins(self, activation: Activation) -> None:
        """The person's state is here, or their record was read anew: they may be a ghost from now on."""
        state: UserState = activation.state
        place = ghosts.begins(state, self._shard.now_ms())
        if place is not None:
            assert state.record.ghost is not None
            self._shard.spawn(self._freeze(state.user, place, state.record.ghost))

    async def _freeze(self, user: str, place: FrozenPlace, ghost: Ghost) -> None:
        try:
            await table.freeze(self._shard.valkey, user, place, ghost.until_ms)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("a ghost's place is not kept: %s", type(error).__name__)

    async def remind(self, activation: Activation, _: str, __: Any) -> None:
        """A ghost's time is over, unless it was given more meanwhile. At least once."""
        shard, user = self._shard, activation.key
        async with shard.pool.acquire() as connection, connection.transaction():
            await assert_epoch(connection, activation.slot, shard.router.epoch_of(activation.slot))
            if await table.end(connection, user, moment(shard.now_ms())):
                await append_user_event(connection, user, {"type": "ghost.ended", "v": 1})
                await write_event(
                    connection, type="user.visibility_changed", aggregate=f"user:{user}",
                    payload={"ghost": None}, touches=[("user", user)],
                )  # fmt: skip
