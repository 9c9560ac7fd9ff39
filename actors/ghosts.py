"""Ghost mode of one person: what others see while it goes on (GEO-22). Pure.

Hidden, they are in no list, share or count; frozen, others go on seeing the place that was the last when the
ghost began. What the person's own fixes do for themselves, as near, fences and history, goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from geo.cells import Cell, parent_of, resolution_of
from geo.fixes import Fix
from storage.ghosts import FrozenPlace, GhostMode

if TYPE_CHECKING:
    from actors.person import UserState


@dataclass(slots=True)
class Haunt:
    """Where a ghost was last seen: None, nowhere. `since_ms` says of which ghost this is."""

    since_ms: int = 0
    fix: Fix | None = None
    cell: Cell | None = None
    fine: str = ""
    """The cell that matches saw, where that was a finer one."""


def ghost_mode(state: UserState, now_ms: int) -> GhostMode | None:
    """The mode of a ghost; None for everybody else."""
    ghost = state.record.ghost
    return None if ghost is None or now_ms >= ghost.until_ms else ghost.mode


def begins(state: UserState, now_ms: int) -> FrozenPlace | None:
    """The person may have become a ghost: what was the last place to be seen, where that is news."""
    ghost = state.record.ghost
    if ghost is None or ghost_mode(state, now_ms) is None:
        state.haunt = Haunt()
        return None
    if state.haunt.since_ms == ghost.since_ms:
        return None
    last, shown = state.last, state.shown
    state.haunt = Haunt(ghost.since_ms)
    if last is None or shown is None:
        return None
    fine = "" if state.fine is None else str(state.fine.cell)
    state.haunt = Haunt(ghost.since_ms, last, shown.cell, fine)
    return FrozenPlace(last.lat, last.lon, last.acc_m, last.t_ms, shown.cell, ghost.since_ms, fine)


def restored(state: UserState, place: FrozenPlace | None) -> None:
    """The person's state was loaded anew, and `place` is what its ghost froze, if that is known. Else nothing
    is shown: the snapshot may have a place that nobody has seen.
    """
    ghost = state.record.ghost
    if ghost is None:
        return
    state.haunt = Haunt(ghost.since_ms)
    if place is not None:
        state.haunt.fix = Fix(place.lat, place.lon, place.acc_m, place.t_ms, place.t_ms)
        state.haunt.cell, state.haunt.fine = Cell(place.cell), place.fine


def told_cell(state: UserState, cell: Cell, resolution: int, now_ms: int) -> Cell | None:
    """The cell that others may be told, where the person's own is `cell`; None: nothing."""
    mode = ghost_mode(state, now_ms)
    if mode is None:
        return cell
    haunt = state.haunt.cell
    if mode == "hidden" or haunt is None:
        return None
    return parent_of(haunt, min(resolution, resolution_of(haunt)))


def told_fine(state: UserState, now_ms: int) -> str:
    """The finer cell that matches may be told beside it; empty: none."""
    mode = ghost_mode(state, now_ms)
    if mode is None:
        return "" if state.fine is None else str(state.fine.cell)
    return state.haunt.fine if mode == "frozen" else ""


def told_fix(state: UserState, now_ms: int) -> Fix | None:
    """The fix that others may be shown something of; None where they see nothing of this person.

    A frozen one has the time of the last fix: it must not show that it is one.
    """
    last = state.last
    if last is None or now_ms - last.t_ms > state.position_ttl_ms:
        return None
    mode = ghost_mode(state, now_ms)
    if mode is None:
        return last
    if mode == "hidden" or state.haunt.fix is None:
        return None
    return msgspec.structs.replace(state.haunt.fix, t_ms=last.t_ms)
