"""What a batch of recommendations is made of, and its rows, replaced a person at a time (ML-9).

Reading is one snapshot, as columns: people are numbered 1 … n in it, and whatever names a person names the
number. Writing looks again at everything that may have changed since: nobody is written who was blocked,
decided on, paused, unlisted or erased meanwhile.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any

from storage.connections import BLOCKED_WITH
from storage.outbox import notify

MOST_MEMBERS = 60
"""Of a room, whose people stand for all of it."""
KINDS = ("people", "pick", "groups", "places")


@dataclass(frozen=True, slots=True)
class PersonColumns:
    """One person who takes part. `seen` is as strangers may see them: their precision, or None."""

    user: str
    birth_date: date
    is_listed: bool
    gender: str | None
    seeks: Sequence[str]
    goals: Sequence[str]
    age_from: int
    age_to: int
    within_m: int | None
    interests: Sequence[str]
    answers: str
    values_21: Sequence[float] | None
    audience: str
    precision: str
    is_ghost: bool
    tally: tuple[int, int, int, int, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything as of one moment. Tables are CSV with a head, people by number from 0."""

    people: list[PersonColumns]
    decisions: bytes
    """rater, ratee, likes (t, f)."""
    between: bytes
    """one, other, parted (blocked, or not matched any more), matched (t, f)."""
    visits: bytes
    """person, place, began_s, ended_s (Unix seconds): those that an app may count."""
    places: list[str]
    """Public fences, by number from 0."""
    invited: list[tuple[int, str, list[int]]]
    """Person, a group's room that they are invited to, and people who are in it."""


_PEOPLE = """
    SELECT u.id::text, u.birth_date, coalesce(p.is_listed, true), p.gender, coalesce(p.seeks, '{}'),
           coalesce(p.goals, '{}'), coalesce(p.age_from, 18), coalesce(p.age_to, 150), p.within_m,
           coalesce(p.interests, '{}'), coalesce(p.answers::text, '{}'), p.values_21,
           u.visibility_audience, u.visibility_precision, coalesce(u.ghost_until > now(), false),
           coalesce(t.given, 0), coalesce(t.given_yes, 0), coalesce(t.received, 0),
           coalesce(t.received_yes, 0), coalesce(t.surprise, 0)
    FROM users u LEFT JOIN preferences p ON p.user_id = u.id LEFT JOIN match_tallies t ON t.user_id = u.id
    WHERE u.status = 'active' AND NOT 'app' = ANY(u.roles) ORDER BY u.id
"""


_INVITED = f"""
    SELECT a.n, m.room_id::text, array(SELECT b.n FROM room_members o JOIN numbered b ON b.id = o.user_id
        WHERE o.room_id = m.room_id AND o.state = 'member' ORDER BY b.n LIMIT $1)
    FROM room_members m JOIN rooms r ON r.id = m.room_id AND r.kind = 'group'
    JOIN numbered a ON a.id = m.user_id WHERE m.state = 'invited'
    AND NOT {BLOCKED_WITH.format(one="r.owner_id", other="m.user_id")} ORDER BY a.n, m.room_id
"""


async def snapshot(connection: Any) -> Snapshot:
    """Who takes part and what happened among them, as of now."""
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("SET LOCAL statement_timeout = '10min'")
        rows = await connection.fetch(_PEOPLE)
        people = [PersonColumns(*[*row[:15], row[15:20]]) for row in map(tuple, rows)]
        await connection.execute(
            "CREATE TEMP TABLE numbered (id uuid PRIMARY KEY, n integer) ON COMMIT DROP; "
            "CREATE TEMP TABLE placed (id uuid PRIMARY KEY, n integer) ON COMMIT DROP"
        )
        await connection.copy_records_to_table(
            "numbered", records=((person.user, number) for number, person in enumerate(people))
        )
        places = [
            row[0]
            for row in await connection.fetch(
                "SELECT id::text FROM fences WHERE removed_at IS NULL AND audience = 'everyone' "
                "AND coalesce(expires_at > now(), true) ORDER BY id"
            )
        ]
        await connection.copy_records_to_table("placed", records=zip(places, range(len(places)), strict=True))
        await connection.execute("ANALYZE numbered; ANALYZE placed")
        return Snapshot(
            people,
            await _csv(
                connection,
                "SELECT a.n AS rater, b.n AS ratee, d.likes FROM decisions d JOIN numbered a ON a.id = "
                "d.rater_id JOIN numbered b ON b.id = d.ratee_id ORDER BY d.xid, d.seq",
            ),
            await _csv(
                connection,
                "SELECT a.n AS one, b.n AS other, c.low_blocks OR c.high_blocks OR c.state = 'unmatched' "
                "AS parted, c.state = 'matched' AS matched FROM connections c "
                "JOIN numbered a ON a.id = c.low_id JOIN numbered b ON b.id = c.high_id "
                "WHERE c.low_blocks OR c.high_blocks OR c.state IN ('matched', 'unmatched')",
            ),
            await _csv(
                connection,
                "SELECT a.n AS person, p.n AS place, extract(epoch FROM v.entered_at)::float8 AS began_s, "
                "extract(epoch FROM least(v.exited_at, now()))::float8 AS ended_s FROM fence_visits v "
                "JOIN numbered a ON a.id = v.user_id JOIN placed p ON p.id = v.fence_id "
                "WHERE v.counted",
            ),
            places,
            [tuple(row) for row in await connection.fetch(_INVITED, MOST_MEMBERS)],
        )


async def _csv(connection: Any, query: str) -> bytes:
    stored = BytesIO()
    await connection.copy_from_query(query, output=stored, format="csv", header=True)
    return stored.getvalue()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A row to be written, in the order of its rank. `detail` is JSON text; `people` are those whom it
    shows: the subject, or the members of a group.
    """

    subject: str
    score: float
    detail: str
    people: tuple[str, ...]


async def put(
    connection: Any,
    kind: str,
    rows: Mapping[str, Sequence[Recommendation]],
    *,
    model: str,
    run: str,
    undecided: bool,
) -> int:
    """Replaces what these people had of a kind, in the caller's transaction; returns how many rows stand.

    Left out is whoever may not be shown any more. `undecided`: nor anybody decided on, or who passed the
    person (MATCH-8). Everybody in it is kept from being erased until the transaction ends.
    """
    assert connection.is_in_transaction(), "a person's rows are replaced at once"
    shown = [(user, each) for user, listed in rows.items() for each in listed]
    pairs = [(user, person) for user, each in shown for person in each.people]
    living = await _living(connection, {*rows, *(person for _, person in pairs)})
    out = await _parted(connection, pairs, undecided=undecided)
    kept = [
        (user, each)
        for user, each in shown
        if user in living and all(person in living and (user, person) not in out for person in each.people)
    ]
    await connection.execute(
        "DELETE FROM recommendations WHERE user_id = ANY($1::uuid[]) AND kind = $2", list(rows), kind
    )
    places: Counter[str] = Counter()
    ranks = []
    for user, _ in kept:
        places[user] += 1
        ranks.append(places[user])
    await connection.execute(
        "INSERT INTO recommendations (user_id, kind, rank, subject_id, score, detail, model, run_id) "
        "SELECT u, $1, r, s, p, d::json, $2, $3 "
        "FROM unnest($4::uuid[], $5::smallint[], $6::uuid[], $7::real[], $8::text[]) AS t (u, r, s, p, d)",
        kind,
        model,
        run,
        [user for user, _ in kept],
        ranks,
        [each.subject for _, each in kept],
        [each.score for _, each in kept],
        [each.detail for _, each in kept],
    )
    await notify(connection, [("user", user) for user in rows])
    return len(kept)


async def _living(connection: Any, people: Collection[str]) -> set[str]:
    """Those who take part and may be shown to somebody, and stay as they are until the transaction ends:
    whoever erases one waits, and then finds what was written.
    """
    rows = await connection.fetch(
        "SELECT u.id::text FROM users u WHERE u.id = ANY($1::uuid[]) AND u.status = 'active' "
        "ORDER BY u.id FOR SHARE",
        list(people),
    )
    return {row[0] for row in rows}


async def _parted(
    connection: Any, pairs: Sequence[tuple[str, str]], *, undecided: bool
) -> set[tuple[str, str]]:
    """Those pairs between whom something stands by now, or whose other is not listed any more."""
    decided = (
        "OR EXISTS (SELECT 1 FROM decisions d WHERE d.rater_id = v AND d.ratee_id = s) "
        "OR EXISTS (SELECT 1 FROM decisions d WHERE d.rater_id = s AND d.ratee_id = v AND NOT d.likes)"
    )
    rows = await connection.fetch(
        "SELECT v::text, s::text FROM unnest($1::uuid[], $2::uuid[]) AS t (v, s) "
        f"WHERE {BLOCKED_WITH.format(one='v', other='s')} "
        "OR EXISTS (SELECT 1 FROM preferences p WHERE p.user_id = s AND NOT p.is_listed) "
        + (decided if undecided else ""),
        [one for one, _ in pairs],
        [other for _, other in pairs],
    )
    return {(row[0], row[1]) for row in rows}


async def forget_others(connection: Any, kind: str, run: str) -> None:
    """Removes what earlier runs left to people whom this run has nothing for."""
    await connection.execute("DELETE FROM recommendations WHERE kind = $1 AND run_id <> $2", kind, run)


async def forget_written(connection: Any, run: str) -> None:
    """What a run has written of lists that are no more is to be written again."""
    await connection.execute("DELETE FROM job_steps WHERE run_id = $1 AND step LIKE 'written %'", run)


async def forget_unfinished(connection: Any, kind: str, run: str) -> None:
    """Deletes what other runs of a kind had kept on the way: it names people, and is not needed any more."""
    async with connection.transaction():
        rows = await connection.fetch(
            "SELECT DISTINCT s.run_id FROM job_steps s JOIN job_runs r ON r.id = s.run_id "
            "WHERE r.kind = $1 AND r.id <> $2",
            kind,
            run,
        )
        for row in rows:
            await forget_steps(connection, row["run_id"])
        await connection.execute(
            "UPDATE job_runs SET state = 'failed', updated_at = now() "
            "WHERE kind = $1 AND id <> $2 AND state = 'running'",
            kind,
            run,
        )


async def forget_steps(connection: Any, run: str) -> None:
    """Deletes the steps of a run and the bytes that they kept. In a transaction."""
    rows = await connection.fetch("DELETE FROM job_steps WHERE run_id = $1 RETURNING blob_sha256", run)
    await connection.execute(
        "DELETE FROM blobs b WHERE sha256 = ANY($1) "
        "AND NOT EXISTS (SELECT 1 FROM models m WHERE m.blob_sha256 = b.sha256) "
        "AND NOT EXISTS (SELECT 1 FROM job_steps s WHERE s.blob_sha256 = b.sha256)",
        [row["blob_sha256"] for row in rows if row["blob_sha256"]],
    )
