"""Hosts the shares of a shard's people, those that they give and those that they look at (GEO-22).

A sharer's actor tells the actors of those who look, and these their connections. So a block cuts at both
ends, and each end goes on where the other one is loaded anew.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg
import msgspec
from redis.exceptions import RedisError

from actors import messages as wire
from actors import share_views, shares
from actors.activation import Activation, Stage, Waiting
from actors.effects import NOBODY
from actors.host import Hosting
from actors.moves import Moves
from actors.person import UserState
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.share_views import DOUBT_MS, LOOK_AGAIN_MS, PREFIX, Followed
from storage import ghosts, near_episodes
from storage import shares as table
from storage.accounts import is_leaving
from storage.ids import new_id
from storage.messages import FENCED, assert_epoch, moment
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.user")

_EPOCH = 1 << 40  # far more messages than an activation ever sends
_RETRY_S = 0.5
NOTE_MS = 10_000
"""When somebody last looked is stored so often at most."""
_DENIED = EngineError(ErrorCode.DENIED, "no such channel, or not yours")


@dataclass(slots=True)
class _Beginning:
    """A share that is being looked up."""

    waiting: list[Waiting]
    """Who waits until the sharer's actor has answered."""
    news: wire.ShareShown | None = None
    """What it told meanwhile."""


class ShareHost:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._numbers = count(1)
        self._watched: set[str] = set()
        """People at whose shares somebody looks."""
        self._beginning: dict[tuple[str, str], _Beginning] = {}
        """By (viewer, share)."""
        self._recording: dict[str, int] = {}
        """Sharers → looks that are not stored yet."""

    # -- life ---------------------------------------------------------------------------------------

    def begins(self, activation: Activation) -> None:
        """The person's state is here, loaded or handed over; or their record was read anew."""
        state: UserState = activation.state
        self._tell(activation, shares.reviewed(state, self._shard.now_ms()))
        if state.shares.is_watched:
            self._watched.add(activation.key)
        for followed in list(state.shares.followed.values()):
            if followed.sharer in state.record.blocked:
                self._over(activation, followed)

    def is_quiet(self, user: str) -> bool:
        """Whether nothing is under way for this person."""
        return user not in self._recording and not any(viewer == user for viewer, _ in self._beginning)

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        now_ms = self._shard.now_ms()
        for followed in activation.state.shares.followed.values():
            followed.maps.gateway_lost(gateway, now_ms)

    def slots_moved(self, slots: set[int]) -> None:
        """These slots begin anew somewhere: who looks at a share from there says so again."""
        for activation in list(self._shard.activations.values()):
            if activation.kind == "user" and activation.is_live:
                for followed in activation.state.shares.followed.values():
                    if slot_of("user", followed.sharer) in slots:
                        self._look_again(activation.key, followed)

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: ends what time alone ends."""
        own = activation.state.shares
        if any(now_ms >= given.ends_at_ms for given in own.given.values()):
            self._tell(activation, shares.reviewed(activation.state, now_ms))
        elif own.given:
            self._moved(activation, now_ms)
        for followed in list(own.followed.values()):
            followed.maps.kept.expire(now_ms)
            if now_ms >= followed.ends_at_ms:
                self._over(activation, followed)
            elif not followed.is_wanted:
                self._leave(activation, followed)
            elif now_ms >= followed.ask_at_ms:
                self._look_again(activation.key, followed)

    # -- the sharer's side --------------------------------------------------------------------------

    def follow(self, moves: Moves, now_ms: int) -> None:  # noqa: ARG002 - who is looked at is fewer
        """A tick's fixes: those at whose shares somebody looks are shown."""
        for user in list(self._watched):
            activation = self._shard.activations.get(("user", user))
            if activation is None or not activation.is_live or not activation.state.shares.is_watched:
                self._watched.discard(user)
            else:
                self._moved(activation, now_ms)

    def _moved(self, activation: Activation, now_ms: int) -> None:
        self._tell(activation, shares.moved(activation.state, now_ms))

    def _tell(self, activation: Activation, told: list[wire.ShareShown]) -> None:
        for message in told:
            message.version = self._version(activation)
            self._shard.router.cast("user", message.user, message)

    def _version(self, activation: Activation) -> int:
        return self._shard.router.epoch_of(activation.slot) * _EPOCH + next(self._numbers)

    def _watch(self, activation: Activation, waiting: Waiting, message: wire.ShareWatch) -> None:
        answer = shares.watched(activation.state, message, self._shard.now_ms())
        if answer is None:
            waiting.asker.refuse(_DENIED)
            return
        if message.on:
            answer["version"] = self._version(activation)
            self._watched.add(activation.key)
        waiting.asker.answer(answer)
        given = activation.state.shares.given[message.share]
        now_ms = self._shard.now_ms()
        if message.viewer != activation.key and now_ms - given.noted.get(message.viewer, 0) >= NOTE_MS:
            given.noted[message.viewer] = now_ms
            self._recording[activation.key] = self._recording.get(activation.key, 0) + 1
            self._shard.spawn(self._record(activation, message.share, message.viewer))

    async def _record(self, activation: Activation, share: str, viewer: str) -> None:
        """Stores that somebody looks; the sharer hears of the first time."""
        try:
            while activation.stage is not Stage.GONE:
                try:
                    async with self._shard.pool.acquire() as connection, connection.transaction():
                        epoch = self._shard.router.epoch_of(activation.slot)
                        await assert_epoch(connection, activation.slot, epoch)
                        await table.tell(connection, await table.viewed(connection, share, viewer))
                except asyncpg.PostgresError as error:
                    if error.sqlstate == FENCED:
                        self._shard.deactivate(activation)
                        return
                    log.warning("a look at a share waits: %s", type(error).__name__)
                except UNREACHABLE as error:
                    log.warning("a look at a share waits: %s", type(error).__name__)
                else:
                    return
                await asyncio.sleep(_RETRY_S)
        finally:
            self._recording[activation.key] -= 1
            if not self._recording[activation.key]:
                del self._recording[activation.key]

    async def remind(self, activation: Activation, share: str, _: str) -> None:
        """The share's time is over: it ends for everybody, and they are told. At least once."""
        async with self._shard.pool.acquire() as connection, connection.transaction():
            epoch = self._shard.router.epoch_of(activation.slot)
            await assert_epoch(connection, activation.slot, epoch)
            told = await table.end_share(connection, share, activation.key, "expired")
            await table.tell(connection, told)

    async def see_off(self, user: str) -> None:
        """Somebody does not take part any more. Of an account that is no more nothing stays shared, and with
        whom they were near is forgotten.
        """
        async with self._shard.pool.acquire() as connection, connection.transaction():
            if await is_leaving(connection, user):
                await table.erase(connection, user)
                await near_episodes.erase(connection, user, self._shard.now_ms())
        with suppress(RedisError, OSError, TimeoutError):  # it ends by itself
            await ghosts.thaw(self._shard.valkey, user)

    # -- the viewer's side --------------------------------------------------------------------------

    def handles(self, activation: Activation, waiting: Waiting) -> bool:
        """Whether the message was one of these, and is seen to."""
        message = waiting.message
        if isinstance(message, wire.ShareWatch):
            self._watch(activation, waiting, message)
        elif isinstance(message, wire.ShareShown):
            self._shown(activation, message)
        elif isinstance(message, wire.WatchersQuery):
            given = activation.state.shares.given
            waiting.asker.answer({share: dict(each.watchers) for share, each in given.items()})
        elif isinstance(message, wire.Subscribe) and message.ch.startswith(PREFIX):
            self._subscribed(activation, waiting, message)
        elif isinstance(message, wire.Unsubscribe) and message.ch.startswith(PREFIX):
            followed = activation.state.shares.followed.get(share_views.share_of(message.ch))
            if followed is not None:
                followed.maps.unsubscribed(message, waiting.gateway, self._shard.now_ms())
                if not followed.is_wanted:
                    self._leave(activation, followed)
            waiting.asker.answer({})
        else:
            return False
        return True

    def _subscribed(self, activation: Activation, waiting: Waiting, message: wire.Subscribe) -> None:
        state: UserState = activation.state
        if message.user != activation.key:
            waiting.asker.refuse(_DENIED)
            return
        share = share_views.share_of(message.ch)
        followed = state.shares.followed.get(share)
        if followed is not None:
            now_ms = self._shard.now_ms()
            effects = share_views.subscribed(
                followed, message, waiting.asker, waiting.gateway, now_ms, new_id
            )
            self._shard.run(effects)
            return
        at = (activation.key, share)
        if at in self._beginning:
            self._beginning[at].waiting.append(waiting)
        else:
            self._beginning[at] = _Beginning([waiting])
            self._shard.spawn(self._begin(activation, share))

    async def _begin(self, activation: Activation, share: str) -> None:
        """Finds the sharer and looks, outside of a turn: two people may look at each other's."""
        viewer, shard = activation.key, self._shard
        refusal: EngineError | None = None
        try:
            async with shard.pool.acquire() as connection:
                found = await table.sharer_of(connection, share, viewer, moment(shard.now_ms()))
            if found is None:
                raise _DENIED
            watch = wire.ShareWatch(0, found, share, viewer)
            answer = await shard.router.request("user", found, watch)
            if activation.is_live:
                if found in activation.state.record.blocked:
                    raise _DENIED
                activation.state.shares.followed[share] = Followed(
                    share, found, answer["ends_at_ms"], answer["place"], answer["version"],
                    shard.now_ms() + LOOK_AGAIN_MS,
                )  # fmt: skip
        except EngineError as error:
            refusal = error
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("a share can't be looked up: %s", type(error).__name__)
            refusal = EngineError(ErrorCode.INTERNAL, "the engine can't look this up", 500)
        beginning = self._beginning.pop((viewer, share))
        if refusal is None and beginning.news is not None:
            shard.deliver(beginning.news, NOBODY, "")
        for waiting in beginning.waiting:
            if refusal is not None:
                waiting.asker.refuse(refusal)
            else:
                shard.deliver(waiting.message, waiting.asker, waiting.gateway)

    def _shown(self, activation: Activation, message: wire.ShareShown) -> None:
        followed = activation.state.shares.followed.get(message.share)
        beginning = self._beginning.get((activation.key, message.share))
        if followed is None and beginning is not None:
            beginning.news = message
        elif followed is None or followed.sharer != message.sharer:
            if not message.is_over:
                self._stop(message.sharer, message.share, activation.key)
        elif message.is_over and message.version >= followed.version:
            self._over(activation, followed)
        else:
            self._shard.run(list(share_views.shown(followed, message)))

    def _look_again(self, viewer: str, followed: Followed) -> None:
        shard, share = self._shard, followed.share
        followed.ask_at_ms = shard.now_ms() + DOUBT_MS

        def answered(reply: Any, error: EngineError | None) -> None:
            told = wire.ShareShown(0, viewer, share, followed.sharer, None, 2**62, is_over=True)
            if error is not None and error.code is not ErrorCode.DENIED:
                return  # asked again soon
            if error is None:
                followed.ask_at_ms = shard.now_ms() + LOOK_AGAIN_MS
                told = msgspec.structs.replace(
                    told, place=reply["place"], version=reply["version"], is_over=False
                )
            shard.deliver(told, NOBODY, "")

        watch = wire.ShareWatch(0, followed.sharer, share, viewer)
        shard.router.call("user", followed.sharer, watch, answered)

    def _over(self, activation: Activation, followed: Followed) -> None:
        self._shard.run(list(share_views.over(activation.state, followed)))

    def _leave(self, activation: Activation, followed: Followed) -> None:
        del activation.state.shares.followed[followed.share]
        self._stop(followed.sharer, followed.share, activation.key)

    def _stop(self, sharer: str, share: str, viewer: str) -> None:
        """Nobody wants to know any more."""
        self._shard.router.cast("user", sharer, wire.ShareWatch(0, sharer, share, viewer, on=False))
