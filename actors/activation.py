"""A virtual actor in a shard: loading, then one message at a time (ACT-6).

While a turn awaits something (a load, a page of the log) messages wait in the mailbox, in order.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from actors.effects import Asker
from actors.link import Link
from actors.messages import Bounced, Failure, Reply, Request
from actors.metrics import count
from actors.protocol import EngineError, ErrorCode

MAILBOX_SOFT = 1_000
"""More waiting than this shows in `hereabouts status`."""

MAILBOX_HARD = 10_000
"""More waiting than this is refused with 120."""


class Stage(Enum):
    """The life of an activation."""

    WAITING = "waiting"
    """Its slot is sealed: it is not loaded yet."""
    LOADING = "loading"
    ACTIVE = "active"
    SEALED = "sealed"
    """It ends what is under way and begins nothing: its slot is being handed over."""
    GONE = "gone"


class LinkAsker(Asker):
    """Whoever asked over a link; `rid` 0 wants no answer."""

    __slots__ = ("_link", "_rid")

    def __init__(self, link: Link, rid: int) -> None:
        self._link = link
        self._rid = rid

    def answer(self, ok: Any) -> None:
        if self._rid:
            self._link.send(Reply(self._rid, ok))

    def refuse(self, error: EngineError) -> None:
        count("refusals", code=str(int(error.code)))
        if self._rid:
            self._link.send(Failure(self._rid, int(error.code), error.message, error.retry_ms))

    def bounce(self, message: Request) -> None:
        """Gives the message back: its slot is another shard's."""
        self._link.send(Bounced(message))


class LocalAsker(Asker):
    """Whoever asked within this process."""

    __slots__ = ("done",)

    def __init__(self, done: Callable[[Any, EngineError | None], None]) -> None:
        self.done = done

    def answer(self, ok: Any) -> None:
        self.done(ok, None)

    def refuse(self, error: EngineError) -> None:
        self.done(None, error)


@dataclass(slots=True)
class Waiting:
    """One message with who asked and which peer it came through."""

    message: Request
    asker: Asker
    gateway: str


@dataclass(slots=True)
class Activation:
    """One live virtual actor: its state, its mailbox and where in life it is."""

    kind: str
    key: str
    slot: int
    stage: Stage = Stage.LOADING
    state: Any = None
    busy: bool = True
    """Messages wait."""
    running: bool = True
    """A task loads it or takes its turns."""
    mailbox: deque[Waiting] = field(default_factory=deque)
    turns: deque[tuple[Awaitable[None], Asker]] = field(default_factory=deque)
    """Turns of the shard's own that wait for the one under way; they go before the mailbox."""
    used_at_ms: int = 0
    turned_at_ms: int = 0
    """When it last took a turn or lost a gateway; fixes that come many at once are no turn."""
    row: int = -1
    """A person's, of the shard's table of positions."""
    crossings: deque[Any] = field(default_factory=deque)
    recording: bool = False
    """One task stores the crossings, one after the other."""

    @property
    def is_live(self) -> bool:
        """Its state is here, and nowhere else yet."""
        return self.stage is Stage.ACTIVE or self.stage is Stage.SEALED

    def wait(self, waiting: Waiting) -> None:
        """Puts a message at the end of the mailbox, or refuses it when that is full."""
        if len(self.mailbox) >= MAILBOX_HARD:
            count("drops", reason="mailbox full")
            waiting.asker.refuse(EngineError(ErrorCode.OVERLOADED, "this mailbox is full", 500))
            return
        self.mailbox.append(waiting)

    def refuse_all(self, error: EngineError) -> None:
        """Ends the mailbox: nobody is left waiting for an answer that can't come."""
        while self.mailbox:
            self.mailbox.popleft().asker.refuse(error)
