"""Ending process trees: our own at the end, and those of an engine whose supervisor was killed."""

import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import engine, layout, processes
from cluster.layout import Layout
from cluster.processes import Identity

PATIENCE_S = 4.0
MARK = "HB_ENGINE_MARK"


async def remove_leftovers(place: Layout, tell: Callable[[str], None]) -> None:
    """End what an engine on this data folder left behind: the processes that it recorded (known by pid and
    start time), whatever lives below them, those that carry its mark; and its run folder. Call it only under
    the data folder's lock.
    """
    state = engine.read(place.state)
    if state is not None:
        while everything := _left_behind(state):  # Ray may start a worker while it is being ended
            tell(f"stopping {len(everything)} processes that an earlier engine left behind")
            await stop_all(everything)
        place.state.unlink(missing_ok=True)
    if place.run.exists():
        layout.prepare_run_folder(place.run)  # refuses one that is not ours
        shutil.rmtree(place.run)


def _left_behind(state: engine.EngineState) -> list[Identity]:
    recorded = [each for each in state.processes.values() if processes.is_alive(each)]
    below = processes.descendants(each.pid for each in recorded)
    return list(dict.fromkeys([*recorded, *below, *_marked(state.mark)]))


def _marked(mark: str) -> list[Identity]:
    """Processes of ours that carry the mark: an orphan of a killed worker (its HAProxy) is below nobody."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            carries = wanted in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if carries and (identity := processes.identify(int(folder.name))) is not None:
            found.append(identity)
    return found


async def stop_all(identities: Sequence[Identity], patience_s: float = PATIENCE_S) -> None:
    """Ask each to end, then insist."""
    for each in identities:
        found = processes.read_stat(each.pid)
        # For Postgres SIGINT is the fast shutdown and SIGTERM the one that waits for clients.
        processes.send(each, signal.SIGINT if found and found.name == "postgres" else signal.SIGTERM)
    left = await processes.wait_gone(identities, patience_s)
    await processes.stop(left, signal.SIGKILL, 1.0)
