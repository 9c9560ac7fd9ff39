"""Hosts people: their positions, what they see near, their streams and their crossings of fences."""

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import Any

from actors import announcing, near_people, user
from actors import messages as wire
from actors.activation import Activation, Stage, Waiting
from actors.crossings import Crossings
from actors.departing import Departing
from actors.effects import Asker, Refuse
from actors.fix_log import FixLog, logged
from actors.forgetting import Forgetting
from actors.ghost_host import GhostHost
from actors.history_keeping import HistoryKeeping
from actors.host import Hosting
from actors.intake import PositionIntake
from actors.mates import MateHost
from actors.metrics import count
from actors.moves import Follower, Moves
from actors.near_host import NearHost
from actors.own_streams import OwnStreams
from actors.person import Look, Moved, NotLive, ToRegion, UserState, WantScores
from actors.place_keeping import PlaceKeeping
from actors.placement import slot_of
from actors.position_messages import OK
from actors.protocol import ErrorCode
from actors.reminders import Handler
from actors.restoring import Replay, Restoring, replayed
from actors.score_host import ScoreHost
from actors.share_host import ShareHost
from actors.stay_keeping import StayKeeping
from actors.visit_keeping import VisitKeeper
from actors.visits import restored
from geo.fixes import Fix
from geo.intake import JUMP, LIVE, OUTCOME_OF, STALE, rows_of
from geo.probing import FORGOTTEN
from storage import streams
from storage.ids import is_id
from storage.positions import LoggedRows

REGION_PATIENCE_S = 2.0


class UserHost:
    """People of one shard, and the fences that all of them are measured against."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._online = shard.online
        self._online.decide = self._decide
        self._online.place = self._place
        self._streams = OwnStreams(shard)
        self.crossings = Crossings(shard, self._streams.tail, self._online.tell)
        self._places = PlaceKeeping(shard)
        self._shares = ShareHost(shard)
        self._ghosts = GhostHost(shard)
        self.mates = MateHost(shard)
        self._moved = Moves()
        self._snapshot: asyncio.TimerHandle | None = None
        self.history = HistoryKeeping(shard)
        self._log = FixLog(shard, self.history.add)
        self.restoring = Restoring(shard, self.history.add)
        self._forgetting = Forgetting(shard, self._places, self._log, self.restoring, self.history)
        self._replays: dict[str, Replay] = {}
        """Fixes that begin a life anew, of people who are being activated."""
        self.intake = PositionIntake(shard, self._run, lambda: self._moved, self._log)
        self.stays = StayKeeping(shard)
        self.near = NearHost(shard, self._run)
        self.scores = ScoreHost(shard, self.near, random.SystemRandom())
        self.departing = Departing(shard, self.crossings, self._shares, self.stays, self._forgetting)
        self._places.keepers |= {"fences": VisitKeeper(), "stay": self.stays}
        self.followers: list[Follower] = [self.crossings, self._places, self.mates, self._shares, self.stays]
        """Who takes each tick's fixes, in this order."""
        self.reminders: dict[str, Handler] = {
            "share": self._shares.remind, "ghost": self._ghosts.remind, "near": self.mates.remind,
            "visit": self.crossings.remind, "account": self.departing.remind,
        }  # fmt: skip
        """What comes before the colon of a reminder's name → who does what it is about; they get the rest."""

    # -- life ---------------------------------------------------------------------------------------

    async def load(self, activation: Activation) -> UserState | None:
        if not is_id(activation.key):
            return None
        record = await self.restoring.record(activation.key)
        rows = await self.restoring.rows(activation.slot, activation.key)
        if record is None:
            return None
        state = UserState(
            activation.key,
            record,
            position_ttl_ms=self._shard.config.position_ttl_ms,
            visits=dict(record.visits),
            located=bool(record.visits),
        )
        place = await self._places.saved(activation)
        state.fences, state.visiting = restored(record, place.t_ms if place is not None else 0)
        if place is not None:
            self._places.take_back(state, place)
        await self._ghosts.restore(state)
        await self.near.restore(state)
        self.stays.load(state)
        await self.mates.load(state)
        if rows is not None:
            resolution = near_people.told_resolution(record.visibility_precision)
            fixes = replayed(state.location, rows, resolution, state.position_ttl_ms)
            if fixes:
                self._replays[activation.key] = fixes
        return state

    def activated(self, activation: Activation) -> None:
        self.intake.seats(activation)
        state: UserState = activation.state
        state.split = self._shard.splits.regions
        state.announced = announcing.known_before(state)
        self._online.located(activation)
        self._ghosts.begins(activation)
        self._run(activation, announcing.placed(state, self._shard.now_ms()))
        self.crossings.activated(activation)
        self._shares.begins(activation)
        self.mates.review(activation)
        for fix, at_ms in self._replays.pop(activation.key, ()):
            moves = Moves()
            moves.since_ms = at_ms
            moves.add(activation, fix, is_first=not state.located)
            state.located = True
            self._follow(moves)

    async def remind(self, activation: Activation, name: str, data: str) -> None:
        """The time of one of this person's reminders has come."""
        what, _, key = name.partition(":")
        await self.reminders[what](activation, key, data)

    def regions_split(self, activation: Activation, regions: frozenset[str]) -> None:
        """Tells the children what the parents knew. Nobody is taken off a view until others have, too."""
        state, now_ms = activation.state, self._shard.now_ms()
        state.split = self._shard.splits.regions
        for near in state.views.values():
            near.settles_at_ms = now_ms + near_people.SETTLE_MS
        self._run(activation, announcing.announce_again(state, set(regions), now_ms))
        self.near.regions_split(activation)

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        self._run(activation, user.gateway_lost(activation.state, gateway, self._shard.now_ms()))
        self._shares.gateway_lost(activation, gateway)
        self.scores.gateway_lost(activation, gateway)

    def is_idle(self, activation: Activation) -> bool:
        busy = activation.crossings or not self.stays.is_settled(activation.key)
        return bool(activation.state.is_idle) and not busy

    def size_bytes(self, activation: Activation) -> int:
        state: UserState = activation.state
        events = sum(len(stream.window) for stream in state.streams.values())
        rows = sum(len(near.seen.rows) for near in state.views.values())
        pairs = 0 if state.book is None else len(state.book.known)
        return 2_000 + events * 500 + rows * 250 + len(state.fences) * 200 + pairs * 100

    def is_quiet(self, activation: Activation) -> bool:
        if activation.crossings or activation.recording or self._online.looks(activation.key):
            return False
        if not (self._shares.is_quiet(activation.key) and self.mates.is_quiet(activation.key)):
            return False
        if self._moved.has(activation) or not self.stays.is_settled(activation.key):
            return False
        self.stays.pack(activation.state)
        return True

    def leaving(self, activation: Activation) -> None:
        self._places.forget(activation)

    def ended(self, activation: Activation) -> None:
        self.near.leaving(activation)
        self.scores.ended(activation)
        self._replays.pop(activation.key, None)
        self._places.ended(activation)
        self.intake.leaves(activation)
        self.mates.forget(activation.key)
        self.stays.forget(activation.key)

    def arrived(self, activation: Activation) -> None:
        """What this person's regions know is told again: their slots may have moved meanwhile, too."""
        self.intake.seats(activation)
        state: UserState = activation.state
        state.split = self._shard.splits.regions
        self._places.keep(activation)
        self.stays.arrived(state)
        state.watching = ""
        now_ms = self._shard.now_ms()
        self._run(activation, announcing.announce_again(state, set(state.announced), now_ms))
        self._run(activation, near_people.rewatch(state))
        self.crossings.activated(activation)
        self._shares.begins(activation)
        self.mates.review(activation)
        self._online.tell(activation)
        self.scores.arrived(activation)

    def expire(self, activation: Activation, now_ms: int) -> None:
        state: UserState = activation.state
        state.kept.expire(now_ms)
        self._online.expire(activation, now_ms)
        self.crossings.expire(activation, now_ms)
        self._shares.expire(activation, now_ms)
        self.mates.expire(activation, now_ms)
        self.stays.expire(state, now_ms)
        self.near.expire(activation, now_ms)
        self.scores.expire(activation, now_ms)
        self._run(activation, announcing.expired(state, now_ms))

    def slots_moved(self, slots: set[int]) -> None:
        """These slots begin anew somewhere: their regions are told again who is in reach."""
        self._shares.slots_moved(slots)
        self.mates.slots_moved(slots)
        now_ms = self._shard.now_ms()
        self.near.following.slots_moved(slots)
        for activation in list(self._shard.activations.values()):
            if activation.kind != "user" or activation.stage is not Stage.ACTIVE:
                continue
            state: UserState = activation.state
            lost = {region for region in state.announced if slot_of("region", region) in slots}
            if lost:
                self._run(activation, announcing.announce_again(state, lost, now_ms))

    # -- turns --------------------------------------------------------------------------------------

    def handle(  # noqa: C901, PLR0911 - one line per kind of message
        self, activation: Activation, waiting: Waiting
    ) -> Awaitable[None] | None:
        message = waiting.message
        if self._online.handles(activation, waiting) or self._shares.handles(activation, waiting):
            return None
        if isinstance(message, wire.Refresh):
            return self._refresh(activation, waiting.asker)
        if isinstance(message, wire.TrailQuery):
            return self._stored(waiting.asker)
        if isinstance(message, wire.ForgetPositions):
            return self._forget(activation, waiting.asker)
        if isinstance(message, wire.StayQuery):
            waiting.asker.answer(self.stays.going_on(activation.key))
            return None
        if self.scores.is_about(message):
            return self.scores.handle(activation, waiting)
        if isinstance(message, wire.NearQuery):
            host = self.scores if message.scores else self.near
            return host.look(activation, message, waiting.asker)
        if isinstance(message, wire.Subscribe | wire.History):
            if message.user != activation.key:
                # Another person's own channel looks like one that is not there.
                self._run(
                    activation, [Refuse(waiting.asker, ErrorCode.DENIED, "no such channel, or not yours")]
                )
                return None
            name = message.ch.partition("@")[0]
            if name in streams.STREAMS:
                return self._with_stream(activation, name, waiting)
            if name == "near" and isinstance(message, wire.Subscribe):
                return self.near.subscribe(activation, waiting)
        self._step(activation, waiting)
        return None

    async def _with_stream(self, activation: Activation, name: str, waiting: Waiting) -> None:
        await self._streams.open(activation.state, name)
        if isinstance(waiting.message, wire.History):
            await self._streams.answer(activation.state, name, waiting)
        else:
            self._step(activation, waiting)

    def _step(self, activation: Activation, waiting: Waiting) -> None:
        now_ms = self._shard.now_ms()
        effects = user.step(activation.state, waiting.message, waiting.asker, waiting.gateway, now_ms)
        self._run(activation, effects)

    def _run(self, activation: Activation, effects: list[Any]) -> None:
        for effect in self._shard.run(effects):
            if isinstance(effect, ToRegion):
                self._shard.router.cast("region", effect.message.region, effect.message)
            elif isinstance(effect, Look):
                self.near.looks(activation, effect.cell)
            elif isinstance(effect, WantScores):
                self.scores.scoring.want(activation)
            elif isinstance(effect, NotLive):
                self._not_live(activation, effect)
            else:
                assert isinstance(effect, Moved)
                self._moves(activation, effect)

    async def _refresh(self, activation: Activation, asker: Asker) -> None:
        state: UserState = activation.state
        async with self._shard.pool.acquire() as connection:
            record = await streams.load_user(connection, state.user)
        if record is None:
            self._run(activation, announcing.withdrawn(state, self._shard.now_ms()))
            await self.crossings.see_off(state.user)
            await self._shares.see_off(state.user)
            state.record = replace(state.record, visibility_audience="nobody", shares=())
            self._shares.begins(activation)
            self.mates.review(activation)
            await self.stays.see_off(state.user)
            self._online.refreshed(activation)
            asker.answer({})
            self._forgetting.begins(activation)
            self._shard.spawn(self._forgetting.erase_account(activation))
            self._shard.deactivate(activation)
            return
        state.record = record
        self._ghosts.begins(activation)
        self.crossings.review(activation)
        self._shares.begins(activation)
        self.mates.review(activation)
        state.location.show_at(near_people.told_resolution(record.visibility_precision))
        await self.stays.refreshed(state)
        await self._streams.tail(activation)
        self._run(activation, announcing.placed(state, self._shard.now_ms()))
        self.near.refreshed(activation)
        self._online.refreshed(activation)
        await self.scores.refreshed(activation)
        asker.answer({})

    # -- positions ----------------------------------------------------------------------------------

    async def _stored(self, asker: Asker) -> None:
        """What this shard holds of the history is stored."""
        await self.history.store()
        asker.answer({})

    async def _forget(self, activation: Activation, asker: Asker) -> None:
        """The person is nowhere, as before their first fix, and has been nowhere."""
        state: UserState = activation.state
        self._moved.take(activation)
        location, now_ms = state.location, self._shard.now_ms()
        if location.last is not None:
            state.probing.note(FORGOTTEN, now_ms)
        location.last = location.held = location.shown = None
        location.look()
        self.stays.forget(activation.key)
        self._run(activation, announcing.withdrawn(state, now_ms))
        self._run(activation, near_people.rewatch(state))
        self.mates.review(activation)
        self._shares.begins(activation)
        await self._forgetting.erase(activation)
        await self.stays.refreshed(state)
        asker.answer({})

    def _moves(self, activation: Activation, moved: Moved) -> None:
        state: UserState = activation.state
        self._moved.since_ms = self._moved.since_ms or self._shard.now_ms()
        for fix in moved.fixes:
            self._moved.add(activation, fix, is_first=not state.located)
            state.located = True
        self._log.put(self._logged(activation, LIVE, *moved.fixes), partial(moved.asker.answer, OK))
        self._shard.tick_soon()

    def _not_live(self, activation: Activation, effect: NotLive) -> None:
        count("fixes_not_live", reason=str(effect.reason))
        outcome = OUTCOME_OF[effect.verdict, effect.reason]
        if outcome in (STALE, JUMP):
            self._log.put(self._logged(activation, outcome, effect.fix), lambda: None)

    def _logged(self, activation: Activation, outcome: int, *fixes: Fix) -> LoggedRows:
        slot, epoch = activation.slot, self._shard.router.epoch_of(activation.slot)
        return logged(activation.key, slot, epoch, self._shard.now_ms(), outcome, rows_of(fixes))

    def _place(self, activation: Activation) -> None:
        self._run(activation, announcing.placed(activation.state, self._shard.now_ms()))

    def _decide(self, activation: Activation) -> None:
        """Takes this person's fixes before the tick does."""
        own = self._moved.take(activation)
        if own:
            self._follow(own)

    def tick(self, now_ms: int) -> None:
        moved, self._moved = self._moved, Moves()
        if moved:
            self._follow(moved)
        self._places.tick(now_ms)
        due_ms = self._places.due_ms
        if due_ms is not None and self._snapshot is None:
            wait_s = max(0.1, (due_ms - now_ms) / 1000)
            self._snapshot = asyncio.get_running_loop().call_later(wait_s, self._snapshot_due)

    def _snapshot_due(self) -> None:
        self._snapshot = None
        self._shard.tick_soon()

    def _follow(self, moved: Moves) -> None:
        now_ms = moved.since_ms or self._shard.now_ms()
        for follower in self.followers:
            follower.follow(moved, now_ms)
