"""The fixes of one shard's people, batch by batch: from a gateway's rows to "this fix counts" (GEO-4, GEO-5).

Rows that arrive are gathered for some milliseconds and judged together, as columns of the table. A batch is a
short cut: it is taken only for people who are active, not busy and have nothing waiting; every other row
becomes a message of its own and goes the ordinary way. Whatever else arrives for a person first has the
rows judged that came before it, so a person's messages keep their order (ACT-6, PRE-5).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors import messages as wire
from actors.activation import Activation, LinkAsker, Stage
from actors.announcing import placed
from actors.fix_log import FixLog
from actors.link import Link
from actors.metrics import count
from actors.moves import Moves
from actors.near_people import told_resolution
from actors.person import UserEffect, UserState
from actors.position_messages import Records, unpacked
from actors.router import Router
from actors.workload import SAMPLE_MASK, Workload
from geo.intake import ACCURACY, JUMP, LIVE, OUTCOMES, STALE, Intake, copy_fixes, fixes_of, take_in
from geo.probing import HELD, TELEPORT
from geo.table import PositionTable
from storage.positions import LOGGED, LoggedRows

GATHER_S = 0.008
"""The longest that a fix waits for others (docs/decisions/0263)."""

REST_FACTOR = 4
"""Fixes are gathered for this many times what the last batch took, at most GATHER_S: at rest none waits."""

BATCH_LIMIT = 10_000


class Shard(Protocol):
    """The shard, as this sees it."""

    received: int

    @property
    def config(self) -> Any:
        """The shard's configuration."""

    @property
    def router(self) -> Router:
        """The view of slots."""

    @property
    def workload(self) -> Workload:
        """Which slots are busy."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def deliver(self, message: wire.Request, asker: Any, gateway: str) -> None:
        """Gives a message to an actor of this shard."""

    def tick_soon(self) -> None:
        """Asks for a tick."""


class PositionIntake:
    """Of one shard. `run` runs the effects of a person's step; `moves` are those of this tick."""

    def __init__(
        self,
        shard: Shard,
        run: Callable[[Activation, list[UserEffect]], None],
        moves: Callable[[], Moves],
        fix_log: FixLog,
    ) -> None:
        self._shard = shard
        self._run = run
        self._moves = moves
        self._log = fix_log
        self._loop = asyncio.get_running_loop()
        self.table = PositionTable()
        self._people: dict[bytes, Activation] = {}
        self._waiting: list[tuple[Link, str, Records]] = []
        self._gathered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rests_until_s = 0.0

    # -- people ---------------------------------------------------------------------------------------

    def seats(self, activation: Activation) -> None:
        """The person's state is here: their location gets a row of the table."""
        state: UserState = activation.state
        state.location.attach(self.table)
        state.location.show_at(told_resolution(state.record.visibility_precision))
        activation.row = state.location.row
        self._people[activation.key.encode()] = activation

    def leaves(self, activation: Activation) -> None:
        """The person's state is not here any more."""
        if activation.row < 0:
            return
        activation.row = -1
        activation.state.location.detach()
        del self._people[activation.key.encode()]

    # -- batches --------------------------------------------------------------------------------------

    def received(self, link: Link, message: wire.Positions, gateway: str) -> None:
        """Fixes from a gateway."""
        records = message.rows()
        self._waiting.append((link, gateway, records))
        self._gathered += records.size
        if self._gathered >= BATCH_LIMIT:
            self.settle()
        elif self._timer is None:
            wait_s = self._rests_until_s - self._loop.time()
            self._timer = self._loop.call_later(max(wait_s, 0.0), self.settle)

    def settle(self) -> None:
        """Judges what was gathered."""
        if not self._waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting, self._gathered = self._waiting, [], 0
        started_s = self._loop.time()
        records = np.concatenate([each[2] for each in waiting])
        sources = np.repeat(np.arange(len(waiting)), [each[2].size for each in waiting])
        known = self._people.get
        people = [known(user) for user in records["user"].tolist()]
        is_ready = np.array([each is not None and is_free(each) for each in people])
        if is_ready.any():
            fast = [each for each, ready in zip(people, is_ready.tolist(), strict=True) if each and ready]
            taken = self._judge(records[is_ready], fast)
            answers = []
            for number, (link, _, _) in enumerate(waiting):
                own = sources[is_ready] == number
                answers.append((link, records["rid"][is_ready][own], taken.outcomes[own]))
            self._log.put(self._rows(records["user"][is_ready], fast, taken), partial(_answer, answers))
        for index in np.flatnonzero(~is_ready).tolist():
            link, gateway, _ = waiting[sources[index]]
            message = unpacked(records[index])
            self._shard.deliver(message, LinkAsker(link, message.rid), gateway)
        ended_s = self._loop.time()
        self._rests_until_s = ended_s + min(GATHER_S, REST_FACTOR * (ended_s - started_s))

    def _judge(self, records: Records, people: list[Activation]) -> Intake:
        shard = self._shard
        now_ms = shard.now_ms()
        sampled = shard.workload.slots
        for activation in people[-shard.received & SAMPLE_MASK :: SAMPLE_MASK + 1]:
            sampled[activation.slot] += 1
        shard.received += len(people)
        for activation in people:
            activation.used_at_ms = now_ms
        rows = np.fromiter((activation.row for activation in people), np.intp, len(people))
        taken = take_in(self.table, rows, fixes_of(records), now_ms, shard.config.position_ttl_ms)
        for index in np.flatnonzero(taken.outcomes == JUMP).tolist():
            people[index].state.probing.note(HELD, now_ms)
        for index in np.flatnonzero(np.bincount(taken.accepted_by) > 1).tolist():
            people[index].state.probing.note(TELEPORT, now_ms)  # a held fix came with the one that agrees
        if taken.accepted.size:
            by = taken.accepted_by.tolist()
            moves = self._moves()
            moves.since_ms = moves.since_ms or now_ms
            moves.extend([people[index] for index in by], taken.accepted)
            for index in np.flatnonzero(taken.accepted["is_first"]).tolist():
                activation = people[by[index]]
                state: UserState = activation.state
                taken.accepted["is_first"][index] = not state.located
                state.located = True
            for index in taken.looks:
                activation = people[index]
                self._run(activation, placed(activation.state, now_ms))
            shard.tick_soon()
        counted(taken.outcomes)
        return taken

    def _rows(self, users: Any, people: list[Activation], taken: Intake) -> LoggedRows:
        """What the log is to have of a batch: all that a replay must see, and what is history only."""
        wanted = np.flatnonzero(
            (taken.outcomes == LIVE) | (taken.outcomes == STALE) | (taken.outcomes == JUMP)
        )
        rows = np.zeros(wanted.size, dtype=LOGGED)
        rows["user"], rows["outcome"] = users[wanted], taken.outcomes[wanted]
        rows["slot"] = slots = [people[index].slot for index in wanted.tolist()]
        rows["epoch"] = [self._shard.router.view.epochs[slot] for slot in slots]
        rows["at_ms"] = self._shard.now_ms()
        copy_fixes(taken.fixes[wanted], rows)
        # A jump that was held counts after all: for the history. To a replay it is known already.
        again = np.flatnonzero(taken.accepted_by[1:] == taken.accepted_by[:-1])
        if not again.size:
            return rows
        held = rows[np.searchsorted(wanted, taken.accepted_by[again])]
        copy_fixes(taken.accepted[again], held)
        return np.concatenate([rows, held])


def is_free(activation: Activation) -> bool:
    """Whether a message would be this person's next turn, at once."""
    return activation.stage is Stage.ACTIVE and not activation.busy and not activation.mailbox


def _answer(answers: list[tuple[Link, npt.NDArray[np.int64], npt.NDArray[np.uint8]]]) -> None:
    for link, rids, outcomes in answers:
        wanted = rids != 0
        if wanted.any():
            link.send(wire.PositionsTaken(rids[wanted].tobytes(), outcomes[wanted].tobytes()))


def counted(outcomes: Any) -> None:
    """Counts fixes that are not live by reason (GEO-3)."""
    if outcomes.any():
        for outcome, times in enumerate(np.bincount(outcomes).tolist()):
            if times and outcome != LIVE:
                count("fixes_not_live", times, reason=str(OUTCOMES[outcome][1]))
    if (refused := int((outcomes >= ACCURACY).sum())) > 0:
        count("refusals", refused, code="107")
