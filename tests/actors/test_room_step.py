"""The room's step, without a shard: pure, so every order of events can be tried (ACT-7)."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from actors import messages as wire
from actors import room
from actors.effects import NOBODY, Answer, Draft, Fan, Refuse
from actors.protocol import ErrorCode
from actors.room import RoomState
from actors.stream import Stream


def state_of(*members: str, durable: bool = True, blocked: dict | None = None) -> RoomState:
    return RoomState(
        "r", durable, Stream("e"), dict.fromkeys(members, "member"), blocked or {}, knows_all_cids=True
    )


def say(state: RoomState, user: str, cid: str, ack: str = "durable") -> list:
    return room.step(state, wire.Publish(1, "room:r", user, "c", b'"x"', cid, ack), NOBODY, "g", 1)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "1", "2", "3"])), max_size=30), st.data()
)
def test_offsets_have_no_gap_and_a_cid_has_one_offset_however_commits_are_cut(sent, data) -> None:
    state = state_of("a", "b")
    numbers = itertools.count(1)
    drafts = [e for user, cid in sent for e in say(state, user, cid)]
    log: list[int] = []
    while drafts:
        size = data.draw(st.integers(1, len(drafts)))
        batch, drafts = drafts[:size], drafts[size:]
        stored, effects = [], []
        for draft in batch:
            answers, publication = room.assign(state, draft, None, 5, lambda: f"m{next(numbers)}")
            effects += answers
            if publication is not None:
                stored.append((publication, draft))
                if publication.d:
                    log.append(publication.offset)
        effects += room.committed(state, stored)
        assert sum(isinstance(e, Answer) for e in effects) == len(batch)
    assert log == list(range(1, len(log) + 1))
    assert state.stream.top == len(log)
    keyed = {(user, cid) for user, cid in sent if cid}
    assert len(log) == len(keyed) + sum(not cid for _, cid in sent)


def test_nothing_is_pushed_before_its_commit() -> None:
    """D7."""
    state = state_of("a")
    room.step(state, wire.Subscribe(1, "room:r", "a", "c1", "d", 0), NOBODY, "g1", 1)
    (draft,) = say(state, "a", "1", ack="relay")
    assert isinstance(draft, Draft)
    effects, publication = room.assign(state, draft, None, 5, lambda: "m")
    assert [type(e) for e in effects] == [Answer]
    pushed = room.committed(state, [(publication, draft)])
    assert [type(e) for e in pushed] == [Fan]


def test_one_push_a_gateway_however_many_listen() -> None:
    """FAN-1."""
    state = state_of("a", "b")
    for n in range(10):
        room.step(state, wire.Subscribe(1, "room:r", "b", f"c{n}", "d", 0), NOBODY, f"g{n % 2}", 1)
    (draft,) = say(state, "a", "")
    _, publication = room.assign(state, draft, None, 5, lambda: "m")
    (fan,) = [e for e in room.committed(state, [(publication, draft)]) if isinstance(e, Fan)]
    assert sorted(fan.gateways) == ["g0", "g1"]


def test_who_left_the_room_is_unsubscribed_and_the_room_is_told() -> None:
    state = state_of("a", "b")
    room.step(state, wire.Subscribe(1, "room:r", "b", "c", "d", 0), NOBODY, "g", 1)
    effects = room.membership_changed(state, {"a": "member"}, {})
    told_over = [e.message for e in effects if isinstance(e, Fan)]
    assert [m for m in told_over if isinstance(m, wire.Unsubscribed)] == [
        wire.Unsubscribed("room:r", "b", ErrorCode.DENIED, "no longer a member")
    ]
    (told,) = [e for e in effects if isinstance(e, Draft)]
    assert (told.user, b'"leave"' in told.d) == ("b", True)
    assert state.is_idle
    (refused,) = say(state, "b", "1")
    assert isinstance(refused, Refuse)


def test_an_oversize_body_is_refused() -> None:
    state = state_of("a")
    big = wire.Publish(1, "room:r", "a", "c", b'"' + b"x" * 9000 + b'"', "1", "durable")
    (refused,) = room.step(state, big, NOBODY, "g", 1)
    assert refused.code == ErrorCode.LIMIT


def test_an_ack_that_is_not_named_is_the_best_that_the_room_has() -> None:
    (draft,) = say(state_of("a"), "a", "1", ack="")
    assert isinstance(draft, Draft)
    assert draft.ack == "durable"
    answer, _ = say(state_of("a", durable=False), "a", "1", ack="")
    assert isinstance(answer, Answer)


def test_a_block_ends_what_either_says_in_a_direct_room_and_not_what_they_read() -> None:
    state = state_of("ann", "bob", blocked={"ann": frozenset({"bob"}), "bob": frozenset({"ann"})})
    for message in (
        wire.Publish(0, "room:r", "bob", "c", b'{"text":"x"}', "", "durable"),
        wire.Ephemeral(0, "room:r", "bob", "c", b"{}"),
    ):
        state.is_direct = False
        assert not any(isinstance(effect, Refuse) for effect in room.step(state, message, NOBODY, "g", 0))
        state.is_direct = True
        assert [effect.code for effect in room.step(state, message, NOBODY, "g", 0)] == [ErrorCode.DENIED]
    history = wire.History(0, "room:r", "bob", 10)
    assert not any(isinstance(effect, Refuse) for effect in room.step(state, history, NOBODY, "g", 0))
