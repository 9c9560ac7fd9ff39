"""Live shares, as the sharer's actor has them: what is shown, to whom, and until when (GEO-22). Pure.

Those who look are told by their own actors (share_views.py), each tick in which what is shown changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors import messages as wire
from actors.ghosts import ghost_mode, told_fix
from geo.cells import resolution_of
from geo.privacy import Precision, Shown, resolution_at
from geo.sharing import SharedPlace, shared_place

if TYPE_CHECKING:
    from actors.person import UserState
    from actors.share_views import Followed
    from geo.fixes import Fix
    from storage.shares import GivenShare


@dataclass(slots=True)
class Given:
    """One share of this person's."""

    share: str
    precision: str
    ends_at_ms: int
    receivers: frozenset[str]
    shown: Shown | None = None
    """The sticky cell."""
    place: SharedPlace | None = None
    """What is shown now."""
    fix: Fix | None = None
    """What `place` was made of."""
    watchers: dict[str, int] = field(default_factory=dict)
    """Who looks at it, and since when."""
    noted: dict[str, int] = field(default_factory=dict)
    """Who looked, and when that was last stored."""


@dataclass(slots=True)
class Shares:
    """Of one person: what they share, and what is shared with them that they look at."""

    given: dict[str, Given] = field(default_factory=dict)
    followed: dict[str, Followed] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Somebody looks, or this person does."""
        return bool(self.followed) or self.is_watched

    @property
    def is_watched(self) -> bool:
        """Somebody looks at a share of this person's."""
        return any(given.watchers for given in self.given.values())


def watched(state: UserState, message: wire.ShareWatch, now_ms: int) -> dict[str, Any] | None:
    """Somebody wants to look, or no longer: what they are told, None if they may not."""
    given = state.shares.given.get(message.share)
    if given is not None and not message.on:
        given.watchers.pop(message.viewer, None)
        return {}
    if given is None or not _may_look(state, given, message.viewer, now_ms):
        return None
    given.watchers.setdefault(message.viewer, now_ms)
    _look(state, given, now_ms)
    return {"place": given.place, "ends_at_ms": given.ends_at_ms}


def moved(state: UserState, now_ms: int) -> list[wire.ShareShown]:
    """The position may have changed: what is to be told of it.

    It is looked at whether anybody watches or not: the sticky cell must not begin anew with each look.
    """
    told: list[wire.ShareShown] = []
    for given in state.shares.given.values():
        if _look(state, given, now_ms):
            told += [_shown(state, given, viewer) for viewer in given.watchers]
    return told


def reviewed(state: UserState, now_ms: int) -> list[wire.ShareShown]:
    """Shares, relations or the time have changed: who was taken out sees nothing any more."""
    shares = state.shares
    going_on: dict[str, GivenShare] = {
        each.share: each for each in state.record.shares if now_ms < each.ends_at_ms
    }
    told: list[wire.ShareShown] = []
    for given in list(shares.given.values()):
        stored = going_on.get(given.share)
        given.receivers = frozenset() if stored is None else stored.receivers
        for viewer in list(given.watchers):
            if not _may_look(state, given, viewer, now_ms):
                del given.watchers[viewer]
                told.append(_shown(state, given, viewer, is_over=True))
        if stored is None:
            told += [_shown(state, given, viewer, is_over=True) for viewer in given.watchers]
            del shares.given[given.share]
    for share, stored in going_on.items():
        if share not in shares.given:
            shares.given[share] = Given(share, stored.precision, stored.ends_at_ms, stored.receivers)
    return told + moved(state, now_ms)


def _look(state: UserState, given: Given, now_ms: int) -> bool:
    """Whether what is shown changes."""
    fix = told_fix(state, now_ms)
    if fix == given.fix:
        return False
    before, given.fix = given.place, fix
    if fix is None:
        given.place = None
    elif before is not None and ghost_mode(state, now_ms) == "frozen":
        given.place = {**before, "t": fix.t_ms}
    else:
        precision = Precision(given.precision)
        seen = given.shown or _seen_elsewhere(state, precision, now_ms)
        given.place, given.shown = shared_place(fix, precision, seen)
    return given.place != before


def _seen_elsewhere(state: UserState, precision: Precision, now_ms: int) -> Shown | None:
    """The cell of this size that somebody is told of already. Where a person stands beside it, a snap begun
    anew would be the next cell, and both together say on which edge that is (GEO-21).
    """
    res, haunt = resolution_at(precision), state.haunt.cell
    if ghost_mode(state, now_ms) is None:
        others = [state.shown, state.fine]
    else:
        others = [None if haunt is None else Shown(haunt)]
    others += [given.shown for given in state.shares.given.values()]
    return next((each for each in others if each is not None and resolution_of(each.cell) == res), None)


def _may_look(state: UserState, given: Given, viewer: str, now_ms: int) -> bool:
    if now_ms >= given.ends_at_ms or viewer in state.record.blocked:
        return False
    return viewer in given.receivers or viewer == state.user


def _shown(state: UserState, given: Given, viewer: str, *, is_over: bool = False) -> wire.ShareShown:
    place: Any = None if is_over else given.place
    return wire.ShareShown(0, viewer, given.share, state.user, place, 0, is_over)
