"""What the engine's tables say of a serving model: how much is new since it was trained, and who has a list
(ML-10).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Coverage:
    """People who may be recommended to, those of them with a list of the last batch, and decisions that were
    made with a score of this version beside them.
    """

    people: int
    with_list: int
    decisions_beside: int


async def coverage(connection: Any, version: str) -> Coverage:
    row = await connection.fetchrow(
        "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM recommendations r "
        "WHERE r.user_id = u.id AND r.kind = 'people')), "
        "(SELECT count(*) FROM decisions d WHERE d.model = $1) "
        "FROM users u LEFT JOIN preferences p ON p.user_id = u.id "
        "WHERE u.status = 'active' AND NOT 'app' = ANY(u.roles) AND coalesce(p.is_listed, true)",
        version,
    )
    return Coverage(*tuple(row))
