"""What models are trained on: datasets by their hash, who is in them, and the logs they are made of (ML-2,
ML-11, ML-12).
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.offsets import Offset
from storage.registry import ErasedError, PrunedError, blob, put_blob

_BATCH = 50_000
_LEAVING = "SELECT id FROM users WHERE status IN ('deleting', 'erased')"


@dataclass(frozen=True, slots=True)
class DatasetRow:
    sha256: str
    name: str
    from_offset: Offset
    to_offset: Offset
    row_count: int
    spec: dict[str, Any]
    is_erased: bool


async def last_offset(connection: Any) -> Offset:
    """Return the offset of the last decision that is sure to have no earlier one still to come."""
    row = await connection.fetchrow(
        "SELECT xid::text::bigint AS xid, seq FROM decisions "
        "WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC, seq DESC LIMIT 1"
    )
    return Offset() if row is None else Offset(row["xid"], row["seq"])


async def decisions_until(connection: Any, to: Offset) -> AsyncIterator[list[Any]]:
    """Yield the log from its beginning to an offset (inclusive), in order, in batches of plain rows:
    xid, seq, rater, ratee, likes, at, model, source. Without those who are leaving.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cursor = connection.cursor(
            "SELECT xid::text::bigint AS xid, seq, rater_id::text AS rater, ratee_id::text AS ratee, "
            "likes, at, model, source FROM decisions "
            "WHERE (xid, seq) <= (($1::text)::xid8, $2::bigint) "
            f"AND rater_id NOT IN ({_LEAVING}) AND ratee_id NOT IN ({_LEAVING}) ORDER BY xid, seq",
            str(to.xid),
            to.seq,
            prefetch=_BATCH,
        )
        batch: list[Any] = []
        async for row in cursor:
            batch.append(row)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        yield batch


async def said_until(connection: Any, to: Offset) -> list[Any]:
    """Return what people said of themselves up to an offset's transaction, in order: user, xid, gender,
    goals, interests, answers (text of JSON), values.
    """
    rows = await connection.fetch(
        "SELECT user_id::text AS user, xid::text::bigint AS xid, gender, goals, interests, answers, "
        "values_21 FROM preference_log WHERE xid <= ($1::text)::xid8 ORDER BY xid, seq",
        str(to.xid),
    )
    return list(rows)


async def births(connection: Any) -> list[Any]:
    """Return user and birth_date of everybody."""
    return list(await connection.fetch("SELECT id::text AS user, birth_date FROM users"))


async def add(
    connection: Any,
    stored: bytes,
    *,
    name: str,
    from_offset: Offset,
    to_offset: Offset,
    row_count: int,
    spec: Mapping[str, Any],
    people: Sequence[str],
) -> str:
    """Keep a dataset with who is in it and return its hash. Within a transaction.

    Raises ErasedError if one of them is being erased; whose erasure is not committed yet is waited for.
    """
    assert connection.is_in_transaction(), "a dataset and who is in it are one"
    leaving = await connection.fetchval(
        "SELECT count(*) FROM unnest($1::uuid[]) AS one LEFT JOIN LATERAL "
        "(SELECT status FROM users WHERE id = one FOR SHARE) AS found ON true "
        "WHERE coalesce(found.status, 'erased') IN ('deleting', 'erased')",
        sorted(people),
    )
    if leaving:
        raise ErasedError(f"{leaving} people of the dataset are being erased")
    sha256 = hashlib.sha256(stored).hexdigest()
    await connection.execute(
        "INSERT INTO datasets (sha256, name, from_offset, to_offset, row_count, spec) "
        "VALUES ($1, $2, $3, $4, $5, $6::json) "
        "ON CONFLICT (sha256) DO UPDATE SET pruned_at = NULL, created_at = now()",
        sha256,
        name,
        str(from_offset),
        str(to_offset),
        row_count,
        json.dumps(spec),
    )
    await connection.execute(
        "INSERT INTO dataset_people (sha256, user_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING",
        sha256,
        people,
    )
    await put_blob(connection, stored)
    return sha256


async def find(connection: Any, sha256: str) -> DatasetRow | None:
    row = await connection.fetchrow(
        "SELECT sha256, name, from_offset, to_offset, row_count, spec, erased_at IS NOT NULL AS is_erased "
        "FROM datasets WHERE sha256 = $1",
        sha256,
    )
    if row is None:
        return None
    values = list(row)
    values[2:4] = [Offset.parse(value) for value in values[2:4]]
    values[5] = json.loads(values[5])
    return DatasetRow(*values)


async def is_there(connection: Any, sha256: str) -> bool:
    """Say whether a dataset's bytes are kept, and nobody in it has given up their account since."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM datasets JOIN blobs USING (sha256) "
            "WHERE sha256 = $1 AND erased_at IS NULL)",
            sha256,
        )
    )


async def load(connection: Any, sha256: str) -> tuple[DatasetRow, bytes]:
    """Return a dataset with its bytes. Raises ErasedError if somebody in it was erased, PrunedError if its
    bytes are gone, KeyError if there is none.
    """
    found = await find(connection, sha256)
    if found is None:
        raise KeyError(sha256)
    stored = None if found.is_erased else await blob(connection, sha256)
    if stored is None and not found.is_erased:
        raise PrunedError(
            f"the dataset {sha256} was pruned: it was old, and no model that is kept was made of it; build "
            "the features again"
        )
    if stored is None:
        raise ErasedError("somebody in the dataset was erased since it was built; build the features again")
    return found, stored
