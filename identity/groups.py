"""Who may change a room's membership, and what becomes of somebody who is put in (CONN-9). Pure."""

from dataclasses import dataclass

from identity.audience import Relation, allows

RANK = {"member": 0, "admin": 1, "owner": 2}


class NotAllowedError(Exception):
    """The actor may not do this; answered like a room that does not exist."""


class LastOwnerError(Exception):
    """The last owner can't leave, nor step down."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody's place in a room; `state` as in room_members, None where there is none."""

    role: str = "member"
    state: str | None = None

    @property
    def inside(self) -> bool:
        return self.state == "member"

    @property
    def rank(self) -> int:
        """How much the member may do; below all roles for somebody who is not in."""
        return RANK[self.role] if self.inside else -1


def entry_state(who_can_add_me: str, relation: Relation) -> str:
    """`member` where the person lets the adder add them, else `invited`."""
    return "member" if allows(who_can_add_me, relation) else "invited"


def put(
    actor: Membership, target: Membership, role: str | None, *, entry: str, is_self: bool, owners: int
) -> Membership:
    """The target's membership after the actor puts them in, or gives them `role` (None: as it is).

    `entry` is what `entry_state` said; `owners` counts the room's owners. A person enters by themselves only
    with an invitation. Roles are given by owners. Raises NotAllowedError or LastOwnerError.
    """
    if is_self:
        if target.state not in ("member", "invited"):
            raise NotAllowedError
        if role is not None and RANK[role] > RANK[target.role]:
            raise NotAllowedError
        if target.rank == RANK["owner"] and role not in (None, "owner") and owners == 1:
            raise LastOwnerError
        return Membership(role or target.role, "member")
    if actor.rank < RANK["admin"] or target.state == "banned":
        raise NotAllowedError
    if target.inside:
        if role in (None, target.role):
            return target
        if actor.rank < RANK["owner"]:
            raise NotAllowedError
        return Membership(role or target.role, "member")
    if RANK[role or "member"] > RANK["member"] and actor.rank < RANK["owner"]:
        raise NotAllowedError
    return Membership(role or "member", entry)


def take_out(actor: Membership, target: Membership, *, is_self: bool, owners: int) -> Membership:
    """The target's membership after the actor removes them; anyone may leave, or decline an invitation.

    Raises NotAllowedError or LastOwnerError.
    """
    if target.state not in ("member", "invited", "requested"):
        raise NotAllowedError
    if is_self:
        if target.rank == RANK["owner"] and owners == 1:
            raise LastOwnerError
    elif actor.rank < RANK["admin"] or actor.rank <= target.rank:
        raise NotAllowedError
    return Membership("member", "left")
