"""Whom a live list of recommendations may go on showing (MATCH-8)."""

from collections.abc import Collection
from typing import Any

from storage.connections import BLOCKED_WITH
from storage.ghosts import IS_UNSEEN

_GOES_ON = f"""SELECT u.id::text FROM users u LEFT JOIN preferences p ON p.user_id = u.id
    WHERE u.id = ANY($2::uuid[]) AND u.status = 'active' AND coalesce(p.is_listed, true)
    AND NOT {IS_UNSEEN.format("u")}
    AND NOT {BLOCKED_WITH.format(one="u.id", other="$1::uuid")}
    AND NOT EXISTS (SELECT FROM decisions d WHERE d.rater_id = $1::uuid AND d.ratee_id = u.id)
    AND NOT EXISTS (SELECT FROM connections c WHERE c.low_id = least($1::uuid, u.id)
        AND c.high_id = greatest($1::uuid, u.id) AND (c.state = 'matched' OR c.requester_id = $1::uuid))"""


async def going_on(connection: Any, user: str, others: Collection[str]) -> set[str]:
    """Those of the others who were recommended to this person and still may be: they take part, want to be
    shown and are no hidden ghosts, and neither a block nor a decision of this person's says otherwise. Limits
    that changed since do not count (`recommendations.may_be_shown` is for whoever comes anew).
    """
    rows = await connection.fetch(_GOES_ON, user, list(others))
    return {row[0] for row in rows}
