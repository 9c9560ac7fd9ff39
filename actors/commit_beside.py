"""What a commit of rooms' logs writes besides their messages: cids of what was refused, tombstones, terms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from actors.effects import Draft, Retraction, TermsSet
from actors.reading import TOMBSTONE
from actors.stream import Publication
from storage import readings
from storage.readings import REFUSED_OFFSET


@dataclass(slots=True)
class Besides:
    """Of one batch; almost always nothing."""

    refused: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(room, user, cid, id)."""
    retracted: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Room → (offset, ms) of what is taken back."""
    terms: list[tuple[str, str | None, int]] = field(default_factory=list)
    """(room, terms, offset of the event that tells them)."""

    def __bool__(self) -> bool:
        return bool(self.refused or self.retracted or self.terms)


def besides(stored: Mapping[str, Sequence[tuple[Publication, Draft]]]) -> Besides:
    """What stands beside the drafts of a batch."""
    found = Besides()
    for room, entries in stored.items():
        for publication, draft in entries:
            if draft.beside is None:
                continue
            if publication.offset == REFUSED_OFFSET:
                found.refused.append((room, draft.user, draft.cid, publication.id))
            elif isinstance(draft.beside, Retraction):
                beside = draft.beside
                found.retracted.setdefault(room, []).append((beside.offset, beside.at_ms))
            elif isinstance(draft.beside, TermsSet):
                terms = draft.beside.terms
                found.terms.append((room, None if terms is None else terms.decode(), publication.offset))
    return found


async def write(connection: asyncpg.Connection, found: Besides, now_ms: int) -> None:
    """Writes it, in the transaction that appends to the log. All of it may be written twice."""
    if found.refused:
        await readings.refuse(connection, found.refused, now_ms)
    for room, retracted in found.retracted.items():
        await readings.retract(connection, room, retracted, TOMBSTONE.decode())
    for room, terms, offset in found.terms:
        await readings.set_terms(connection, room, terms, offset)
