"""What a shard asks of the code that hosts one kind of virtual actor, and what it offers to it."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from actors.activation import Activation, Waiting
from actors.effects import NOBODY, Asker
from actors.fanout import FanOut
from actors.messages import RegionNews, Request
from actors.reminders import Reminders
from actors.router import Router
from actors.workload import Workload

if TYPE_CHECKING:
    from actors.online_host import OnlineHost
    from actors.splits import Splits
    from actors.verdict_queue import Scorer


class Host(Protocol):
    """Loads, steps and ends activations of one kind."""

    async def load(self, activation: Activation) -> Any:
        """The state to start from, or None where there is no such thing."""

    def activated(self, activation: Activation) -> None:
        """The state is here; the mailbox is worked through next."""

    def handle(self, activation: Activation, waiting: Waiting) -> Awaitable[None] | None:
        """One turn. Work that is returned is awaited before the next turn."""

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        """A gateway's link is gone."""

    def tick(self, now_ms: int) -> None:
        """Works through what changed since the last tick."""

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: what time alone changes."""

    def is_idle(self, activation: Activation) -> bool:
        """Whether nobody would miss the activation."""

    def regions_split(self, activation: Activation, regions: frozenset[str]) -> None:
        """The children of these regions stand in for them from now on."""

    def size_bytes(self, activation: Activation) -> int:
        """What its state holds, about; cheap to ask."""

    def is_quiet(self, activation: Activation) -> bool:
        """Whether nothing of it is under way outside of turns: commits, writes, questions to others."""

    def leaving(self, activation: Activation) -> None:
        """Its state goes to another shard now; nothing of it is written here any more."""

    def ended(self, activation: Activation) -> None:
        """It is forgotten here, whatever became of it; perhaps it never had a state."""

    def arrived(self, activation: Activation) -> None:
        """Its state came from another shard, as it was there."""


class Hosting(Protocol):
    """The shard, as its hosts see it."""

    @property
    def config(self) -> Any:
        """The shard's configuration."""

    @property
    def pool(self) -> Any:
        """Connections to Postgres."""

    @property
    def valkey(self) -> Any:
        """The client of Valkey."""

    @property
    def router(self) -> Router:
        """The way to other virtual actors."""

    @property
    def fan_out(self) -> FanOut:
        """The way to gateways."""

    @property
    def activations(self) -> dict[tuple[str, str], Activation]:
        """All that is live here, by (kind, key)."""

    @property
    def splits(self) -> "Splits":
        """The regions whose children stand in for them."""

    @property
    def reminders(self) -> Reminders:
        """How an actor is told something at a time, whatever becomes of this process."""

    @property
    def online(self) -> "OnlineHost":
        """Who of the shard's people is online."""

    @property
    def scorer(self) -> "Scorer | None":
        """Who reads texts; None: nobody here."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def run(self, effects: list[Any]) -> list[Any]:
        """Runs the effects that all kinds share; returns the others."""

    def deliver(self, message: Request, asker: Asker, gateway: str) -> None:
        """Gives a message to an actor of this shard."""

    def tell_shard(self, shard: int, news: RegionNews) -> None:
        """Tells a shard that follows a region what changed there."""

    def turn(self, activation: Activation, work: Awaitable[None], asker: Asker = NOBODY) -> None:
        """A turn that awaits something."""

    def deactivate(self, activation: Activation) -> None:
        """Forgets an activation."""

    def spawn(self, work: Any) -> None:
        """Runs work in the background."""

    def tick_soon(self) -> None:
        """Asks for a tick."""

    received: int
    """Messages so far."""

    @property
    def workload(self) -> Workload:
        """Which slots are busy."""
