"""Ending process trees: our own at the end, and those of an engine whose supervisor was killed."""

import shutil
import signal
from collections.abc import Callable, Sequence

from cluster import engine, layout, processes
from cluster.layout import Layout
from cluster.processes import Identity

PATIENCE_S = 4.0


async def remove_leftovers(place: Layout, tell: Callable[[str], None]) -> None:
    """End what an engine on this data folder left behind: the processes that it recorded and whatever lives
    below them, each known by pid and start time; and its run folder. Call it only under the folder's lock.
    """
    state = engine.read(place.state)
    if state is not None:
        recorded = [each for each in state.processes.values() if processes.is_alive(each)]
        everything = [*recorded, *processes.descendants(each.pid for each in recorded)]
        if everything:
            tell(f"stopping {len(everything)} processes that an earlier engine left behind")
            await stop_all(everything)
        place.state.unlink(missing_ok=True)
    if place.run.exists():
        layout.prepare_run_folder(place.run)  # refuses one that is not ours
        shutil.rmtree(place.run)


async def stop_all(identities: Sequence[Identity], patience_s: float = PATIENCE_S) -> None:
    """Ask each to end, then insist."""
    for each in identities:
        found = processes.read_stat(each.pid)
        # For Postgres SIGINT is the fast shutdown and SIGTERM the one that waits for clients.
        processes.send(each, signal.SIGINT if found and found.name == "postgres" else signal.SIGTERM)
    left = await processes.wait_gone(identities, patience_s)
    await processes.stop(left, signal.SIGKILL, 1.0)
