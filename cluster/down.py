"""`hereabouts down`: asks an engine's supervisor to stop, and cleans up after one that was killed."""

import signal
from collections.abc import Callable

from cluster import engine, processes
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.leftovers import remove_leftovers
from cluster.node import locked

PATIENCE_S = 100.0  # draining takes up to 30 s, and as long again for the clients of other nodes


async def down(place: Layout, tell: Callable[[str], None]) -> bool:
    """Stop the engine of a data folder; False if none was there. Raises OperatorError if it does not end."""
    state = engine.read(place.state) if place.data.is_dir() else None
    if state is None:
        return False
    if processes.is_alive(state.supervisor):
        what = f"the engine at {state.url}" if state.url else f"node {state.node}"
        tell(f"stopping {what} (pid {state.supervisor.pid})")
        processes.send(state.supervisor, signal.SIGTERM)
        if await processes.wait_gone([state.supervisor], PATIENCE_S):
            raise OperatorError(
                f"the supervisor (pid {state.supervisor.pid}) has not ended after {PATIENCE_S:g} s",
                f"look at {place.logs}, then `kill -9 {state.supervisor.pid}` and `hereabouts down` again",
            )
    with locked(place):
        await remove_leftovers(place, tell)
    return True
