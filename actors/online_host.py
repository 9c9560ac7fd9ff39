"""A shard's part in who is online: the table of its people, and what they and their matches tell each other.

What a gateway says of a person is taken in that person's turn if their actor is live, in one order with their
fixes and crossings, and told to others only when what was decided before is stored (PRE-5). Otherwise it
needs no activation: an idle connection costs a row.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from actors import messages as wire
from actors.activation import Activation, Waiting
from actors.attendance import EPOCH_BITS
from actors.effects import NOBODY, Answer, Asker, Effect, Refuse, Send
from actors.host import Hosting
from actors.matches import MatchesView
from actors.online import Entry, OnlineTable
from actors.person import UserState
from actors.placement import slot_of
from actors.presence import Diff
from actors.protocol import EngineError, ErrorCode
from identity.audience import Relation, allows

PATIENCE_S = 1.0
"""How long the first look at one's matches waits for those that do not answer."""

SLICE = 500
"""So many at once, then others have their turn."""

_EPOCH = 2**40
CHANNEL = "presence:matches@"

_TOLD = (wire.Here, wire.Away)
_OF_MATCHES = (wire.Subscribe, wire.Unsubscribe, wire.PresenceQuery, wire.RowsTold)


class OnlineHost:
    """One shard's."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self.table = OnlineTable()
        self._numbers = count(1)
        self._losing: dict[str, int] = {}
        """Gateways that can't be reached since then, while this is worked through."""
        self.decide: Callable[[Activation], None] = lambda _: None
        """Works through the fixes of a person that wait for the next tick: they came before."""
        self.place: Callable[[Activation], None] = lambda _: None
        """Tells the regions around a person what they may know."""
        self._looking: dict[str, list[Waiting]] = {}
        """People whose matches are being asked, and who waits for it."""

    # -- without an activation ----------------------------------------------------------------------------

    def takes(self, message: wire.Request, slot: int, asker: Asker, gateway: str) -> bool:
        """A message to somebody who is not live here: whether that was all."""
        table, shard = self.table, self._shard
        if isinstance(message, _TOLD):
            self._said(slot, message, asker, gateway)
            if table.untold(slot, message.user):
                shard.deliver(wire.OnlineChanged(0, message.user), NOBODY, "")
        elif isinstance(message, wire.WatchOnline):
            if message.on and table.is_online(slot, message.user):
                return False  # what may be seen of them is to be looked up
            table.watch(slot, message.user, message.viewer, on=message.on)
            asker.answer(self._state(slot, message.user, []))
        elif isinstance(message, wire.MatchOnline):
            self._stop(message)
        else:
            return False
        return True

    def _said(self, slot: int, message: wire.Request, asker: Asker, gateway: str) -> None:
        if isinstance(message, wire.Here):
            if gateway not in self._shard.fan_out.gateways:
                return  # it waited longer than its gateway lived
            self.table.here(slot, message, gateway)
        elif isinstance(message, wire.Away):
            self.table.away(slot, message, gateway, self._shard.now_ms())
        asker.answer({})

    # -- a turn ---------------------------------------------------------------------------------------------

    def handles(self, activation: Activation, waiting: Waiting) -> bool:
        """A message to somebody who is live: whether it was one of these, and is seen to."""
        message, slot = waiting.message, activation.slot
        if isinstance(message, _TOLD):
            self.decide(activation)
            self._said(slot, message, waiting.asker, waiting.gateway)
            self.tell(activation)
        elif isinstance(message, wire.OnlineChanged):
            self.tell(activation)
        elif isinstance(message, wire.WatchOnline):
            self.table.watch(slot, activation.key, message.viewer, on=message.on)
            metas = self._visible(activation, message.viewer) if message.on else []
            waiting.asker.answer(self._state(slot, activation.key, metas, is_told=not _decides(activation)))
        elif isinstance(message, wire.MatchOnline):
            self._heard(activation, message)
        elif isinstance(message, _OF_MATCHES) and message.ch.startswith(CHANNEL):
            self._watches(activation, waiting)
        else:
            return False
        return True

    # -- who is told ----------------------------------------------------------------------------------------

    def tell(self, activation: Activation) -> None:
        """Tells those who watch this person, unless a crossing that was decided before is not stored yet."""
        slot, user = activation.slot, activation.key
        if _decides(activation):
            return
        state: UserState = activation.state
        if state.announced and self.located(activation):
            self.place(activation)
        if not self.table.untold(slot, user):
            return
        online = self.table.known(slot, user)
        assert online is not None
        left, online.left, online.is_untold = sorted(online.left), set(), False
        record = state.record
        for viewer in sorted(online.watchers):
            metas = self._visible(activation, viewer)
            said = self._state(slot, user, metas)
            if viewer not in record.matched:
                online.watchers.discard(viewer)
            told = wire.MatchOnline(0, viewer, user, said["version"], metas, left, said["is_complete"])
            if not _may_see(record, viewer):
                told.is_complete = True
            self._shard.router.cast("user", viewer, told)

    def located(self, activation: Activation) -> bool:
        """The person's state says from now on whether they are online; whether that is news."""
        state: UserState = activation.state
        before, slot = state.is_online, activation.slot
        is_online = self.table.is_online(slot, activation.key)
        if is_online or before is not None or self.table.is_complete(slot, self._shard.now_ms()):
            state.is_online = is_online
        return state.is_online is not before

    def refreshed(self, activation: Activation) -> None:
        """Visibility or relations may have changed, of this person or of what they see."""
        state: UserState = activation.state
        self.table.retell(activation.slot, activation.key)
        self.tell(activation)
        if state.matches is not None:
            diffs, new = state.matches.reviewed(state.record.matched)
            for diff in diffs:
                self._push(state, diff)
            for who in new:
                self._ask(activation.key, who)

    def _visible(self, activation: Activation, viewer: str) -> list[dict[str, Any]]:
        if not _may_see(activation.state.record, viewer):
            return []
        return self.table.metas(activation.slot, activation.key)

    def _state(
        self, slot: int, user: str, metas: list[dict[str, Any]], *, is_told: bool = True
    ) -> dict[str, Any]:
        """What is answered and told. Where a crossing is to be stored first, it says nothing yet."""
        version = self._shard.router.epoch_of(slot) * _EPOCH + next(self._numbers)
        is_complete = is_told and self.table.is_complete(slot, self._shard.now_ms())
        return {
            "who": user,
            "version": version,
            "metas": metas if is_told else [],
            "is_complete": is_complete,
        }

    # -- what others tell -----------------------------------------------------------------------------------

    def _heard(self, activation: Activation, message: wire.MatchOnline) -> None:
        state: UserState = activation.state
        if state.matches is None:
            self._stop(message)
            return
        diff = state.matches.heard(message, state.record.matched)
        if diff is not None:
            self._push(state, diff)

    def _stop(self, message: wire.MatchOnline) -> None:
        """Nobody wants to know any more."""
        self._shard.router.cast("user", message.who, wire.WatchOnline(0, message.who, message.user, on=False))

    def _push(self, state: UserState, diff: Diff) -> None:
        assert state.matches is not None
        gateways = state.matches.listeners.occupancy.gateways
        if gateways:
            state.said += 1
            push = wire.PushPresence(CHANNEL + state.user, diff.user, *diff.wire(), None, state.said)
            effects: list[Effect] = [Send(to, push) for to in gateways]
            self._shard.run(effects)

    def _ask(self, viewer: str, who: str, done: Callable[[], None] | None = None) -> None:
        shard = self._shard

        def answered(reply: Any, error: EngineError | None) -> None:
            if error is None:
                told = wire.MatchOnline(
                    0, viewer, reply["who"], reply["version"], reply["metas"], [], reply["is_complete"]
                )
                shard.deliver(told, NOBODY, "")
            else:
                activation = shard.activations.get(("user", viewer))
                if activation is not None and _follows(activation):
                    activation.state.matches.unanswered(who, shard.now_ms())
            if done is not None:
                done()

        shard.router.call("user", who, wire.WatchOnline(0, who, viewer), answered)

    # -- presence:matches -----------------------------------------------------------------------------------

    def _watches(self, activation: Activation, waiting: Waiting) -> None:
        """All about the channel. The first look waits for what the matches say; its turn does not."""
        state: UserState = activation.state
        message = waiting.message
        if isinstance(message, wire.Subscribe | wire.PresenceQuery):
            if message.user != activation.key:
                refusal = Refuse(waiting.asker, ErrorCode.DENIED, "no such channel, or not yours")
                self._shard.run([refusal])
            elif activation.key in self._looking:
                self._looking[activation.key].append(waiting)
            elif state.matches is None:
                self._look(activation, waiting)
            else:
                self._shows(state, waiting)
            return
        view = state.matches
        if view is not None:
            if isinstance(message, wire.Unsubscribe):
                view.listeners.remove(waiting.gateway, message)
            elif isinstance(message, wire.RowsTold):
                view.listeners.told(waiting.gateway, message.settled)
            self.left(state)
        waiting.asker.answer({})

    def _look(self, activation: Activation, waiting: Waiting) -> None:
        state: UserState = activation.state
        view = state.matches = MatchesView()
        state.said = max(state.said, self._shard.router.epoch_of(activation.slot) << EPOCH_BITS)
        user = activation.key
        asked = view.asks(state.record.matched)
        if not asked:
            self._shows(state, waiting)
            return
        self._looking[user] = [waiting]
        left = set(asked)

        def done(who: str) -> None:
            left.discard(who)
            if not left:
                self._looked(user)

        asyncio.get_running_loop().call_later(PATIENCE_S, self._looked, user)
        for who in asked:
            self._ask(user, who, partial(done, who))

    def _looked(self, user: str) -> None:
        for each in self._looking.pop(user, ()):
            self._shard.deliver(each.message, each.asker, each.gateway)

    def _shows(self, state: UserState, waiting: Waiting) -> None:
        message, view = waiting.message, state.matches
        assert view is not None
        metas = view.metas(state.record.matched)
        if isinstance(message, wire.PresenceQuery):
            self._shard.run([Answer(waiting.asker, {"metas": metas, "count": len(metas)})])
            self.left(state)
            return
        assert isinstance(message, wire.Subscribe)
        view.listeners.add(waiting.gateway, message)
        result = {
            "ch": "presence:matches", "mode": "map", "epoch": state.user, "offset": 0, "recovered": False,
            "was_recovering": message.epoch != "", "pubs": [], "state": metas, "phase": "live",
            "said": state.said,
        }  # fmt: skip
        self._shard.run([Answer(waiting.asker, result)])

    def left(self, state: UserState) -> None:
        """Where nobody listens any more, matches are followed no longer; they hear so when they next tell."""
        if state.matches is not None and not state.matches.listeners.users:
            state.matches = None

    def looks(self, user: str) -> bool:
        """Whether the person's matches are being asked."""
        return user in self._looking

    # -- time, gateways, slots that move --------------------------------------------------------------------

    async def sweep(self) -> None:
        """Once a second: of those who are not live, a slice at a time."""
        table, now_ms = self.table, self._shard.now_ms()
        for number, (slot, user) in enumerate(list(table.waiting), 1):
            if ("user", user) not in self._shard.activations:
                table.expire(slot, user, now_ms, self._shard.fan_out.is_dead)
                self._due(slot, user)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        for slot, user in table.completed(now_ms):
            self._due(slot, user)

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: of one who is."""
        state: UserState = activation.state
        if (activation.slot, activation.key) in self.table.waiting:
            self.decide(activation)
            self.table.expire(activation.slot, activation.key, now_ms, self._shard.fan_out.is_dead)
        self.tell(activation)
        if state.matches is not None:
            for who in state.matches.due(now_ms):
                self._ask(activation.key, who)

    def _due(self, slot: int, user: str) -> None:
        if self.table.untold(slot, user):
            self._shard.deliver(wire.OnlineChanged(0, user), NOBODY, "")

    def changed(self, user: str) -> None:
        """Postgres tells of a change to somebody who is not live here: their actor looks what it means.
        `*`: to anybody.
        """
        for slot, each in self.table.watched() if user == "*" else [(slot_of("user", user), user)]:
            self.table.retell(slot, each)
            self._due(slot, each)

    def told(self, gateway: str, told: wire.Told) -> None:
        """A gateway has told anew all that it holds in these slots."""
        self.table.told(gateway, told.slots, told.settled, self._shard.now_ms())
        slots = set(told.slots)
        for activation in list(self._shard.activations.values()):
            if activation.kind == "user" and activation.slot in slots and _follows(activation):
                rows = wire.RowsTold(0, CHANNEL + activation.key, told.settled)
                self._shard.deliver(rows, NOBODY, gateway)

    def gateway_lost(self, gateway: str) -> None:
        """A gateway's link is gone. It may have had many people: this is worked through slot by slot."""
        self._losing[gateway] = self._shard.now_ms()
        self._shard.spawn(self._lose(gateway))

    async def _lose(self, gateway: str) -> None:
        """Not any further once it is back: it then tells who is still there."""
        for slot in list(self.table.slots):
            if gateway in self._shard.fan_out.gateways:
                break
            self.table.gateway_lost(gateway, self._losing.get(gateway, self._shard.now_ms()), [slot])
            await asyncio.sleep(0)
        self._losing.pop(gateway, None)

    def slots_moved(self, slots: set[int]) -> None:
        """These slots begin anew somewhere: who watches somebody there says so again."""
        now_ms = self._shard.now_ms()
        for activation in list(self._shard.activations.values()):
            if activation.kind == "user" and _follows(activation):
                view: MatchesView = activation.state.matches
                moved = {who for who in view.asked if slot_of("user", who) in slots}
                for who in view.moved(moved, now_ms):
                    self._ask(activation.key, who)

    def given(self, slot: int) -> dict[str, Entry]:
        """What is known of a slot's people, to be handed to its next owner."""
        for gateway, since_ms in self._losing.items():
            if gateway not in self._shard.fan_out.gateways:
                self.table.gateway_lost(gateway, since_ms, [slot])
        return self.table.slots.get(slot, {})

    def taken(self, slot: int, people: dict[str, Entry], lost: set[str]) -> None:
        """What another shard knew. `lost` gateways can't be reached from here."""
        self.table.take(slot, people)
        for gateway in lost:
            self.table.gateway_lost(gateway, self._shard.now_ms(), [slot])


def _decides(activation: Activation) -> bool:
    """Whether crossings of this person are not stored yet."""
    return bool(activation.crossings) or activation.recording


def _follows(activation: Activation) -> bool:
    return activation.is_live and activation.state.matches is not None


def _may_see(record: Any, viewer: str) -> bool:
    relation = Relation(blocked=viewer in record.blocked, matched=viewer in record.matched)
    return relation.matched and allows(record.visibility_audience, relation)
