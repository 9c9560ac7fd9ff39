"""What a batch recommends, and what may be shown of it, or of anybody, now (MATCH-6, MATCH-8, ML-9)."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from storage.connections import BLOCKED_WITH
from storage.ghosts import IS_UNSEEN
from storage.ids import UserId

Kind = Literal["people", "pick", "groups", "places"]


@dataclass(frozen=True, slots=True)
class RecommendationRow:
    """One row of a batch. `subject` is a person; of `groups` a room, or a group that is proposed and whose
    people stand in `detail` as `members`; of `places` a place. `detail` may have `source` and `why`, a list
    of [feature, effect].
    """

    subject: str
    score: float
    detail: Mapping[str, Any]
    model: str
    at: datetime


async def rows_of(connection: Any, user: UserId, kind: Kind, *, limit: int) -> list[RecommendationRow]:
    """What the last batch has for a person, the best first."""
    rows = await connection.fetch(
        "SELECT subject_id::text, score, detail, model, at FROM recommendations "
        "WHERE user_id = $1 AND kind = $2 ORDER BY rank LIMIT $3",
        user,
        kind,
        limit,
    )
    return [RecommendationRow(row[0], row[1], json.loads(row[2]), row[3], row[4]) for row in map(tuple, rows)]


_AGE = "date_part('year', age($3::date, {0}.birth_date))"

_FITS = f"""
    SELECT o.id::text FROM unnest($2::uuid[]) AS asked (id)
    JOIN users v ON v.id = $1 AND v.status = 'active'
    JOIN users o ON o.id = asked.id AND o.id <> v.id AND o.status = 'active'
    LEFT JOIN preferences vp ON vp.user_id = v.id
    LEFT JOIN preferences op ON op.user_id = o.id
    WHERE coalesce(op.is_listed, true)
    AND NOT {IS_UNSEEN.format("o")}
    AND {_AGE.format("o")} BETWEEN coalesce(vp.age_from, 18) AND coalesce(vp.age_to, 150)
    AND {_AGE.format("v")} BETWEEN coalesce(op.age_from, 18) AND coalesce(op.age_to, 150)
    AND (coalesce(cardinality(vp.seeks), 0) = 0 OR coalesce(op.gender = ANY(vp.seeks), false))
    AND (coalesce(cardinality(op.seeks), 0) = 0 OR coalesce(vp.gender = ANY(op.seeks), false))
    AND (coalesce(cardinality(vp.goals), 0) = 0 OR coalesce(cardinality(op.goals), 0) = 0
        OR vp.goals && op.goals)
"""

# Pair by pair, so that each is looked up by both ids whatever the planner thinks of people with many rows.
_MAY_BE_SHOWN = f"""{_FITS}
    AND coalesce((SELECT NOT (c.low_blocks OR c.high_blocks OR c.state = 'matched'
            OR coalesce(c.requester_id = v.id, false)
            OR (c.state = 'declined' AND (c.acting_id IS NULL OR c.acting_id = v.id)))
        FROM connections c WHERE c.low_id = LEAST(o.id, v.id) AND c.high_id = GREATEST(o.id, v.id)), true)
    AND (SELECT 1 FROM decisions d WHERE d.rater_id = v.id AND d.ratee_id = o.id LIMIT 1) IS NULL
"""

_MAY_BE_GROUPED = f"{_FITS} AND NOT {BLOCKED_WITH.format(one='o.id', other='v.id')}"


async def may_be_shown(connection: Any, viewer: UserId, people: Sequence[str], today: date) -> set[str]:
    """Those of `people` who may be recommended to the viewer now, whatever whoever named them had heard.

    Never the viewer, somebody blocked either way or decided on; inactive, paused, erased, unlisted, a hidden
    ghost; outside of either's limits of age, gender and goals. Distance is not asked for here, nor what the
    other one has decided about the viewer: to be left out would tell of a pass (docs/decisions/0264).
    """
    if not people:
        return set()
    rows = await connection.fetch(_MAY_BE_SHOWN, viewer, list(people), today)
    return {row[0] for row in rows}


async def may_be_grouped(connection: Any, viewer: UserId, people: Collection[str], today: date) -> set[str]:
    """Those of `people` who may be proposed as company: as `may_be_shown`, and whom one has decided on."""
    rows = await connection.fetch(_MAY_BE_GROUPED, viewer, list(people), today)
    return {row[0] for row in rows}


@dataclass(frozen=True, slots=True)
class OpenRoom:
    """A group that somebody may enter, and who of those asked for are in it."""

    room: str
    name: str
    among: tuple[str, ...]


async def rooms_open_to(connection: Any, viewer: UserId, people: Sequence[str]) -> list[OpenRoom]:
    """Groups that the viewer is invited to, by id. None where a block stands between the viewer and its
    owner.
    """
    rows = await connection.fetch(
        "SELECT r.id::text, r.name, array(SELECT m.user_id::text FROM room_members m "
        "WHERE m.room_id = r.id AND m.state = 'member' AND m.user_id = ANY($2::uuid[]) ORDER BY m.user_id) "
        "FROM room_members mine JOIN rooms r ON r.id = mine.room_id AND r.kind = 'group' "
        "WHERE mine.user_id = $1 AND mine.state = 'invited' "
        f"AND NOT {BLOCKED_WITH.format(one='r.owner_id', other='$1::uuid')} ORDER BY r.id",
        viewer,
        list(people),
    )
    return [OpenRoom(row[0], row[1], tuple(row[2])) for row in map(tuple, rows)]
