"""What matching knows of a person goes, and what was made of it is marked (ML-11)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from storage import readings
from storage.outbox import notify, write_event, write_events


@dataclass(frozen=True, slots=True)
class GivenRow:
    """One decision, in the order of the log."""

    rater: str
    ratee: str
    likes: bool


async def lock_log(connection: Any) -> None:
    """Nobody decides until the transaction ends; its first statement (storage.decisions.lock_both)."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('decisions', 0))")


async def given_around(connection: Any, user: str) -> list[GivenRow]:
    """All decisions of this person and of whoever decided about them, in order."""
    rows = await connection.fetch(
        "SELECT rater_id::text, ratee_id::text, likes FROM decisions WHERE rater_id = $1 OR rater_id IN "
        "(SELECT rater_id FROM decisions WHERE ratee_id = $1) ORDER BY xid, seq",
        user,
    )
    return [GivenRow(*row) for row in map(tuple, rows)]


async def correct_tallies(connection: Any, changes: Mapping[str, tuple[int, int, int, int, float]]) -> None:
    """Adds to people's given, given_yes, received, received_yes, surprise, and tells who reads by offset that
    they are others now. Within `lock_log`.
    """
    people = sorted(changes)
    await connection.execute(
        "UPDATE match_tallies t SET given = t.given + c.g, given_yes = t.given_yes + c.gy, "
        "received = t.received + c.r, received_yes = t.received_yes + c.ry, surprise = t.surprise + c.s "
        "FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::float8[]) "
        "AS c (person, g, gy, r, ry, s) WHERE t.user_id = c.person",
        people,
        *([changes[person][place] for person in people] for place in range(5)),
    )
    await write_events(connection, "tally.corrected", [f"user:{person}" for person in people])
    await notify(connection, [("decision", person) for person in people])


async def forget_decisions(connection: Any, user: str) -> None:
    """Deletes decisions both ways and the person's tally; others' are corrected by the caller. Within
    `lock_log`.
    """
    await connection.execute("DELETE FROM decisions WHERE rater_id = $1 OR ratee_id = $1", user)
    await connection.execute("DELETE FROM match_tallies WHERE user_id = $1", user)


async def mark(connection: Any, user: str) -> list[str]:
    """Marks the datasets that the person is in, and the models made of them; returns these datasets."""
    datasets = await connection.fetch(
        # The datasets first, then the models: of a registration at the same time one sees the other.
        "UPDATE datasets d SET erased_at = coalesce(d.erased_at, now()) FROM dataset_people p "
        "WHERE p.user_id = $1 AND d.sha256 = p.sha256 RETURNING d.sha256",
        user,
    )
    marked = [row[0] for row in datasets]
    await connection.execute(
        "UPDATE models SET erased_at = coalesce(erased_at, now()) WHERE dataset_sha256 = ANY($1::text[])",
        marked,
    )
    return marked


async def erase(connection: Any, user: str) -> None:
    """Deletes preferences, exposures, suggested interests, and recommendations to and of the person, and
    their name in figures of rooms; the blobs that hold them, of datasets and of what jobs were at; marks
    these datasets and the models made of them. Tells `erased:<user>`. In the caller's transaction; nothing
    where there is nothing left.
    """
    await connection.execute("DELETE FROM preferences WHERE user_id = $1", user)
    await connection.execute("DELETE FROM experiment_exposures WHERE user_id = $1", user)
    await connection.execute("DELETE FROM experiment_units WHERE user_id = $1", user)
    await connection.execute("DELETE FROM content_choices WHERE user_id = $1", user)
    # A proposed group is a row of each of its members, under one id.
    await connection.execute(
        "DELETE FROM recommendations WHERE kind = 'groups' AND subject_id IN "
        "(SELECT subject_id FROM recommendations WHERE user_id = $1 AND kind = 'groups') "
        "AND detail::jsonb -> 'members' ? $2",
        user,
        user,
    )
    await connection.execute("DELETE FROM recommendations WHERE user_id = $1 OR subject_id = $1", user)
    await readings.forget(connection, user)
    marked = await mark(connection, user)
    await connection.execute("DELETE FROM dataset_people WHERE user_id = $1", user)
    await _drop_blobs(connection, marked)
    await write_event(
        connection, type="user.erased", aggregate=f"user:{user}", payload={}, touches=[("erased", user)]
    )


async def _drop_blobs(connection: Any, marked: Collection[str]) -> None:
    """Of these datasets; and of steps of jobs, which are of everybody there was, for who does them to do them
    again: only a model, or a dataset without the person, is kept of them.
    """
    steps = await connection.fetch(
        "DELETE FROM job_steps s USING job_runs r WHERE r.id = s.run_id AND s.blob_sha256 IS NOT NULL "
        "AND NOT starts_with(r.kind, 'text') "
        "AND NOT EXISTS (SELECT 1 FROM models m WHERE m.blob_sha256 = s.blob_sha256) "
        "AND NOT EXISTS (SELECT 1 FROM datasets d WHERE d.sha256 = s.blob_sha256 AND d.erased_at IS NULL) "
        "RETURNING s.blob_sha256"
    )
    await connection.execute(
        "DELETE FROM blobs b WHERE sha256 = ANY($1::text[]) "
        "AND NOT EXISTS (SELECT 1 FROM models m WHERE m.blob_sha256 = b.sha256) "
        "AND NOT EXISTS (SELECT 1 FROM job_steps s WHERE s.blob_sha256 = b.sha256)",
        [*marked, *(row[0] for row in steps)],
    )
