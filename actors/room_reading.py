"""A room and its being read: what the owner says, what members ask, what a commit changes (NLP-4)."""

from typing import TYPE_CHECKING

import msgspec

from actors import messages as wire
from actors import reading
from actors.effects import Answer, Asker, Draft, Effect, Refuse, Retraction, TermsSet
from actors.protocol import ErrorCode
from actors.reading import ReadState
from actors.reading_terms import decoded, problem_with
from actors.stream import Publication
from nlp.conversation import Conversation

if TYPE_CHECKING:
    from actors.room import RoomState


def asked(state: "RoomState", message: wire.SetTerms | wire.DynamicsQuery, asker: Asker) -> list[Effect]:
    """One message of a member."""
    if isinstance(message, wire.DynamicsQuery):
        if state.read is None:
            return [Refuse(asker, ErrorCode.NOT_AVAILABLE, "this room is not read")]
        told = state.read.conversation
        return [Answer(asker, {"room": told.summary(), "mine": told.own(message.user)})]
    if state.members[message.user] != "owner":
        return [Refuse(asker, ErrorCode.DENIED, "no such channel, or not yours")]
    if refusal := _cannot_be_read(message.terms, state):
        return [Refuse(asker, *refusal)]
    if message.terms is None and state.read is None:
        return [Answer(asker, {})]
    told_terms = msgspec.Raw(message.terms or b"null")
    event = msgspec.json.encode(
        {"type": "reading.terms", "v": 1, "user": message.user, "reading": told_terms}
    )
    return [Draft(state.room, reading.ENGINE, "", event, "durable", asker, TermsSet(message.terms))]


def _cannot_be_read(terms: bytes | None, state: "RoomState") -> tuple[ErrorCode, str] | None:
    if terms is None:
        return None
    if state.is_encrypted:
        return ErrorCode.NOT_AVAILABLE, "this room is encrypted: it is never read"
    if not state.durable:
        return ErrorCode.NOT_AVAILABLE, "this room is kept in memory: only durable rooms are read"
    try:
        problem = problem_with(decoded(terms))
    except msgspec.ValidationError as error:
        problem = str(error)
    return (ErrorCode.BAD_REQUEST, problem) if problem else None


def committed(state: "RoomState", said: Publication, draft: Draft) -> list[Effect]:
    """The log holds this now, in a room that is read or with something beside it."""
    effects: list[Effect] = []
    beside = draft.beside
    if isinstance(beside, Retraction):
        state.stream.replace(beside.offset, reading.TOMBSTONE)
    elif isinstance(beside, TermsSet) and beside.terms is not None:
        terms = decoded(beside.terms)
        if state.read is None:
            figures = Conversation(said.offset)
            state.read = ReadState(state.room, terms, figures, saved_offset=said.offset)
        else:  # what is counted already stays
            state.read.terms = terms
        effects += reading.warmed(state.read)
    elif isinstance(beside, TermsSet) and state.read is not None:
        effects += reading.ended(state.read, state.hears)
        state.read = None
    if state.read is not None:
        effects += reading.stored(state.read, said, beside)
    return effects
