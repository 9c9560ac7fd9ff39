"""Who of a shard's people is online: a set that converges, in a row each (PRE-1, PRE-2, PRE-5)."""

import pickle
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors import messages as wire
from actors.online import OnlineTable, Row
from actors.presence import LINGER_MS
from serve_app.births import Births

SLOT = 7
PEOPLE, GATEWAYS = ("ann", "bob"), ("g1", "g2")
some_person, some_gateway = st.sampled_from(PEOPLE), st.sampled_from(GATEWAYS)


class ComingAndGoing(RuleBasedStateMachine):
    """Sockets of two people at two gateways; what these say may be said twice, and late."""

    def __init__(self) -> None:
        super().__init__()
        self.table = OnlineTable()
        self.now_ms = 0
        self.births = {gateway: Births() for gateway in GATEWAYS}
        self.live: dict[str, tuple[str, str, int]] = {}
        self.lingering: dict[str, int] = {}
        self.said: list[tuple[str, Any]] = []
        self.dead: set[str] = set()

    def here(self, gateway: str, person: str, conn: str) -> int:
        births = self.births[gateway]
        birth = births.born()
        message = wire.Here(0, person, conn, f"d{conn}", 1, birth, births.settled)
        self.table.here(SLOT, message, gateway)
        self.said.append((gateway, message))
        return birth

    @rule(person=some_person, gateway=some_gateway)
    def comes(self, person: str, gateway: str) -> None:
        conn = f"c{len(self.said)}{gateway}"
        self.live[conn] = (person, gateway, self.here(gateway, person, conn))

    @rule(data=st.data(), clean=st.booleans())
    def goes(self, data: st.DataObject, clean: bool) -> None:
        if self.live:
            conn = data.draw(st.sampled_from(sorted(self.live)))
            person, gateway, birth = self.live.pop(conn)
            births = self.births[gateway]
            away = wire.Away(0, person, conn, clean, birth, births.settled)
            self.table.away(SLOT, away, gateway, self.now_ms)
            births.closed(birth)
            if not clean:
                self.lingering[conn] = self.now_ms

    @rule(data=st.data())
    def an_answer_arrives(self, data: st.DataObject) -> None:
        """The birth is closed: no copy of it is on its way any more."""
        if self.live:
            conn = data.draw(st.sampled_from(sorted(self.live)))
            _, gateway, birth = self.live[conn]
            self.births[gateway].closed(birth)

    @rule(data=st.data())
    def a_copy_arrives_late(self, data: st.DataObject) -> None:
        if self.said:
            gateway, message = data.draw(st.sampled_from(self.said))
            is_answered = message.birth <= self.births[gateway].settled
            if is_answered or message.birth in self.births[gateway]._open or message.conn in self.live:
                self.table.here(SLOT, message, gateway)

    @rule(data=st.data(), gateway=some_gateway)
    def resumes(self, data: st.DataObject, gateway: str) -> None:
        """A lost socket's session goes on, at any gateway."""
        if self.lingering:
            conn = data.draw(st.sampled_from(sorted(self.lingering)))
            del self.lingering[conn]
            person = next(m.user for _, m in self.said if m.conn == conn)
            self.live[conn] = (person, gateway, self.here(gateway, person, conn))

    @rule(gateway=some_gateway)
    def a_link_breaks_and_comes_back(self, gateway: str) -> None:
        """The gateway tells all it has anew."""
        self.table.gateway_lost(gateway, self.now_ms, [SLOT])
        births = self.births[gateway]
        settled = births.settled
        for conn, (person, at, birth) in list(self.live.items()):
            if at == gateway:
                births.closed(birth)
                self.live[conn] = (person, at, self.here(gateway, person, conn))
        self.table.told(gateway, [SLOT], settled, self.now_ms)

    @rule()
    def the_slot_is_handed_over(self) -> None:
        people = pickle.loads(pickle.dumps(self.table.slots.get(SLOT, {})))
        replicas = self.table.replicas
        self.table.drop({SLOT})
        assert not self.table.is_online(SLOT, "ann")
        self.table.take(SLOT, people)
        self.table.replicas = replicas

    @rule()
    def the_grace_passes(self) -> None:
        self.now_ms += LINGER_MS
        self.lingering.clear()
        for slot, user in list(self.table.waiting):
            self.table.expire(slot, user, self.now_ms, self.dead.__contains__)

    @invariant()
    def everybody_who_lives_or_lingers_is_shown_and_nobody_else(self) -> None:
        there = {*self.live, *self.lingering}
        assert {meta["ref"] for person in PEOPLE for meta in self.table.metas(SLOT, person)} == there
        for person in PEOPLE:
            assert self.table.is_online(SLOT, person) is bool(self.table.metas(SLOT, person))

    @invariant()
    def a_person_with_one_connection_and_nothing_else_is_a_row(self) -> None:
        known = self.table.slots.get(SLOT, {})
        if not self.table.waiting:
            for person, entry in known.items():
                own = [row for row in self.live.values() if row[0] == person]
                assert isinstance(entry, Row) is (len(own) == 1)


TestComingAndGoing = ComingAndGoing.TestCase
TestComingAndGoing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_watched_person_is_told_of_once_and_a_slot_that_begins_says_who_may_be_missing() -> None:
    table = OnlineTable()
    table.begins([SLOT], 1_000)
    table.watch(SLOT, "ann", "bob", on=True)
    assert not table.untold(SLOT, "ann")
    assert not table.is_complete(SLOT, 1_000 + LINGER_MS - 1)
    table.here(SLOT, wire.Here(0, "ann", "c", "d", 1, 1, 0), "g1")
    assert table.untold(SLOT, "ann")
    online = table.known(SLOT, "ann")
    assert online is not None
    online.is_untold = False
    assert table.completed(1_000 + LINGER_MS) == [(SLOT, "ann")]
    assert table.untold(SLOT, "ann")
    assert table.is_complete(SLOT, 1_000 + LINGER_MS)
    table.watch(SLOT, "ann", "bob", on=False)
    assert table.slots[SLOT] == {"ann": Row("c", "d", 1, "g1", 1)}
