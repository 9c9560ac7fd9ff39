"""In a room presence and membership change in one order: nobody is shown who does not belong (PRE-5)."""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors import messages as wire
from actors import room
from actors.effects import NOBODY, Draft, Fan, Refuse
from actors.presence import LINGER_MS
from actors.room import RoomState
from actors.stream import Publication, Stream

PEOPLE = ("ann", "bob", "cem")
GATEWAYS = ("g1", "g2")
some_person, some_gateway = st.sampled_from(PEOPLE), st.sampled_from(GATEWAYS)


def nobody_is_dead(_: str) -> bool:
    return False


class Watching(RuleBasedStateMachine):
    """Fences and owners move people in and out while they come, go and lose sockets; one follows all that a
    gateway is sent, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.room = RoomState("r", True, Stream("e"), dict.fromkeys(("eve", *PEOPLE), "member"))
        self.now_ms = 0
        self.clock = 0
        self.live: dict[str, tuple[str, str, int]] = {}
        self.seen: dict[str, str] = {}
        self.in_the_log = set(PEOPLE)
        self.step(wire.Subscribe(0, "presence:room:r", "eve", "w", "d", 0, "map", birth=self.tick()), "g1")

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def step(self, message: wire.Request, gateway: str) -> list[Any]:
        effects = room.step(self.room, message, NOBODY, gateway, self.now_ms)
        self.follow(effects)
        return effects

    def follow(self, effects: list[Any]) -> None:
        """What is sent is seen at once; a draft is in the log when it is committed, which is asked next."""
        drafts = []
        for effect in effects:
            if isinstance(effect, Fan) and isinstance(effect.message, wire.PushPresence):
                for meta in json.loads(effect.message.leaves):
                    self.seen.pop(meta["ref"], None)
                for meta in json.loads(effect.message.joins):
                    self.seen[meta["ref"]] = meta["u"]
                    assert meta["u"] in self.room.members, "who is shown as joining belongs here"
            elif isinstance(effect, Draft):
                drafts.append(effect)
        for draft in drafts:
            event = json.loads(draft.d)
            _, said = room.assign(self.room, draft, None, self.now_ms, lambda: f"i{self.clock}")
            assert isinstance(said, Publication)
            room.committed(self.room, [(said, draft)])
            if event["type"] == "leave":
                self.in_the_log.discard(event["user"])
                assert event["user"] not in self.seen.values(), "who has left in the log is shown no more"
            else:
                self.in_the_log.add(event["user"])

    @rule(person=some_person, gateway=some_gateway)
    def comes(self, person: str, gateway: str) -> None:
        birth = self.tick()
        message = wire.Subscribe(0, "room:r", person, f"c{birth}", f"d{birth}", 0, birth=birth)
        effects = self.step(message, gateway)
        refused = any(isinstance(effect, Refuse) for effect in effects)
        assert refused is (person not in self.room.members)
        if not refused:
            self.live[f"c{birth}"] = (person, gateway, birth)

    @rule(data=st.data(), clean=st.booleans())
    def goes(self, data: st.DataObject, clean: bool) -> None:
        if self.live:
            conn = data.draw(st.sampled_from(sorted(self.live)))
            person, gateway, birth = self.live.pop(conn)
            self.step(wire.Unsubscribe(0, "room:r", person, conn, clean, birth), gateway)

    @rule(data=st.data())
    def an_old_subscribe_arrives_again(self, data: st.DataObject) -> None:
        if self.live:
            conn = data.draw(st.sampled_from(sorted(self.live)))
            person, gateway, birth = self.live[conn]
            self.step(wire.Subscribe(0, "room:r", person, conn, f"d{birth}", 0, birth=birth), gateway)

    @rule(person=some_person)
    def is_taken_out_or_let_in(self, person: str) -> None:
        members = dict(self.room.members)
        if person in members:
            del members[person]
            self.live = {conn: row for conn, row in self.live.items() if row[0] != person}
        else:
            members[person] = "member"
        self.follow(room.membership_changed(self.room, members, {}))

    @rule()
    def time_passes(self) -> None:
        self.now_ms += LINGER_MS
        self.follow(room.expire(self.room, self.now_ms, nobody_is_dead))

    @invariant()
    def presence_membership_and_log_agree(self) -> None:
        shown = {meta["ref"]: meta["u"] for meta in self.room.attendance.presence.metas()}
        assert shown == self.seen
        assert set(shown.values()) <= self.room.members.keys()
        assert self.in_the_log == self.room.members.keys() - {"eve"}
        assert {row[0] for row in self.live.values()} <= set(shown.values())


TestWatching = Watching.TestCase
TestWatching.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
