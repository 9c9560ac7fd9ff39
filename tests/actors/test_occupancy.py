"""Who is sent what, under moves, cut links and late messages: extra traffic, never a miss (FAN-2)."""

import copy
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors import messages as wire
from actors import room
from actors.effects import NOBODY, Answer, Draft, Fan
from actors.occupancy import VACANT_AFTER_S, Cooldown, Occupancy, Tellers
from actors.room import RoomState
from actors.stream import Publication, Stream
from serve_app.births import Births

ROOM = "r"
GATEWAYS = ("g1", "g2")
SHARDS = ("a", "b")
some_gateway, some_shard = st.sampled_from(GATEWAYS), st.sampled_from(SHARDS)


class Gateway:
    """A hub's part: the real clock and cooldown, members with a position."""

    def __init__(self) -> None:
        self.births = Births()
        self.cooldown = Cooldown()
        self.members: dict[str, int] = {}
        """Live: connection → the offset that it has."""
        self.asking: dict[int, tuple[str, int, int]] = {}
        """Birth → connection, position, epoch under which it was asked."""
        self.newest: dict[str, int] = {}
        self.knows = 1
        """The epoch of the view that it knows."""
        self.told = 0


class Fanning(RuleBasedStateMachine):
    """A durable room that moves between two shards, and two gateways with links to both."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Stream("e")
        self.epoch, self.owner = 1, "a"
        self.room = self.loaded()
        self.tellers = {shard: Tellers() for shard in SHARDS}
        self.gateways = {name: Gateway() for name in GATEWAYS}
        self.up: dict[tuple[str, str], deque[Any]] = {(g, s): deque() for g in GATEWAYS for s in SHARDS}
        self.down: dict[tuple[str, str], deque[Any]] = {(g, s): deque() for g in GATEWAYS for s in SHARDS}
        self.owners = {1: "a"}
        self.now_s = 0.0
        self.conns = 0
        for pair in self.up:
            self.tellers[pair[1]].opened(pair[0])
        for gateway in GATEWAYS:
            self.tell_anew(gateway)

    def loaded(self) -> RoomState:
        state = RoomState(ROOM, True, Stream("e"), {"u": "member"})
        stream = Stream("e", self.log.top)
        stream.window.extend(self.log.window)
        room.restore(state, stream)
        return state

    # -- gateways --------------------------------------------------------------------------------------

    def send(self, gateway: str, message: Any) -> None:
        """To the owner that the gateway believes in."""
        self.up[gateway, self.owners[self.gateways[gateway].knows]].append(message)

    def ask(self, gateway: str, conn: str, position: int) -> None:
        hub = self.gateways[gateway]
        birth = hub.births.born()
        hub.newest[conn] = birth
        hub.asking[birth] = (conn, position, hub.knows)
        self.send(gateway, wire.Subscribe(
            0, "room:r", "u", conn, conn, 0, epoch="e", offset=position, birth=birth,
            settled=hub.births.settled))  # fmt: skip

    def tell_anew(self, gateway: str) -> None:
        """What hub.slots_moved does: members ask again from where they are, and that was all."""
        hub = self.gateways[gateway]
        settled = hub.births.settled
        members, hub.members = hub.members, {}
        for conn, position in members.items():
            self.ask(gateway, conn, position)
        self.send(gateway, wire.Told([0], [hub.knows], settled))
        hub.told = hub.knows

    @rule(gateway=some_gateway)
    def somebody_subscribes(self, gateway: str) -> None:
        self.conns += 1
        self.gateways[gateway].cooldown.held("room:r")
        self.ask(gateway, f"c{self.conns}", self.log.top)

    @rule(gateway=some_gateway, clean=st.booleans())
    def somebody_leaves(self, gateway: str, clean: bool) -> None:
        hub = self.gateways[gateway]
        if hub.members:
            conn, _ = hub.members.popitem()
            self.end(gateway, conn, clean)

    def end(self, gateway: str, conn: str, clean: bool) -> None:
        hub = self.gateways[gateway]
        self.send(gateway, wire.Unsubscribe(
            0, "room:r", "u", conn, clean, hub.newest[conn], hub.births.settled))  # fmt: skip
        if not hub.members and not hub.asking:
            hub.cooldown.left("room:r", self.now_s)

    @rule()
    def a_while_passes(self) -> None:
        self.now_s += VACANT_AFTER_S
        for name, hub in self.gateways.items():
            for channel in hub.cooldown.due(self.now_s):
                if not hub.members and not hub.asking:
                    self.send(name, wire.Vacant(0, channel, hub.births.clock))

    @rule(gateway=some_gateway)
    def a_gateway_learns_the_view(self, gateway: str) -> None:
        hub = self.gateways[gateway]
        if hub.knows != self.epoch:
            hub.knows = self.epoch
            self.tell_anew(gateway)

    # -- the room ----------------------------------------------------------------------------------------

    @rule(handed_over=st.booleans())
    def the_room_moves(self, handed_over: bool) -> None:
        self.owner = "b" if self.owner == "a" else "a"
        self.epoch += 1
        self.owners[self.epoch] = self.owner
        self.room = copy.deepcopy(self.room) if handed_over else self.loaded()
        self.room.attendance.moved(0)

    @rule()
    def somebody_publishes(self) -> None:
        said = Publication(self.log.top + 1, 0, "i", "u", "", b"1")
        self.log.append(said)
        draft = Draft(ROOM, "u", "", b"1", "none", NOBODY)
        (fan,) = [e for e in room.committed(self.room, [(said, draft)]) if isinstance(e, Fan)]
        reached = self.tellers[self.owner].epochs
        targets = {g for g in fan.gateways if g in reached}
        targets |= set(self.tellers[self.owner].untold(0, self.epoch))
        for name, hub in self.gateways.items():
            if name in reached and hub.members:
                assert name in targets, "a gateway with a live member that can be reached is sent it"
        for name in targets:
            self.down[name, self.owner].append(fan.message)

    # -- the network ---------------------------------------------------------------------------------------

    @rule(gateway=some_gateway, shard=some_shard)
    def a_link_is_cut_and_dialled_again(self, gateway: str, shard: str) -> None:
        self.up[gateway, shard].clear()
        self.down[gateway, shard].clear()
        self.tellers[shard].closed(gateway)
        if shard == self.owner:
            self.room.attendance.gateway_lost(gateway, 0)
        self.tellers[shard].opened(gateway)
        hub = self.gateways[gateway]
        for birth, (conn, position, epoch) in list(hub.asking.items()):
            if self.owners[epoch] == shard or self.owners[hub.knows] == shard:  # the router sends them again
                again = wire.Subscribe(
                    0, "room:r", "u", conn, conn, 0, epoch="e", offset=position, birth=birth
                )
                self.send(gateway, again)
        if self.owners[hub.knows] == shard:
            self.tell_anew(gateway)

    @rule(gateway=some_gateway, shard=some_shard)
    def a_shard_receives(self, gateway: str, shard: str) -> None:
        if not self.up[gateway, shard]:
            return
        message = self.up[gateway, shard].popleft()
        if isinstance(message, wire.Told):
            self.tellers[shard].told(gateway, message.slots, message.epochs)
            message = wire.RowsTold(0, "room:r", message.settled)
        if shard != self.owner:
            if isinstance(message, wire.Subscribe | wire.Unsubscribe):
                self.down[gateway, shard].append(("moved", message))
            return
        for effect in room.step(self.room, message, NOBODY, gateway, 0):
            if isinstance(effect, Answer) and isinstance(message, wire.Subscribe):
                self.down[gateway, shard].append(("answer", message.birth, effect.ok["offset"]))

    @rule(gateway=some_gateway, shard=some_shard)
    def a_gateway_receives(self, gateway: str, shard: str) -> None:
        if self.down[gateway, shard]:
            self.takes(gateway, self.down[gateway, shard].popleft())

    def takes(self, gateway: str, message: Any) -> None:
        hub = self.gateways[gateway]
        if isinstance(message, wire.Push):
            if any(position + 1 < message.offset for position in hub.members.values()):
                members, hub.members = hub.members, {}
                for conn, position in members.items():
                    self.ask(gateway, conn, position)
                return
            for conn, position in hub.members.items():
                hub.members[conn] = max(position, message.offset)
        elif message[0] == "moved":
            self.send(gateway, message[1])
        else:
            _, birth, offset = message
            conn, position, epoch = hub.asking.pop(birth, ("", 0, 0))
            hub.births.closed(birth)
            if conn and hub.told > epoch:
                self.ask(gateway, conn, position)
            elif conn:
                assert offset >= position
                hub.members[conn] = offset

    @rule()
    def the_network_falls_silent(self) -> None:
        """Nobody publishes any more: whoever is there has everything."""
        for gateway in GATEWAYS:
            self.a_gateway_learns_the_view(gateway)
        while any(self.up.values()) or any(self.down.values()):
            for gateway, shard in self.up:
                self.a_shard_receives(gateway, shard)
                self.a_gateway_receives(gateway, shard)
        for name, hub in self.gateways.items():
            assert not hub.asking
            assert set(hub.members.values()) <= {self.log.top}
            known = self.room.attendance.presence.sockets.replicas.get(name)
            assert (set() if known is None else set(known.rows)) == set(hub.members)
            assert not self.tellers[self.owner].untold(0, self.epoch)

    @invariant()
    def what_is_sent_to_is_a_list_of_gateways(self) -> None:
        assert set(self.room.attendance.hearing.gateways) <= set(GATEWAYS)


TestFanning = Fanning.TestCase
TestFanning.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def test_a_late_vacancy_does_not_undo_a_newer_member() -> None:
    rows = Occupancy()
    rows.occupied("g", 5)
    rows.vacant("g", 4)
    assert rows.gateways == ("g",)
    rows.vacant("g", 5)
    assert rows.gateways == ()
    rows.occupied("g", 3)
    assert rows.gateways == ()
    rows.occupied("g", 6)
    assert rows.gateways == ("g",)


def test_whoever_has_not_told_under_this_epoch_is_sent_everything() -> None:
    tellers = Tellers()
    tellers.opened("g")
    assert tellers.untold(7, 1) == ("g",)
    tellers.told("g", [7], [1])
    assert tellers.untold(7, 1) == ()
    assert tellers.untold(7, 2) == ("g",)
    assert tellers.untold(8, 1) == ("g",)
    tellers.closed("g")
    assert tellers.untold(7, 2) == ()


def test_an_empty_channel_is_told_of_after_30_seconds_unless_somebody_comes_back() -> None:
    cooldown = Cooldown()
    cooldown.left("room:a", 0)
    cooldown.left("room:b", 1)
    assert cooldown.due(VACANT_AFTER_S - 0.1) == []
    cooldown.held("room:a")
    cooldown.left("room:a", 20)
    assert cooldown.due(VACANT_AFTER_S + 1) == ["room:b"]
    assert cooldown.due(VACANT_AFTER_S + 20) == ["room:a"]
