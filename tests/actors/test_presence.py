"""Presence against a model: whoever applies the diffs sees what a snapshot says (PRE-2, PRE-3)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.presence import DROPPED_AFTER_MS, HIDDEN_AFTER_MS, LINGER_MS, Diff, Presence, PresenceSet

USERS = st.sampled_from(["ann", "bob"])
DEVICES = st.sampled_from(["phone", "laptop"])
GATEWAYS = st.sampled_from(["g1", "g2", "g3"])


def everybody_lives(_: str) -> bool:
    return False


def shown(present: PresenceSet) -> set[str]:
    return {meta["ref"] for meta in present.metas()}


class Watching(RuleBasedStateMachine):
    """Sockets come, leave, break and are resumed elsewhere, gateways are cut off, come back and die, while
    one watcher follows the diffs."""

    def __init__(self) -> None:
        super().__init__()
        self.present = PresenceSet()
        self.seen: dict[str, dict] = {}
        self.live: dict[str, tuple[str, int, str, str]] = {}
        self.cut: dict[str, int] = {}
        self.dead: set[str] = set()
        self.gone_ms: dict[str, int] = {}
        self.now_ms = 0
        self.clock = 0

    def follow(self, diff: Diff | None) -> None:
        if diff is None:
            return
        for meta in diff.leaves:
            del self.seen[meta["ref"]]
        for meta in diff.joins:
            assert meta["ref"] not in self.seen
            self.seen[meta["ref"]] = meta

    def join(self, conn: str, gateway: str, user: str, device: str) -> None:
        self.clock += 1
        presence = Presence(conn, user, device, self.now_ms)
        self.follow(self.present.join(presence, gateway, self.clock))
        self.live[conn] = (gateway, self.clock, user, device)
        self.gone_ms.pop(conn, None)

    @rule(user=USERS, device=DEVICES, gateway=GATEWAYS)
    def comes(self, user: str, device: str, gateway: str) -> None:
        if gateway not in self.cut:
            self.join(f"c{self.clock}", gateway, user, device)

    @rule(data=st.data(), clean=st.booleans(), gateway=GATEWAYS, resumed=st.booleans())
    def goes_or_is_resumed(self, data: st.DataObject, clean: bool, gateway: str, resumed: bool) -> None:
        reachable = sorted(conn for conn, row in self.live.items() if row[0] not in self.cut)
        if not reachable:
            return
        conn = data.draw(st.sampled_from(reachable))
        before, birth, user, device = self.live.pop(conn)
        if resumed and gateway not in self.cut and gateway != before:
            self.join(conn, gateway, user, device)
            self.follow(self.present.leave(conn, before, self.now_ms, clean=False, birth=birth))
            return
        self.follow(self.present.leave(conn, before, self.now_ms, clean=clean, birth=birth))
        self.gone_ms[conn] = self.now_ms - (LINGER_MS if clean else 0)

    @rule(ms=st.sampled_from([1_000, LINGER_MS, HIDDEN_AFTER_MS, DROPPED_AFTER_MS]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        for diff in self.present.expire(self.now_ms, self.dead.__contains__):
            self.follow(diff)

    @rule(gateway=GATEWAYS, dies=st.booleans())
    def a_gateway_is_cut_off(self, gateway: str, dies: bool) -> None:
        if gateway in self.cut:
            return
        self.present.gateway_lost(gateway, self.now_ms)
        self.cut[gateway] = self.now_ms
        if dies:
            self.dead.add(gateway)
            for conn in [conn for conn, row in self.live.items() if row[0] == gateway]:
                del self.live[conn]
                self.gone_ms[conn] = self.now_ms

    @rule(gateway=GATEWAYS, data=st.data())
    def a_gateway_is_back_with_some_of_its_people(self, gateway: str, data: st.DataObject) -> None:
        if gateway not in self.cut or gateway in self.dead:
            return
        del self.cut[gateway]
        settled = self.clock
        own = sorted(conn for conn, row in self.live.items() if row[0] == gateway)
        for conn in own:
            _, _, user, device = self.live.pop(conn)
            if data.draw(st.booleans()):
                self.join(conn, gateway, user, device)
            else:
                self.gone_ms[conn] = self.now_ms
        self.present.told(gateway, settled, self.now_ms)

    @invariant()
    def the_watcher_sees_the_snapshot(self) -> None:
        assert self.seen == {meta["ref"]: meta for meta in self.present.metas()}

    @invariant()
    def the_living_are_shown(self) -> None:
        assert {conn for conn, row in self.live.items() if row[0] not in self.cut} <= self.seen.keys()

    @invariant()
    def nobody_is_shown_longer_than_their_grace(self) -> None:
        for conn in self.seen.keys() - self.live.keys():
            assert self.now_ms - self.gone_ms[conn] <= LINGER_MS
        for conn, row in self.live.items():
            if conn in self.seen and row[0] in self.cut:
                assert self.now_ms - self.cut[row[0]] <= HIDDEN_AFTER_MS


TestWatching = Watching.TestCase
TestWatching.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_a_resume_on_another_gateway_within_the_grace_shows_nothing() -> None:
    present = PresenceSet()
    present.join(Presence("c", "ann", "phone", 1), "g1", 1)
    assert present.leave("c", "g1", 10, clean=False, birth=1) is None
    assert present.join(Presence("c", "ann", "phone", 1), "g2", 1) is None
    assert present.expire(10 + LINGER_MS, everybody_lives) == []
    assert shown(present) == {"c"}


def test_the_old_sockets_end_does_not_remove_whom_another_gateway_has() -> None:
    present = PresenceSet()
    present.join(Presence("c", "ann", "phone", 1), "g1", 1)
    present.join(Presence("c", "ann", "phone", 1), "g2", 1)
    assert present.leave("c", "g1", 10, clean=False, birth=1) is None
    assert present.expire(10 + LINGER_MS, everybody_lives) == []
    diff = present.leave("c", "g2", 20, birth=1)
    assert diff is not None
    assert [meta["ref"] for meta in diff.leaves] == ["c"]


def test_a_gateway_that_is_cut_off_for_long_is_hidden_and_shown_again_when_it_is_back() -> None:
    """PRE-2."""
    present = PresenceSet()
    present.join(Presence("c", "ann", "phone", 1), "g1", 1)
    present.gateway_lost("g1", 0)
    assert present.expire(HIDDEN_AFTER_MS - 1, everybody_lives) == []
    (hidden,) = present.expire(HIDDEN_AFTER_MS, everybody_lives)
    assert [meta["ref"] for meta in hidden.leaves] == ["c"]
    assert shown(present) == set()
    diff = present.join(Presence("c", "ann", "phone", 1), "g1", 2)
    assert diff is not None
    assert [meta["ref"] for meta in diff.joins] == ["c"]
    present.told("g1", 1, HIDDEN_AFTER_MS)
    assert present.expire(HIDDEN_AFTER_MS + DROPPED_AFTER_MS, everybody_lives) == []
    assert shown(present) == {"c"}


def test_what_a_gateway_held_is_forgotten_after_20_minutes() -> None:
    present = PresenceSet()
    present.join(Presence("c", "ann", "phone", 1), "g1", 1)
    present.gateway_lost("g1", 0)
    present.expire(HIDDEN_AFTER_MS, everybody_lives)
    assert present.by_conn
    present.expire(DROPPED_AFTER_MS, everybody_lives)
    assert not present.by_conn
    assert not present.waits


def test_a_changed_meta_is_a_leave_and_a_join_in_one_step() -> None:
    """PRE-1: `prev` names the ref that went."""
    present = PresenceSet()
    present.join(Presence("c", "ann", "phone", 1), "g1", 1)
    diff = present.join(Presence("c", "ann", "phone", 1, info={"away": True}), "g1", 2)
    assert diff is not None
    (left,), (joined,) = diff.leaves, diff.joins
    assert (left["ref"], joined["prev"], joined["info"]) == ("c", "c", {"away": True})
    assert joined["ref"] != "c"
    assert shown(present) == {joined["ref"]}


def test_a_device_that_comes_anew_replaces_its_lost_socket_in_one_step() -> None:
    present = PresenceSet()
    present.join(Presence("c1", "ann", "phone", 1), "g1", 1)
    present.leave("c1", "g1", 5, clean=False, birth=1)
    diff = present.join(Presence("c2", "ann", "phone", 9), "g2", 1)
    assert diff is not None
    assert ([m["ref"] for m in diff.leaves], [m["ref"] for m in diff.joins]) == (["c1"], ["c2"])
    assert diff.joins[0]["prev"] == "c1"
