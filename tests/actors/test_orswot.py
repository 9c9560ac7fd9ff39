"""The set of sockets converges whatever the network does with deltas, and has no ghosts (PRE-1)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.orswot import TOMBS_LOOKED_THROUGH, SocketSet
from serve_app.births import Births

GATEWAYS = st.sampled_from(["g1", "g2"])
CONNS = st.sampled_from(["a", "b", "c"])


class Merging(RuleBasedStateMachine):
    """Two gateways with the real clock, an owner, and a network that reorders, repeats and delays."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = SocketSet()
        self.births = {"g1": Births(), "g2": Births()}
        self.live: dict[str, dict[str, int]] = {"g1": {}, "g2": {}}
        self.network: list[tuple[str, str, str, int, int]] = []
        self.undelivered: set[int] = set()
        self.ended: dict[tuple[str, str], int] = {}
        self.newest: dict[tuple[str, str], int] = {}

    def send(self, kind: str, gateway: str, conn: str, birth: int) -> None:
        self.undelivered.add(len(self.network))
        self.network.append((kind, gateway, conn, birth, self.births[gateway].settled))

    @rule(gateway=GATEWAYS, conn=CONNS)
    def subscribes_or_again(self, gateway: str, conn: str) -> None:
        birth = self.births[gateway].born()
        self.live[gateway][conn] = self.newest[gateway, conn] = birth
        self.send("add", gateway, conn, birth)

    @rule(gateway=GATEWAYS, conn=CONNS)
    def leaves(self, gateway: str, conn: str) -> None:
        birth = self.live[gateway].pop(conn, None)
        if birth is not None:
            self.send("remove", gateway, conn, birth)

    @rule(data=st.data())
    def something_arrives_perhaps_again(self, data: st.DataObject) -> None:
        if self.network:
            self.deliver(data.draw(st.integers(0, len(self.network) - 1)))

    def deliver(self, index: int) -> None:
        kind, gateway, conn, birth, settled = self.network[index]
        is_first = index in self.undelivered
        self.undelivered.discard(index)
        if kind == "add":
            self.owner.add(gateway, conn, birth, settled)
            if is_first and conn not in self.live[gateway]:  # a hub then says again that it has left
                self.send("remove", gateway, conn, self.newest[gateway, conn])
        else:
            self.owner.remove(gateway, conn, birth, settled)
            self.ended[gateway, conn] = max(birth, self.ended.get((gateway, conn), 0))
        self.births[gateway].closed(birth)

    @rule(gateway=GATEWAYS)
    def the_link_is_cut_and_all_is_told_anew(self, gateway: str) -> None:
        settled = self.births[gateway].settled
        for conn in list(self.live[gateway]):
            self.subscribes_or_again(gateway, conn)
            self.deliver(len(self.network) - 1)
        self.owner.void(gateway, settled)

    @rule(gateway=GATEWAYS)
    def another_owner_begins_with_nothing(self, gateway: str) -> None:
        self.owner = SocketSet()
        self.ended = {}
        for each in (gateway, "g1", "g2"):
            self.the_link_is_cut_and_all_is_told_anew(each)

    @invariant()
    def what_ended_does_not_come_back(self) -> None:
        for (gateway, conn), birth in self.ended.items():
            known = self.owner.replicas.get(gateway)
            row = None if known is None else known.rows.get(conn)
            assert row is None or row > birth

    @rule(data=st.data())
    def the_network_falls_silent(self, data: st.DataObject) -> None:
        while self.undelivered:
            for index in data.draw(st.permutations(sorted(self.undelivered))):
                self.deliver(index)
        rows = {name: dict(known.rows) for name, known in self.owner.replicas.items() if known.rows}
        assert rows == {name: live for name, live in self.live.items() if live}


TestMerging = Merging.TestCase
TestMerging.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_what_is_remembered_of_the_gone_does_not_grow_with_their_number() -> None:
    owner, births = SocketSet(), Births()
    for number in range(10 * TOMBS_LOOKED_THROUGH):
        birth = births.born()
        owner.add("g", f"c{number}", birth, births.settled)
        births.closed(birth)
        owner.remove("g", f"c{number}", birth, births.settled)
        assert len(owner.replicas["g"].tombs) <= TOMBS_LOOKED_THROUGH
    assert len(owner) == 0


def test_the_clock_is_settled_up_to_the_oldest_that_is_unanswered() -> None:
    births = Births()
    first, second = births.born(), births.born()
    births.closed(second)
    assert births.settled == first - 1
    births.closed(first)
    assert births.settled == second
