"""The facts that the audience policy decides by, as they stand in Postgres."""

from collections.abc import Sequence
from typing import Any

from identity.audience import SELF, STRANGERS, Relation
from storage.connections import relation_rows
from storage.ids import UserId


async def load_relations(connection: Any, me: UserId, others: Sequence[str]) -> dict[str, Relation]:
    """The relation of `me` to each of `others`. Who does not exist is a stranger."""
    asked = {other for other in others if other != me}
    relations = {
        str(row.other): Relation(blocked=row.blocked, matched=row.matched, shares_group=row.shares_group)
        for row in (await relation_rows(connection, me, sorted(asked)) if asked else ())
    }
    return {other: SELF if other == me else relations.get(other, STRANGERS) for other in others}


async def load_relation(connection: Any, me: UserId, other: UserId) -> Relation:
    """As `load_relations`, for one."""
    return (await load_relations(connection, me, [other]))[other]
