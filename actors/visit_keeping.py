"""Where a person stands towards fences, in the snapshot: also what a next fix may confirm (GEO-24). Pure.

What is stored of visits counts: the snapshot only adds what was pending at its moment. The fixes since then
are replayed, and a crossing that they decide again is stored once.
"""

from typing import Any

import msgspec

from actors.person import UserState
from actors.visits import synced
from geo.crossings import Standing


class KeptVisits(msgspec.Struct, array_like=True):
    """The standings by fence, and when the last fix came by our clock (Unix ms)."""

    standings: dict[str, Standing]
    arrived_ms: int


class VisitKeeper:
    """A part of the snapshot (place_keeping.Keeper)."""

    def kept(self, state: UserState) -> Any:
        """The standings as of the last fix."""
        if not state.fences:
            return None
        return KeptVisits(synced(state.fences, state.visiting), state.visiting.arrived_ms)

    def is_settled(self, user: str) -> bool:  # noqa: ARG002 - its crossings are the activation's
        """It stores nothing of its own."""
        return True

    def taken_back(self, state: UserState, kept: Any) -> None:
        """Takes those standings that go on from what is stored, where nothing was stored since."""
        visits = msgspec.convert(kept, KeptVisits)
        newest_ms = max((each.last_ms or 0 for each in visits.standings.values()), default=0)
        if newest_ms >= state.visiting.last_ms:
            state.visiting.arrived_ms = visits.arrived_ms
        for fence, standing in visits.standings.items():
            stored = state.fences.get(fence)
            if stored is None:
                if not standing.is_inside:
                    state.fences[fence] = standing
            elif standing.is_inside and (
                (standing.entered_at_ms, standing.dwelled_at_ms)
                == (stored.entered_at_ms, stored.dwelled_at_ms)
            ):
                state.fences[fence] = standing
