"""What two people are to each other: the transition table, pure (identity.md, CONN-1…7).

A pair has one state. `requested` and `declined` have an acting side (declined without one: by both);
`requester` is whose request stands, also under a decline, which is private: who was passed on still sees the
request as sent. A block overlays everything and looks like not found to the blocked; who blocked first is the
acting side of a blocked pair.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from storage.connections import PairRow
from storage.ids import UserId

REQUEST_LIFETIME = timedelta(days=7)
PASS_COOLDOWN = timedelta(days=30)


class Action(StrEnum):
    REQUEST = "request"
    ACCEPT = "accept"
    PASS = "pass"  # noqa: S105 - the word of the API
    UNMATCH = "unmatch"
    BLOCK = "block"
    UNBLOCK = "unblock"


class IllegalTransitionError(Exception):
    """The pair's state does not admit this action."""


class VersionMismatchError(IllegalTransitionError):
    """The pair has changed since the version that was given."""


class VersionRequiredError(Exception):
    """`accept` names the version of the request that it accepts."""


@dataclass(frozen=True, slots=True)
class View:
    """A pair as one side sees it. `state` is none, requested, matched, declined, unmatched, expired or
    blocked; `by` is who requested, declined or blocked.
    """

    user: UserId
    state: str
    by: UserId | None
    version: int


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of an action.

    `event` is the event's type without its prefix, None where nothing happened; `told` are those whose `me`
    stream gets it. `found` is false where the actor must get the answer for somebody who does not exist.
    """

    pair: PairRow
    event: str | None = None
    told: tuple[UserId, ...] = ()
    found: bool = True


def other_of(pair: PairRow, user: UserId) -> UserId:
    return pair.high if user == pair.low else pair.low


def blocks(pair: PairRow, user: UserId) -> bool:
    """Whether `user` blocks the other."""
    return pair.low_blocks if user == pair.low else pair.high_blocks


def hides(pair: PairRow, viewer: UserId) -> bool:
    """Whether the other must look like not found to the viewer: they block, and the viewer did not before."""
    return blocks(pair, other_of(pair, viewer)) and not (blocks(pair, viewer) and pair.acting == viewer)


def settle(pair: PairRow, now: datetime) -> PairRow:
    """The pair after whatever time alone has done: a request expires, a pass cools down."""
    age = now - pair.updated_at
    if pair.state == "requested" and age > REQUEST_LIFETIME:
        return replace(pair, state="expired", acting=None, requester=None)
    if pair.state == "declined" and age > PASS_COOLDOWN:
        return replace(pair, state="none", acting=None, requester=None)
    return pair


def view(pair: PairRow, viewer: UserId, now: datetime) -> View | None:
    """What the viewer may know of the pair; None: as if there were nobody."""
    if hides(pair, viewer):
        return None
    pair, other = settle(pair, now), other_of(pair, viewer)
    state, by = pair.state, pair.acting
    if blocks(pair, viewer):
        state, by = "blocked", viewer
    elif state == "declined":
        if by == other:
            state, by = ("requested", viewer) if pair.requester == viewer else ("none", None)
        else:
            by = viewer
    return View(other, state, by, pair.version)


def step(
    pair: PairRow, actor: UserId, action: Action, now: datetime, *, expected_version: int | None = None
) -> Step:
    """What `action` of `actor` makes of the pair. Raises IllegalTransitionError or VersionRequiredError."""
    pair = settle(pair, now)
    if action is Action.BLOCK:
        return _block(pair, actor, now)
    if action is Action.UNBLOCK:
        return _unblock(pair, actor, now)
    if hides(pair, actor):
        return Step(pair, found=False)
    if blocks(pair, actor):
        raise IllegalTransitionError("unblock first")
    if action is Action.ACCEPT:
        return _accept(pair, actor, now, expected_version)
    return {Action.REQUEST: _request, Action.PASS: _pass, Action.UNMATCH: _unmatch}[action](pair, actor, now)


def _changed(pair: PairRow, now: datetime, **changes: Any) -> PairRow:
    return replace(pair, version=pair.version + 1, updated_at=now, **changes)


def _match(pair: PairRow, now: datetime) -> Step:
    matched = _changed(pair, now, state="matched", acting=None, requester=None)
    return Step(matched, "matched", (pair.low, pair.high))


def _request(pair: PairRow, actor: UserId, now: datetime) -> Step:
    other = other_of(pair, actor)
    if pair.state == "matched" or (pair.state == "requested" and pair.acting == actor):
        return Step(pair)  # asked for already, or more than that
    if pair.requester == other:
        return _match(pair, now)  # crossing requests meet
    if pair.state == "declined" and pair.acting != actor:
        # Kept, so that the asker sees it as sent; the decliner is not told. The version stays: seeing it
        # move would tell of the pass.
        return Step(replace(pair, acting=other, requester=actor))
    return Step(_changed(pair, now, state="requested", acting=actor, requester=actor), "requested", (other,))


def _accept(pair: PairRow, actor: UserId, now: datetime, expected_version: int | None) -> Step:
    if expected_version is None:
        raise VersionRequiredError
    if pair.state != "requested" or pair.acting == actor:
        raise IllegalTransitionError("there is no request to accept")
    if expected_version != pair.version:
        raise VersionMismatchError("the request has another version by now")
    return _match(pair, now)


def _pass(pair: PairRow, actor: UserId, now: datetime) -> Step:
    if pair.state == "matched":
        raise IllegalTransitionError("unmatch instead")
    if pair.state == "requested" and pair.acting == actor:
        raise IllegalTransitionError("your own request stands")
    if pair.state == "declined":
        if pair.acting != other_of(pair, actor):
            return Step(pair)  # passed on before
        return Step(replace(pair, acting=None, requester=None, updated_at=now), "passed")
    requester = pair.requester if pair.state == "requested" else None
    # Silent: no new version either.
    return Step(replace(pair, state="declined", acting=actor, requester=requester, updated_at=now), "passed")


def _unmatch(pair: PairRow, _: UserId, now: datetime) -> Step:
    if pair.state != "matched":
        raise IllegalTransitionError("there is no match")
    return Step(_changed(pair, now, state="unmatched", acting=None, requester=None), "unmatched")


def _with_block(pair: PairRow, actor: UserId, *, on: bool) -> PairRow:
    return replace(pair, low_blocks=on) if actor == pair.low else replace(pair, high_blocks=on)


def _block(pair: PairRow, actor: UserId, now: datetime) -> Step:
    if blocks(pair, actor):
        return Step(pair, found=not hides(pair, actor))
    blocked = _with_block(pair, actor, on=True)
    if blocks(pair, other_of(pair, actor)):
        # The other blocked first: kept for the day they unblock, and answered like not found until then.
        return Step(blocked, "blocked", found=False)
    return Step(_changed(blocked, now, state="none", acting=actor, requester=None), "blocked")


def _unblock(pair: PairRow, actor: UserId, now: datetime) -> Step:
    found = not hides(pair, actor)
    if not blocks(pair, actor):
        if not found:
            return Step(pair, found=False)
        raise IllegalTransitionError("there is no block of yours")
    unblocked = _with_block(pair, actor, on=False)
    other = other_of(pair, actor)
    if not found:
        return Step(unblocked, "unblocked", found=False)
    return Step(_changed(unblocked, now, acting=other if blocks(pair, other) else None), "unblocked")
