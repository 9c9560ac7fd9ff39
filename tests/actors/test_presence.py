"""Presence against a model: whoever applies the diffs sees what a snapshot says (PRE-2, PRE-3)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.presence import LINGER_MS, Diff, Presence, PresenceSet

USERS = st.sampled_from(["ann", "bob"])
DEVICES = st.sampled_from(["phone", "laptop"])


class Watching(RuleBasedStateMachine):
    """Sockets come, leave, break and come back while one watcher follows the diffs."""

    def __init__(self) -> None:
        super().__init__()
        self.present = PresenceSet()
        self.seen: dict[str, dict] = {}
        self.live: set[str] = set()
        self.now_ms = 0
        self.numbers = 0

    def follow(self, diff: Diff | None) -> None:
        if diff is None:
            return
        for meta in diff.leaves:
            del self.seen[meta["ref"]]
        for meta in diff.joins:
            assert meta["ref"] not in self.seen
            self.seen[meta["ref"]] = meta

    @rule(user=USERS, device=DEVICES)
    def comes(self, user: str, device: str) -> None:
        self.numbers += 1
        conn = f"c{self.numbers}"
        self.follow(self.present.join(Presence(conn, "g", user, device, self.now_ms)))
        self.live.add(conn)

    @rule(data=st.data(), clean=st.booleans())
    def goes(self, data: st.DataObject, clean: bool) -> None:
        if not self.live:
            return
        conn = data.draw(st.sampled_from(sorted(self.live)))
        self.live.discard(conn)
        if clean:
            self.follow(self.present.leave(conn))
        else:
            self.present.lose(conn, self.now_ms)

    @rule(ms=st.sampled_from([1_000, LINGER_MS]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        for diff in self.present.expire(self.now_ms):
            self.follow(diff)

    @rule()
    def the_gateway_dies(self) -> None:
        self.present.lose_gateway("g", self.now_ms)
        self.live.clear()

    @invariant()
    def the_watcher_sees_the_snapshot(self) -> None:
        assert self.seen == {meta["ref"]: meta for meta in self.present.metas()}

    @invariant()
    def the_living_are_shown_and_no_ghost_outlives_its_grace(self) -> None:
        assert self.live <= self.seen.keys()
        for conn in self.seen.keys() - self.live:
            lost_at_ms = self.present.by_conn[conn].lost_at_ms
            assert lost_at_ms is not None
            assert self.now_ms - lost_at_ms <= LINGER_MS


TestWatching = Watching.TestCase
TestWatching.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
