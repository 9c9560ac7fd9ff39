"""A room that is read: what waits for a verdict, what a verdict does, what is counted. State and pure steps
(NLP-2, NLP-4, NLP-8, NLP-10).

A room is read on its owner's terms from the event that says so; before and after, nothing of a message goes
to a scorer. A verdict that does not come in time is as none, whatever the reason: the message is published,
and counted as unscored.

hold     a publication gets its offset when its verdict is there, in the order in which they came.
retract  it is published at once; a verdict at or above the threshold takes it back, by an event.
pass     it is published at once; its verdict is counted, and told as an event where the terms say so.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import msgspec

from actors.effects import NOBODY, Draft, Effect, Heard, Refuse, Rejection, Retraction, Score
from actors.metrics import counter
from actors.protocol import EngineError, ErrorCode
from actors.reading_terms import Terms
from actors.stream import Publication
from nlp.conversation import Conversation, Verdict
from nlp.quality import NO_MARKS, Marks, marks_of
from nlp.sentiment import inline

HELD_LIMIT = 1_000
"""Publications of a room that wait for their verdict; past it a sender gets 120."""

PENDING_LIMIT = 4_000
"""Published messages that wait for theirs; past it the oldest goes without."""

TOMBSTONE = b'{"type":"retracted","v":1}'
"""What stands in the place of what was taken back."""

MOVED = EngineError(ErrorCode.MOVED, "this activation ended", 50)

ENGINE = ""
"""Who speaks where nobody does."""

_refused, _retracted = counter("withheld", policy="hold"), counter("withheld", policy="retract")


@dataclass(slots=True)
class Held:
    """A publication that waits to be published."""

    draft: Draft
    is_settled: bool = False
    verdict: Verdict | None = None


@dataclass(slots=True)
class Pending:
    """A published entry that is to be counted, in its turn."""

    offset: int
    user: str
    at_ms: int
    marks: Marks
    text: str | None
    kind: str = "said"
    """said, came, retracted, or happened."""
    is_wanted: bool = False
    is_settled: bool = True
    verdict: Verdict | None = None
    is_new: bool = True
    """Its verdict has consequences: none was drawn before."""


@dataclass(slots=True)
class ReadState:
    """Of one room, while it is read."""

    room: str
    terms: Terms
    conversation: Conversation
    held: deque[Held] = field(default_factory=deque)
    pending: deque[Pending] = field(default_factory=deque)
    asked: dict[int, Held | Pending] = field(default_factory=dict)
    untold: dict[int, Pending] = field(default_factory=dict)
    """Offset → message whose retraction or mark is on its way to the log: counted when it is there, so that
    whoever starts from the figures has nothing to make good."""
    keys: int = 0
    saved_offset: int = 0
    saved_at_ms: int = 0

    @property
    def is_waiting(self) -> bool:
        """Some verdict has not come yet."""
        return bool(self.held or self.pending)

    @property
    def is_inline(self) -> bool:
        """Scored where it is said."""
        return self.terms.scorer == "inline"

    def is_harmful(self, verdict: Verdict | None) -> bool:
        """Whether the terms' threshold is reached."""
        if verdict is None or verdict.harm is None or self.terms.threshold is None:
            return False
        return verdict.harm >= self.terms.threshold


class _Said(msgspec.Struct):
    text: Any = None
    type: Any = None
    user: Any = None
    of: Any = None


def inline_verdict(text: str) -> Verdict:
    """What VADER says: its compound is the sentiment, what is negative of it the harm."""
    compound = inline(text)
    return Verdict() if compound is None else Verdict(max(0.0, -compound), compound)


def text_of(d: bytes) -> str | None:
    """What is read of a publication: `d.text`, or `d` itself where it is text."""
    try:
        said = msgspec.json.decode(d, type=_Said | str)
    except msgspec.ValidationError:
        return None
    text = said if isinstance(said, str) else said.text
    return text if isinstance(text, str) and text else None


# -- before the log ---------------------------------------------------------------------------------------


def publish(read: ReadState, draft: Draft, may_speak: Callable[[str], bool]) -> list[Effect]:
    """A publication that somebody wants to make and that the room has not answered yet."""
    if read.terms.policy != "hold":
        return [draft]
    if len(read.held) >= HELD_LIMIT:
        return [Refuse(draft.asker, ErrorCode.OVERLOADED, "too many messages wait to be read")]
    text = text_of(draft.d)
    held = Held(draft)
    read.held.append(held)
    effects: list[Effect] = []
    if text is None:
        held.is_settled = True
    elif read.is_inline:
        held.is_settled, held.verdict = True, inline_verdict(text)
    else:
        effects.append(_ask(read, held, text))
    return effects + _release(read, may_speak)


def warmed(read: ReadState) -> list[Effect]:
    """There will be something to read."""
    return [] if read.is_inline else [Score(read.room, 0, "", read.terms.heads, 0)]


def _ask(read: ReadState, who: Held | Pending, text: str) -> Score:
    read.keys += 1
    read.asked[read.keys] = who
    return Score(read.room, read.keys, text, read.terms.heads, read.terms.deadline_ms)


def _release(read: ReadState, may_speak: Callable[[str], bool]) -> list[Effect]:
    """What need not wait any longer, in the order in which it came."""
    effects: list[Effect] = []
    while read.held and read.held[0].is_settled:
        held = read.held.popleft()
        draft = held.draft
        if not may_speak(draft.user):
            effects.append(Refuse(draft.asker, ErrorCode.DENIED, "no such channel, or not yours"))
        elif not read.is_harmful(held.verdict):
            effects.append(replace(draft, beside=Heard(held.verdict)))
        else:
            _refused.n += 1
            effects.append(replace(draft, beside=Rejection()) if draft.cid else rejected(draft))
    return effects


def rejected(draft: Draft) -> Refuse:
    """What the sender of a message is told that is not published."""
    return Refuse(draft.asker, ErrorCode.REJECTED, "this room does not publish messages like this one")


# -- after the log ----------------------------------------------------------------------------------------


def stored(read: ReadState, said: Publication, beside: object = None) -> list[Effect]:
    """The log holds this now; to be told in the order of offsets."""
    if said.offset <= read.conversation.last_offset:
        return []
    if said.user == ENGINE and read.untold:
        read.untold.pop(_of(said) or 0, None)
    entry = _entry(said)
    effects: list[Effect] = []
    if entry.kind == "said" and entry.text is not None:
        entry.is_wanted = True
        if isinstance(beside, Heard):
            entry.verdict, entry.is_new = beside.verdict, False
        elif read.terms.policy == "hold" and not read.is_inline:
            entry.is_new = False  # said before the terms were known: nobody waited for a verdict
        elif read.is_inline:
            entry.verdict = inline_verdict(entry.text)
        else:
            entry.is_settled = False
            effects.append(_ask(read, entry, entry.text))
    read.pending.append(entry)
    if len(read.pending) > PENDING_LIMIT:
        read.pending[0].is_settled = True
        read.untold.pop(read.pending[0].offset, None)
    if entry.is_settled:
        effects += _consequences(read, entry)
    _fold(read)
    return effects


def replay(read: ReadState, log: Iterable[Publication], marked: set[int]) -> list[Effect]:
    """What the log holds past `last_offset`, after a restart. `marked` are the offsets of messages whose
    marks the log holds, too. Verdicts that are not known any more are asked for again.
    """
    effects = warmed(read)
    for said in log:
        entry = _entry(said)
        if entry.kind == "said" and entry.text is not None:
            entry.is_wanted = True
            entry.is_new = read.terms.policy != "hold" and said.offset not in marked
            if read.is_inline:
                entry.verdict = inline_verdict(entry.text)
                effects += _consequences(read, entry)
            else:
                entry.is_settled = False
                effects.append(_ask(read, entry, entry.text))
        read.pending.append(entry)
    _fold(read)
    return effects


def marked_by(said: Publication) -> int | None:
    """The offset of the message that this entry of the log marks, if it is a mark."""
    return _of(said, "reading") if said.user == ENGINE else None


def _of(said: Publication, *kinds: str) -> int | None:
    event = msgspec.json.decode(said.d, type=_Said)
    return event.of if event.type in (kinds or ("reading", "retract")) else None


def _entry(said: Publication) -> Pending:
    entry = Pending(said.offset, said.user, said.t_ms, NO_MARKS, None)
    try:
        event = msgspec.json.decode(said.d, type=_Said | str)
    except msgspec.ValidationError:
        return entry
    if said.user == ENGINE:
        entry.kind = "happened"
    elif said.d == TOMBSTONE:
        entry.kind = "retracted"
    elif _is_coming_or_going(event, said.user):
        entry.kind = "came" if event.type == "join" else "happened"
    else:
        text = event if isinstance(event, str) else event.text
        if isinstance(text, str) and text:
            entry.text, entry.marks = text, marks_of(text)
    return entry


def is_held(read: ReadState, key: int) -> bool:
    """Whether a publication waits for this verdict."""
    return isinstance(read.asked.get(key), Held)


def _is_coming_or_going(event: _Said | str, user: str) -> TypeGuard[_Said]:
    """An event of the engine's; whoever imitates one says nothing with it."""
    return (
        isinstance(event, _Said)
        and event.type in ("join", "leave")
        and event.user == user
        and event.text is None
    )


def scored(
    read: ReadState, key: int, verdict: Verdict | None, may_speak: Callable[[str], bool]
) -> list[Effect]:
    """A verdict, or the deadline without one (None)."""
    who = read.asked.pop(key, None)
    if who is None or who.is_settled:
        return []
    who.is_settled, who.verdict = True, verdict
    if isinstance(who, Held):
        return _release(read, may_speak)
    effects = _consequences(read, who)
    _fold(read)
    return effects


def _consequences(read: ReadState, entry: Pending) -> list[Effect]:
    """What the verdict on a published message does to the room."""
    entry.text = None
    terms = read.terms
    if not entry.is_new or not entry.is_wanted:
        return []
    if terms.policy == "retract" and read.is_harmful(entry.verdict):
        entry.kind = "retracted"
        _retracted.n += 1
        event = {"type": "retract", "v": 1, "of": entry.offset, "reason": "reading"}
        read.untold[entry.offset] = entry
        return [_event(read, event, Retraction(entry.offset, entry.at_ms))]
    if terms.policy == "pass" and terms.marks:
        verdict = entry.verdict
        mark: dict[str, Any] = {"type": "reading", "v": 1, "of": entry.offset, "scored": verdict is not None}
        if verdict is not None:
            mark |= {"sentiment": verdict.sentiment, "harm": verdict.harm}
            mark |= {"labels": dict(verdict.labels), "models": dict(verdict.models)}
        read.untold[entry.offset] = entry
        return [_event(read, mark)]
    return []


def _event(read: ReadState, event: dict[str, Any], beside: Retraction | None = None) -> Draft:
    return Draft(read.room, ENGINE, "", msgspec.json.encode(event), "none", NOBODY, beside)


def _fold(read: ReadState) -> None:
    """Counts what is settled and told, in the order of offsets."""
    told = read.conversation
    while read.pending and read.pending[0].is_settled and read.pending[0].offset not in read.untold:
        entry = read.pending.popleft()
        if entry.kind == "said":
            told.said(
                entry.offset, entry.user, entry.at_ms, entry.marks, entry.verdict, wanted=entry.is_wanted
            )
        elif entry.kind == "came":
            told.came(entry.offset, entry.user)
        elif entry.kind == "retracted":
            told.retracted(entry.offset)
        else:
            told.happened(entry.offset)


# -- terms that change, states that move ------------------------------------------------------------------


def ended(read: ReadState, may_speak: Callable[[str], bool]) -> list[Effect]:
    """The room is not read any more: what waited is published unread, and nothing is asked or counted."""
    read.asked.clear()
    read.pending.clear()
    read.untold.clear()
    for held in read.held:
        if not held.is_settled:
            held.is_settled, held.verdict = True, None
    return _release(read, may_speak)


def goes_on(read: ReadState, before: ReadState) -> None:
    """A state that was read anew takes over what waits to be published."""
    read.held, read.keys = before.held, before.keys
    read.asked = {key: who for key, who in before.asked.items() if isinstance(who, Held)}


def asked_again(read: ReadState) -> list[Effect]:
    """In another process: what was asked in the one before is asked anew."""
    who, read.asked = [each for each in read.asked.values() if isinstance(each, Pending)], {}
    effects = warmed(read)
    for each in who:
        if each.text is not None:
            effects.append(_ask(read, each, each.text))
        elif not each.is_settled:
            each.is_settled = True
    _fold(read)
    return effects


def forget(read: ReadState, user: str) -> None:
    """An erased person is named no more; what they said still counts."""
    read.conversation.forget(user)
    for entry in read.pending:
        if entry.user == user:
            entry.user = ENGINE
    read.saved_offset = min(read.saved_offset, read.conversation.last_offset - 1)
