"""What a gateway tells people's actors of their connections: they are here, they are gone (PRE-5).

It is said beside the work of connecting, which does not wait for it, and again whenever an actor may have
forgotten: as subscriptions are, with births of the same clock (births.py). It comes before anything else
that the connection asks for, and its end after the end of all that it had.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError
from actors.router import Router
from serve_app.births import Births, Telling
from serve_app.connection import Connection

RETRY_S = 0.5
TRIES = 120
"""After a minute without an answer the next move of the slot says it again."""


class Online:
    """One gateway's word on its connections."""

    def __init__(
        self,
        router: Router,
        births: Births,
        telling: Telling,
        connection: Callable[[str], Connection | None],
    ) -> None:
        self._router = router
        self._births = births
        self._telling = telling
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    def opened(self, connection: Connection) -> None:
        """It has a user now."""
        self._say(connection)

    def slots_moved(self, slots: set[int], connections: Iterable[Connection]) -> None:
        """These slots have new activations: they are told of all who are here."""
        for connection in list(connections):
            if slot_of("user", connection.user) in slots:
                self._say(connection)

    def closed(self, connection: Connection, *, clean: bool) -> None:
        """Its socket is gone."""
        if connection.birth:
            self._end(connection, connection.birth, clean, TRIES)

    def _say(self, connection: Connection, tries: int = TRIES) -> None:
        births, user = self._births, connection.user
        connection.birth = birth = births.born()
        message = wire.Here(
            0, user, connection.id, connection.device, connection.since_ms, birth, births.settled
        )
        slot = slot_of("user", user)
        epoch = self._router.epoch_of(slot)
        answered = partial(self._answered, connection, birth, (slot, epoch), tries)
        self._router.call("user", user, message, answered)

    def _answered(
        self,
        connection: Connection,
        birth: int,
        asked: tuple[int, int],
        tries: int,
        _: Any,
        error: EngineError | None,
    ) -> None:
        self._births.closed(birth)
        if error is None:
            slot, epoch = asked
            if self._telling.epochs.get(slot, epoch) > epoch and self._is_last(connection, birth):
                self._say(connection)  # it was told to an activation that is no more
        elif error.code.temporary and tries > 0:
            self._loop.call_later(RETRY_S, self._again, connection, birth, tries - 1)

    def _again(self, connection: Connection, birth: int, tries: int) -> None:
        if self._is_last(connection, birth):
            self._say(connection, tries)

    def _is_last(self, connection: Connection, birth: int) -> bool:
        """Whether the connection is here, and nothing has been said of it since."""
        return connection.birth == birth and self._connection(connection.id) is connection

    def _end(self, connection: Connection, birth: int, clean: bool, tries: int) -> None:
        births, user = self._births, connection.user
        message = wire.Away(0, user, connection.id, clean, birth, births.settled)

        def answered(_: Any, error: EngineError | None) -> None:
            births.closed(birth)
            if error is not None and error.code.temporary and tries > 0:
                self._loop.call_later(RETRY_S, self._end, connection, birth, clean, tries - 1)

        self._router.call("user", user, message, answered)
