"""The settings of a client; times in milliseconds."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from hereabouts_client.events import Position


@dataclass(frozen=True, slots=True)
class Options:
    """`device` names this device over connections: coming back within 15 s takes the lost socket's place."""

    device: str = field(default_factory=lambda: uuid4().hex)
    sdk: str = "hereabouts-python/0.1"
    command_ms: int = 5_000
    """A command unanswered for so long means a connection that is not to be trusted (RT-9)."""
    dial_ms: int = 10_000
    """For the token and the socket together."""
    backoff_first_ms: int = 500
    backoff_last_ms: int = 20_000
    stable_ms: int = 5_000
    """A connection that held for so long forgets the failures before it."""
    tops_ms: int = 1_000
    """How long publications that `tops` promised may still be on the way."""
    retry_ms: int = 1_000
    """After a temporary refusal that names no time."""
    queue_limit: int = 1_000
    """Publications not yet acknowledged. The loser is the newest: its publish fails at once."""
    window: int = 32
    """Publications of one channel on the way at once. 1 keeps their order over temporary refusals too."""
    in_flight_limit: int = 256
    """Publications of all channels on the way at once: what every engine lets wait."""


@dataclass(frozen=True, slots=True)
class Subscribing:
    """How to follow a channel: see `sub` in the protocol. `since` continues from where an app was before."""

    mode: str | None = None
    limit: int | None = None
    filter: dict[str, Any] | None = None
    token: str | None = None
    since: Position | None = None

    def body(self) -> dict[str, Any]:
        """The fields of `sub` that hold for every subscription."""
        fields = {"mode": self.mode, "filter": self.filter, "token": self.token}
        return {name: value for name, value in fields.items() if value is not None}
