"""A shard's activations: each message is given to its own, one at a time (ACT-6).

Turns never overlap. While one awaits something, or its slot is handed over, messages wait in the mailbox.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from actors import messages as wire
from actors.activation import Activation, LocalAsker, Stage, Waiting
from actors.effects import NOBODY, Asker
from actors.fanout import FanOut
from actors.hand_off import HandOff
from actors.host import Host
from actors.messages import Request
from actors.online_host import OnlineHost
from actors.placement import addressee, slot_of
from actors.protocol import EngineError, ErrorCode
from actors.reminders import Reminders
from actors.router import Router
from actors.workload import SAMPLE_MASK, Workload
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.shard")

_RETRY_S = 0.2
_NEEDS_NO_ACTIVATION = (
    wire.Refresh,
    wire.RowsTold,
    wire.Vacant,
    wire.StayQuery,
    wire.FenceMoved,
    wire.TallyChanged,
)
"""Nothing changes for an actor that is not live."""

_OF_THE_LIVING = frozenset({wire.Subscribe, wire.RowsTold, wire.Remind, wire.Here})
"""Only of a gateway that is there; but for reminders, which come from none."""


class Turns(ABC):
    """What is live in a shard, and its turns. `router` and `number` say which slots are its own."""

    def __init__(self, number: int, router: Router) -> None:
        self.number = number
        self.router = router
        self.pool: Any
        self.online: OnlineHost
        self.activations: dict[tuple[str, str], Activation] = {}
        self.hosts: dict[str, Host] = {}
        self.received = 0
        self.fan_out = FanOut(router)
        self.moving = HandOff(self)
        self.reminders = Reminders(self)
        self.workload = Workload(self)
        self.settle: Callable[[], None] = lambda: None
        """Judges the fixes that came before: whatever is delivered to a person comes behind them."""
        self._tasks: set[asyncio.Task[None]] = set()

    def now_ms(self) -> int:
        """The wall clock in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def spawn(self, work: Any) -> None:
        """Runs work in the background until the shard stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work ended", exc_info=task.exception())

    # -- messages ---------------------------------------------------------------------------------

    def deliver_local(self, message: Request, done: Callable[[Any, EngineError | None], None]) -> None:
        """A request from this process's own router."""
        self.deliver(message, LocalAsker(done), "")

    def deliver(self, message: Request, asker: Asker, gateway: str) -> None:
        """Gives a message to its virtual actor, activating it if need be."""
        self.received += 1
        kind, key = self._addressee(message)
        if isinstance(message, wire.Refresh) and kind == "fences":
            self.spawn(self.refresh_fences(key, asker))
            return
        identity = (kind, key)
        activation = self.activations.get(identity)
        if activation is None:
            slot = slot_of(kind, key)
            if self.router.shard_of(slot) != self.number:
                self.moving.misplaced(Waiting(message, asker, gateway))
                return
            if isinstance(message, _NEEDS_NO_ACTIVATION) or (
                kind in ("room", "fence") and isinstance(message, wire.Unsubscribe)
            ):
                asker.answer({})
                return
            if kind == "user" and not self.moving.holds(kind, slot):  # noqa: SIM102 - the second one acts
                if self.online.takes(message, slot, asker, gateway):
                    return
            activation = self.activations[identity] = Activation(kind, key, slot)
            activation.wait(Waiting(message, asker, gateway))
            if self.moving.holds(kind, slot):
                activation.stage = Stage.WAITING
            else:
                self.begin(activation)
            return
        if not self.received & SAMPLE_MASK:
            self.workload.slots[activation.slot] += 1
        if activation.busy or activation.mailbox:
            activation.wait(Waiting(message, asker, gateway))
            return
        self._turn(activation, Waiting(message, asker, gateway))

    def _addressee(self, message: Request) -> tuple[str, str]:
        kind, key = addressee(message)
        if kind == "user":
            self.settle()
        return kind, key

    def _turn(self, activation: Activation, waiting: Waiting) -> None:
        message = waiting.message
        if type(message) in _OF_THE_LIVING and waiting.gateway not in self.fan_out.gateways:
            if isinstance(message, wire.Remind):
                self.turn(activation, self.reminders.turn(activation, message, waiting.asker), waiting.asker)
            return  # else it waited longer than its gateway lived: nobody would ever unsubscribe it
        activation.used_at_ms = activation.turned_at_ms = self.now_ms()
        try:
            work = self.hosts[activation.kind].handle(activation, waiting)
        except Exception:
            log.exception("a step of %s:%s failed", activation.kind, activation.key)
            waiting.asker.refuse(EngineError(ErrorCode.INTERNAL, "the engine failed on this"))
            return
        if work is not None:
            self.turn(activation, work, waiting.asker)

    def turn(self, activation: Activation, work: Awaitable[None], asker: Asker = NOBODY) -> None:
        """A turn that awaits something: the mailbox holds what comes meanwhile. Turns never overlap."""
        activation.turns.append((work, asker))
        if not activation.running:
            activation.busy = activation.running = True
            self.spawn(self._take_turns(activation))

    async def _take_turns(self, activation: Activation) -> None:
        while activation.turns:
            work, asker = activation.turns.popleft()
            try:
                await work
            except EngineError as error:
                asker.refuse(error)
            except Exception:
                log.exception("a turn of %s:%s failed", activation.kind, activation.key)
                asker.refuse(EngineError(ErrorCode.INTERNAL, "the engine failed on this", 500))
        activation.running = False
        activation.busy = activation.stage is Stage.SEALED
        self.proceed(activation)

    def begin(self, activation: Activation) -> None:
        """Loads an activation; its mailbox is worked through then."""
        activation.stage = Stage.LOADING
        self.spawn(self._activate(activation))

    def proceed(self, activation: Activation) -> None:
        """Works through the mailbox."""
        while activation.mailbox and not activation.busy and activation.stage is Stage.ACTIVE:
            self._turn(activation, activation.mailbox.popleft())

    async def _activate(self, activation: Activation) -> None:
        host = self.hosts[activation.kind]
        while True:
            try:
                activation.state = await host.load(activation)
                break
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("can't load a %s yet: %s", activation.kind, type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                log.exception("%s:%s can't be loaded", activation.kind, activation.key)
                self.deactivate(activation, EngineError(ErrorCode.INTERNAL, "the engine failed on this", 500))
                return
        if activation.stage is Stage.GONE:
            return
        if activation.state is None:
            self.deactivate(activation, EngineError(ErrorCode.DENIED, "no such channel, or not yours"))
            return
        activation.stage = Stage.ACTIVE
        activation.used_at_ms = activation.turned_at_ms = self.now_ms()
        host.activated(activation)
        await self._take_turns(activation)

    def deactivate(self, activation: Activation, error: EngineError | None = None) -> None:
        """Forgets an activation; whoever waits for it is refused."""
        activation.stage = Stage.GONE
        self.hosts[activation.kind].ended(activation)
        if self.activations.get((activation.kind, activation.key)) is activation:
            del self.activations[(activation.kind, activation.key)]
        activation.refuse_all(error or EngineError(ErrorCode.MOVED, "this activation ended", 50))

    @abstractmethod
    async def refresh_fences(self, fence: str, asker: Asker) -> None:
        """Reads a fence of the shard's index anew, or ("*") all."""
