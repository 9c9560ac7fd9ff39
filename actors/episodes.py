"""Episodes of a person with those matches whose pairs this person decides: the lower id does (GEO-10). Pure.

Once per episode, and at least a minute between two events of a pair: what changes sooner is looked at again
when the minute is over, and nothing is said of it if it has changed back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from actors.ghosts import ghost_mode
from storage.near_episodes import Episode, EpisodeChange

if TYPE_CHECKING:
    from actors.person import UserState

APART_MS = 60_000
"""The least time between two events of a pair."""

APART, GONE, SILENT = "apart", "gone", ""
_FINE_ENOUGH = ("exact", "r9", "r8")


@dataclass(slots=True)
class Episodes:
    """Of one person, by the other one's id."""

    newest: dict[str, Episode] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    """Pairs to be looked at again, and when."""
    lost: dict[str, int] = field(default_factory=dict)
    """Those near of whom it is not known where they are, and since when: their shard began anew."""

    def is_near(self, other: str) -> bool:
        """Whether an episode with them goes on."""
        episode = self.newest.get(other)
        return episode is not None and episode.is_near


def shows_to_matches(state: UserState, now_ms: int) -> bool:
    """Whether matches may know that this person is near: somewhere, not hidden, shown finely enough."""
    record = state.record
    if record.visibility_audience == "nobody" or record.visibility_precision not in _FINE_ENOUGH:
        return False
    if now_ms - state.location.t_ms > state.position_ttl_ms:
        return False
    return record.ghost is None or ghost_mode(state, now_ms) is None


def is_trusted(state: UserState) -> bool:
    """Whether this person is told who is near: not while they were seen to probe (GEO-23)."""
    return not state.probing.is_limited


def decided(  # noqa: PLR0917
    state: UserState,
    other: str,
    is_near: bool,
    reason: str,
    trusted: tuple[bool, bool],
    now_ms: int,
) -> EpisodeChange | None:
    """The two are near now, or not: what begins or ends with that, None: nothing yet.

    `trusted`: whether this person and the other may be told of a beginning.
    """
    episodes = state.episodes
    before = episodes.newest.get(other, Episode())
    episodes.due.pop(other, None)
    if before.is_near == is_near:
        return None
    due_ms = before.changed_at_ms + APART_MS
    if before.number and now_ms < due_ms and reason != SILENT:
        episodes.due[other] = due_ms
        return None
    episodes.lost.pop(other, None)
    if is_near:
        after = Episode(before.number + 1, True, now_ms, *trusted)
    else:
        after = replace(before, is_near=False, changed_at_ms=now_ms)
    episodes.newest[other] = after
    return EpisodeChange(state.user, other, replace(after), reason, now_ms + look_again_ms(state))


def look_again_ms(state: UserState) -> int:
    """After so long the reminder asks whether an episode still goes on, should nothing else have ended it."""
    return state.position_ttl_ms + APART_MS
