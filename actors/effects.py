"""What a step wants done. The shard runs effects; steps stay pure (ACT-7)."""

from dataclasses import dataclass
from typing import Any

from actors.messages import Pushed
from actors.protocol import EngineError, ErrorCode
from nlp.conversation import Verdict


class Asker:
    """Who waits for an answer: opaque to a step, which only names it in an effect."""

    __slots__ = ()

    def answer(self, ok: Any) -> None:
        """Delivers a reply; the default asker does not want one."""

    def refuse(self, error: EngineError) -> None:
        """Delivers a failure; the default asker does not want one."""


NOBODY = Asker()


@dataclass(frozen=True, slots=True)
class Answer:
    """The request succeeded."""

    asker: Asker
    ok: Any


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request failed with a code of the table."""

    asker: Asker
    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Send:
    """A push to one gateway."""

    gateway: str
    message: Pushed


@dataclass(frozen=True, slots=True)
class Fan:
    """A push to every gateway that hears a channel; and, while it is not known which do, to all (FAN-2)."""

    gateways: tuple[str, ...]
    message: Pushed
    slot: int = -1
    """The slot of the channel's actor; -1: to these gateways only."""
    members: int = 0
    """How many hear it: many are reached over relays (FAN-3)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Of a publication that waited for its verdict: what came of it, None if nothing in time."""

    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Not to be published: its cid alone is stored, so that a retry gets the same answer."""


@dataclass(frozen=True, slots=True)
class Retraction:
    """The publication at this offset, of this time, is taken back: what it said is deleted."""

    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class TermsSet:
    """From here on the room is read on these terms (JSON of reading_terms.Terms), or not any more."""

    terms: bytes | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A publication that has no offset yet: the committer assigns it and stores it."""

    room: str
    user: str
    cid: str
    d: bytes
    ack: str
    asker: Asker
    beside: Heard | Rejection | Retraction | TermsSet | None = None
    """What its commit does besides, or what is known of it."""


@dataclass(frozen=True, slots=True)
class Score:
    """A text of a room that is read: a verdict is wanted in so much time."""

    room: str
    key: int
    text: str
    heads: tuple[str, ...]
    limit_ms: int


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """A page that the window does not hold: exclusive bounds, read from the log."""

    asker: Asker
    viewer: str
    after: int
    before: int
    limit: int
    reverse: bool
    """Newest first in the answer."""
    newest: bool = False
    """The page at the newest end of the bounds, but oldest first in the answer."""


Effect = Answer | Refuse | Send | Fan | Draft | ReadHistory | Score
