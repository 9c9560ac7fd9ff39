"""Who may see what: the ONE policy (identity.md, USER-3), used by API, channels and discovery alike.

Audiences nest: nobody < matches < group < everyone. A block, either way, shows nothing anywhere (CONN-6).
"""

from dataclasses import dataclass
from typing import Literal

Audience = Literal["nobody", "matches", "group", "everyone"]

AUDIENCES: tuple[Audience, ...] = ("nobody", "matches", "group", "everyone")

PROFILE_FIELDS: dict[str, Audience] = {"handle": "everyone", "age": "matches"}
"""The audience of each public profile field. A location is never in a profile (USER-4)."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What stands between a viewer and a person; all false means strangers."""

    self: bool = False
    blocked: bool = False
    matched: bool = False
    shares_group: bool = False


STRANGERS = Relation()
SELF = Relation(self=True)


def allows(audience: str, relation: Relation) -> bool:
    """Whether a viewer in this relation belongs to the audience; an unknown one admits the person alone."""
    if relation.self:
        return True
    if relation.blocked:
        return False
    if audience == "everyone":
        return True
    if audience == "group":
        return relation.matched or relation.shares_group
    return audience == "matches" and relation.matched


def visible_fields(relation: Relation) -> frozenset[str]:
    """Names of the profile fields that a viewer in this relation gets; none when a block stands."""
    return frozenset(name for name, audience in PROFILE_FIELDS.items() if allows(audience, relation))
