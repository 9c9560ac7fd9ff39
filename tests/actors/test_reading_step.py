"""A room that is read, without a shard: every order of messages, verdicts and deadlines (NLP-2, NLP-4)."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import messages as wire
from actors import reading, room
from actors.effects import NOBODY, Answer, Asker, Draft, Fan, Heard, Refuse, Rejection, Score
from actors.protocol import ErrorCode
from actors.room import RoomState
from actors.stream import Stream
from nlp.conversation import Conversation, Verdict

TERMS = {"scorer": "model", "policy": "hold", "deadline_ms": 200, "heads": ["offence"], "threshold": 0.5}
NICE, NASTY = Verdict(harm=0.1), Verdict(harm=0.9)


SENDER = Asker()


class Log:
    """Commits what a room's steps want, one draft at a time; nobody else writes."""

    def __init__(self, **terms) -> None:
        self.state = RoomState(
            "r", True, Stream("e"), {"ann": "owner", "bob": "member"}, {}, knows_all_cids=True
        )
        self.ids = map("m{}".format, itertools.count(1))
        self.published: list[tuple[str, bytes]] = []
        self.asked: list[Score] = []
        self.refused: list[Refuse] = []
        self.answered = 0
        self.refused_cids: set[str] = set()
        self.set_terms(**terms)

    def set_terms(self, **terms) -> None:
        wanted = msgspec.json.encode({**TERMS, **terms})
        self.run(room.step(self.state, wire.SetTerms(1, "room:r", "ann", wanted), NOBODY, "g", 1))

    def say(self, text: str, cid: str = "", user: str = "ann") -> None:
        d = msgspec.json.encode({"text": text})
        self.run(room.step(self.state, wire.Publish(1, "room:r", user, "c", d, cid), SENDER, "g", 1))

    def verdict(self, text: str, verdict: Verdict | None) -> None:
        (score,) = [each for each in self.asked if each.text == text]
        self.settle(score, verdict)

    def settle(self, score: Score, verdict: Verdict | None) -> None:
        self.asked.remove(score)
        read = self.state.read
        if read is not None:
            self.run(reading.scored(read, score.key, verdict, self.state.hears))

    def run(self, effects: list) -> None:
        for effect in effects:
            if isinstance(effect, Draft):
                more, publication = room.assign(self.state, effect, None, 5, lambda: next(self.ids))
                self.run(more)
                if publication is not None:
                    if publication.d:
                        self.published.append((effect.user, publication.d))
                    if publication.offset == 0:
                        self.refused_cids.add(effect.cid)
                    self.run(room.committed(self.state, [(publication, effect)]))
            elif isinstance(effect, Score) and effect.key:
                self.asked.append(effect)
            elif isinstance(effect, Refuse):
                self.refused.append(effect)
            elif isinstance(effect, Answer):
                self.answered += effect.asker is SENDER

    def texts(self) -> list[str]:
        said = (msgspec.json.decode(d) for _, d in self.published)
        return [each["text"] for each in said if "text" in each]

    def events(self, kind: str) -> list[dict]:
        said = (msgspec.json.decode(d) for user, d in self.published if not user)
        return [each for each in said if each["type"] == kind]


def unread() -> Log:
    log = Log()
    log.run(room.step(log.state, wire.SetTerms(1, "room:r", "ann", None), NOBODY, "g", 1))
    log.published.clear()
    return log


def test_what_is_held_is_published_in_the_order_in_which_it_came() -> None:
    log = Log()
    for text in ("one", "two", "three"):
        log.say(text)
    log.verdict("two", NICE)
    log.verdict("three", NASTY)
    assert log.texts() == []
    log.verdict("one", None)
    assert log.texts() == ["one", "two"]
    assert [each.code for each in log.refused] == [ErrorCode.REJECTED]
    figures = log.state.read.conversation.quality
    assert (figures.scored, figures.unscored, figures.messages) == (1, 1, 2)


def test_a_refused_cid_stays_refused_whatever_a_later_verdict_says() -> None:
    log = Log()
    log.say("bad", "c1")
    log.say("bad again", "c1")
    log.verdict("bad again", NICE)
    log.verdict("bad", NASTY)
    log.say("bad once more", "c1")
    assert log.asked == [], "what is answered already is not read again"
    assert log.texts() == []
    assert [each.code for each in log.refused] == [ErrorCode.REJECTED] * 3
    log.say("bad", "c1", user="bob")
    assert len(log.asked) == 1, "a cid is its user's own"


def test_a_published_cid_stays_published_whatever_a_later_verdict_says() -> None:
    log = Log()
    log.say("late", "c1")
    log.say("late again", "c1")
    log.verdict("late", None)
    log.verdict("late again", NASTY)
    assert log.texts() == ["late"]
    assert log.refused == []


def test_what_waits_when_reading_ends_is_published_and_nothing_more_is_asked() -> None:
    log = Log()
    log.say("one")
    log.run(room.step(log.state, wire.SetTerms(1, "room:r", "ann", None), NOBODY, "g", 1))
    assert log.texts() == ["one"]
    assert log.state.read is None
    log.verdict("one", NASTY)
    log.say("two")
    assert (log.texts(), log.asked) == (["one", "two"], [])


def test_who_may_not_speak_any_more_is_not_heard_either() -> None:
    log = Log()
    log.say("one", user="bob")
    del log.state.members["bob"]
    log.verdict("one", NICE)
    assert log.texts() == []
    assert [each.code for each in log.refused] == [ErrorCode.DENIED]


def test_what_holds_no_text_waits_for_its_place_and_not_for_a_verdict() -> None:
    log = Log()
    log.say("one")
    d = b'{"sticker":7}'
    log.run(room.step(log.state, wire.Publish(1, "room:r", "bob", "c", d), NOBODY, "g", 1))
    assert len(log.asked) == 1
    log.verdict("one", NICE)
    assert [d for user, d in log.published if user] == [b'{"text":"one"}', d]


def test_a_retracted_message_is_gone_from_the_window_and_all_are_told() -> None:
    log = Log(policy="retract")
    log.say("fine", "c1")
    log.say("foul", "c2")
    log.verdict("foul", NASTY)
    log.verdict("fine", NICE)
    assert [event["of"] for event in log.events("retract")] == [3]
    assert [said.d for said in log.state.stream.window if said.user] == [
        b'{"text":"fine"}',
        reading.TOMBSTONE,
    ]
    figures = log.state.read.conversation
    assert (figures.quality.messages, figures.quality.retracted, figures.last_offset) == (1, 1, 4)
    answered = log.answered
    log.say("foul", "c2")
    assert (log.answered, log.texts()) == (answered + 1, ["fine", "foul"])


def test_a_message_is_not_counted_before_what_becomes_of_it_is_stored() -> None:
    """Else figures that are saved in between would say that nothing is left to be done."""
    for terms in ({"policy": "retract"}, {"policy": "pass", "marks": True}):
        log = Log(**terms)
        log.say("foul")
        log.say("later")
        log.verdict("later", None)
        (score,) = log.asked
        counted = log.state.read.conversation.last_offset
        effects = reading.scored(log.state.read, score.key, NASTY, log.state.hears)
        assert log.state.read.conversation.last_offset == counted == 1
        log.run(effects)
        assert log.state.read.conversation.last_offset == log.state.stream.top
        assert not log.state.read.untold


def test_who_imitates_an_event_of_the_engine_is_read_as_well() -> None:
    for kind in ("join", "leave", "retracted", "reading"):
        log = Log(policy="retract")
        d = msgspec.json.encode({"type": kind, "v": 1, "user": "ann", "of": 1, "text": "foul"})
        log.run(room.step(log.state, wire.Publish(1, "room:r", "ann", "c", d), NOBODY, "g", 1))
        log.verdict("foul", NASTY)
        assert [event["of"] for event in log.events("retract")] == [2]


def test_a_mark_in_somebodys_name_marks_nothing() -> None:
    log = Log(policy="pass", marks=True)
    d = b'{"type":"reading","v":1,"of":3,"scored":true}'
    log.run(room.step(log.state, wire.Publish(1, "room:r", "ann", "c", d), NOBODY, "g", 1))
    assert [reading.marked_by(said) for said in log.state.stream.window] == [None, None]


def test_marks_are_told_only_where_the_terms_say_so() -> None:
    for marks in (False, True):
        log = Log(policy="pass", marks=marks)
        log.say("hello")
        log.verdict("hello", NICE)
        assert [event["of"] for event in log.events("reading")] == [2] * marks
        log.say("late")
        log.verdict("late", None)
        assert [event["scored"] for event in log.events("reading")] == [True, False] * marks
        assert log.state.read.conversation.quality.unscored == 1


def test_the_inline_scorer_needs_nobody() -> None:
    log = Log(scorer="inline", heads=["sentiment"], threshold=0.6)
    log.say("what a lovely day, thank you!")
    log.say("you are a horrible, disgusting liar and I hate you")
    assert log.texts() == ["what a lovely day, thank you!"]
    assert [each.code for each in log.refused] == [ErrorCode.REJECTED]
    assert log.asked == []


def test_the_queue_of_held_messages_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HELD_LIMIT", 3)
    log = Log()
    for n in range(5):
        log.say(f"t{n}")
    assert [each.code for each in log.refused] == [ErrorCode.OVERLOADED] * 2
    for n in range(3):
        log.verdict(f"t{n}", NICE)
    assert log.texts() == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"policy": "hold", "threshold": None}, ErrorCode.BAD_REQUEST),
        ({"policy": "hold", "deadline_ms": 9_000}, ErrorCode.BAD_REQUEST),
        ({"scorer": "inline"}, ErrorCode.BAD_REQUEST),
        ({"heads": []}, ErrorCode.BAD_REQUEST),
        ({"heads": ["gender"]}, ErrorCode.BAD_REQUEST),
        ({"deadline_ms": 1}, ErrorCode.BAD_REQUEST),
        ({"surprise": 1}, ErrorCode.BAD_REQUEST),
        ({"marks": True}, ErrorCode.BAD_REQUEST),
    ],
)
def test_terms_that_say_nothing_sensible_are_refused(terms: dict, code: ErrorCode) -> None:
    log = unread()
    log.set_terms(**terms)
    assert [each.code for each in log.refused] == [code]
    assert (log.published, log.state.read) == ([], None)


def test_only_the_owner_sets_terms_and_an_encrypted_room_has_none() -> None:
    log = unread()
    wanted = msgspec.json.encode(TERMS)
    log.run(room.step(log.state, wire.SetTerms(1, "room:r", "bob", wanted), NOBODY, "g", 1))
    log.state.is_encrypted = True
    log.set_terms()
    log.state.is_encrypted, log.state.durable = False, False
    log.set_terms()
    codes = [each.code for each in log.refused]
    assert codes == [ErrorCode.DENIED, ErrorCode.NOT_AVAILABLE, ErrorCode.NOT_AVAILABLE]
    assert (log.published, log.state.read) == ([], None)


def test_ending_what_never_was_tells_nobody_anything() -> None:
    log = unread()
    log.run(room.step(log.state, wire.SetTerms(1, "room:r", "ann", None), SENDER, "g", 1))
    assert (log.answered, log.published) == (1, [])


def test_a_room_that_is_not_read_asks_for_nothing() -> None:
    log = unread()
    log.say("secret")
    effects = room.step(log.state, wire.DynamicsQuery(1, "room:r", "ann"), NOBODY, "g", 1)
    assert [effect.code for effect in effects] == [ErrorCode.NOT_AVAILABLE]
    assert (log.texts(), log.asked) == (["secret"], [])


POLICIES = st.sampled_from(["hold", "retract", "pass"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(["ann", "bob"]), st.sampled_from(["", "x", "y", "z"])),
        st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from([None, NICE, NASTY, Verdict()])),
    ),
    max_size=40,
)


@given(POLICIES, st.booleans(), STEPS)
def test_everybody_is_answered_once_and_every_message_counts_once(policy, marks, steps) -> None:
    log = Log(policy=policy, marks=marks and policy == "pass")
    answered, said = log.answered, 0
    for number, (kind, *what) in enumerate(steps):
        if kind == "say":
            user, cid = what
            log.say(f"text {number}", cid, user)
            said += 1
        elif log.asked:
            log.settle(log.asked[what[0] % len(log.asked)], what[1])
    for score in list(log.asked):
        log.settle(score, None)
    assert log.answered - answered + len(log.refused) == said
    assert not log.state.read.held
    assert not log.state.read.pending
    assert not log.state.read.asked
    read = log.state.read.conversation
    assert read.last_offset == log.state.stream.top == len(log.published)
    assert read.quality.messages + read.quality.retracted == len(log.texts())
    assert len(log.events("retract")) == read.quality.retracted
    numbers = [int(text.split()[1]) for text in log.texts()]
    assert numbers == sorted(numbers), "offsets are in the order of arrival"


@given(POLICIES, STEPS, st.integers(0, 40))
def test_a_restart_counts_each_message_once_and_marks_and_retracts_once(policy, steps, cut) -> None:
    """From any saved state, by the log alone; a verdict is that of its text: asked again, it is the same."""

    def judge(score: Score) -> Verdict | None:
        return [None, NICE, NASTY, Verdict()][len(score.text) % 4]

    log = Log(policy=policy, marks=policy == "pass")
    saved = log.state.read.conversation.encoded()
    for number, (kind, *what) in enumerate(steps):
        if number == cut:
            saved = log.state.read.conversation.encoded()
        if kind == "say":
            log.say("x" * (number % 7 + 1), what[1], what[0])
        elif log.asked:
            score = log.asked[what[0] % len(log.asked)]
            log.settle(score, judge(score))
    held = [each for each in log.asked if reading.is_held(log.state.read, each.key)]
    for score in held:
        log.settle(score, judge(score))
    log.asked.clear()
    before = log.state.read
    figures = Conversation.decoded(saved)
    past = [said for said in log.state.stream.window if said.offset > figures.last_offset]
    marked = {of for said in past if (of := reading.marked_by(said)) is not None}
    log.state.read = reading.ReadState("r", before.terms, figures)
    log.run(reading.replay(log.state.read, past, marked))
    for score in list(log.asked):
        log.settle(score, judge(score))
    retracted = [event["of"] for event in log.events("retract")]
    marks = [event["of"] for event in log.events("reading")]
    assert len(set(retracted)) == len(retracted)
    assert len(set(marks)) == len(marks)
    assert log.state.read.conversation.last_offset == log.state.stream.top
    whole = reading.ReadState("r", before.terms, Conversation(1))
    everything = [said for said in log.state.stream.window if said.offset > 1]
    again: list = reading.replay(whole, everything, set(marks))
    while asked := [each for each in again if isinstance(each, Score) and each.key]:
        again = []
        for score in asked:
            again += reading.scored(whole, score.key, judge(score), log.state.hears)
    if policy != "hold":  # there a message that came late may be scored at the second asking
        assert log.state.read.conversation.quality == whole.conversation.quality
    assert log.state.read.conversation.dynamics == whole.conversation.dynamics
    assert log.state.read.conversation.coordination == whole.conversation.coordination


def test_a_message_that_waited_brings_its_verdict_along() -> None:
    log = Log()
    effects = room.step(log.state, wire.Publish(1, "room:r", "ann", "c", b'{"text":"a"}'), NOBODY, "g", 1)
    (score,) = effects
    (draft,) = reading.scored(log.state.read, score.key, NICE, log.state.hears)
    assert draft.beside == Heard(NICE)
    room.step(log.state, wire.Publish(1, "room:r", "ann", "c", b'{"text":"b"}', "k"), NOBODY, "g", 1)
    (draft,) = reading.scored(log.state.read, score.key + 1, NASTY, log.state.hears)
    assert draft.beside == Rejection()
    assert not isinstance(draft, Fan)
