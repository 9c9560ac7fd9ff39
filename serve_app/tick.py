"""The tick: everything that waits leaves in one write per socket (D3, D6)."""

import asyncio
import logging
import time
from collections.abc import Callable

from actors.metrics import counter, histogram
from serve_app.channel import Channel
from serve_app.connection import Connection
from serve_app.frames import MESSAGE_LIMIT_BYTES

log = logging.getLogger("hereabouts.tick")

_sends = counter("sends")
_ticks = histogram("gateway_tick_s")

TICK_S = 0.004
"""The longest that a push waits for others. An idle gateway does not wait at all."""

REST_FACTOR = 4
"""After a flush the tick gathers for this many times what the flush took, at most TICK_S: the busier the
gateway, the more frames share a write."""


class Tick:
    """Channels with frames and connections with something pending, and when they are written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, tick_s: float = TICK_S) -> None:
        self.clock = clock
        self._tick_s = tick_s
        self._loop = asyncio.get_running_loop()
        self._dirty: list[Channel] = []
        self._woken: list[Connection] = []
        self._scheduled = False
        self._rests_until_s = 0.0

    def wakes(self, connection: Connection) -> None:
        """The connection has something pending, which it had not before."""
        self._woken.append(connection)
        if not self._scheduled:
            self._schedule()

    def soils(self, channel: Channel) -> None:
        """The channel has frames for its members."""
        if not channel.is_dirty:
            channel.is_dirty = True
            self._dirty.append(channel)
            if not self._scheduled:
                self._schedule()
        if channel.size > MESSAGE_LIMIT_BYTES:
            self.flush()

    def spill(self, channel: Channel) -> None:
        """Hands the channel's frames to its members now, to be written with the tick."""
        channel.spill(self._woken)
        if self._woken and not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        wait_s = self._rests_until_s - self.clock()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._run)
        else:
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Writes everything: each channel's frames are joined once, each socket is written once."""
        started_s = self.clock()
        dirty, self._dirty = self._dirty, []
        woken = self._woken
        scheduled, self._scheduled = self._scheduled, True  # what spills now is written below
        for channel in dirty:
            try:
                channel.spill(woken)
            except Exception:
                log.exception("a channel's frames can't be sent")
                for connection in channel.members():
                    connection.owner.lost("this gateway failed on a publication")
        self._woken, self._scheduled = [], scheduled
        for connection in woken:
            try:
                connection.flush()
            except Exception:
                log.exception("a socket can't be written")
                connection.transport.abort()
        ended_s = self.clock()
        _sends.n += len(woken)
        _ticks.observe(ended_s - started_s)
        self._rests_until_s = ended_s + min(self._tick_s, REST_FACTOR * (ended_s - started_s))
