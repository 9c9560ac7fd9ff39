"""Models in versions that never change, the aliases that say which of them serves, and how these moved
(ML-5).

A version is `<name>-<number>`, its bytes a blob. `champion` serves; a name without one is served by its
`baseline`. Every move of an alias is kept with its reason, and told to `model:<name>` at commit.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from storage.outbox import notify

Alias = Literal["champion", "challenger", "shadow"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger", "shadow")
BASELINE = "baseline"
"""What serves where there is no champion: no version of its own, and always there."""


class RegistryError(Exception):
    """What was asked for can't be; the message says why and what to do."""


class PrunedError(RegistryError):
    """The bytes are gone (storage/retention.py); the message says what to do."""


class ErasedError(RegistryError):
    """Somebody of the dataset was erased, or is being erased: nothing may be made of it."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    name: str
    version: str
    blob_sha256: str
    dataset_sha256: str | None
    lineage: dict[str, Any]
    metrics: dict[str, Any]
    card: dict[str, Any]
    created_at: datetime
    erased_at: datetime | None
    """Since then somebody whom it was trained on is erased: no alias moves to it any more."""
    aliases: tuple[str, ...]
    pruned_at: datetime | None
    """Since then its bytes are gone (storage/retention.py): no alias moves to it any more."""


@dataclass(frozen=True, slots=True)
class Move:
    """One move of an alias; a version None is the baseline."""

    alias: str
    from_version: str | None
    to_version: str | None
    why: str
    verdict: dict[str, Any] | None
    moved_by: str
    at: datetime


_MODEL = (
    "m.name, m.version, m.blob_sha256, m.dataset_sha256, m.lineage, m.metrics, m.card, m.created_at, "
    "m.erased_at, ARRAY(SELECT a.alias FROM model_aliases a WHERE a.name = m.name AND a.version = m.version "
    "ORDER BY a.alias), m.pruned_at"
)


async def put_blob(connection: Any, stored: bytes) -> str:
    """Keep bytes and return their SHA-256, which is their name; the same bytes are kept once, and are not
    removed before the caller can name them.
    """
    sha256 = hashlib.sha256(stored).hexdigest()
    await connection.execute(
        "INSERT INTO blobs (sha256, bytes) VALUES ($1, $2) "
        "ON CONFLICT (sha256) DO UPDATE SET created_at = now()",
        sha256,
        stored,
    )
    return sha256


async def blob(connection: Any, sha256: str) -> bytes | None:
    """Return the bytes, or None if there are none (any more)."""
    found = await connection.fetchval("SELECT bytes FROM blobs WHERE sha256 = $1", sha256)
    return None if found is None else bytes(found)


async def add_version(
    connection: Any,
    name: str,
    stored: bytes,
    *,
    lineage: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: Mapping[str, Any] | None = None,
    dataset_sha256: str | None = None,
) -> str:
    """Register a model and return its version; no alias moves.

    Raises ErasedError if somebody in the dataset was erased (ML-11): whoever erases marks the dataset
    first, then the models made of it, so that of two at once one sees the other.
    """
    async with connection.transaction():
        await lock(connection, name)
        if dataset_sha256 is not None:
            row = await connection.fetchrow(
                "SELECT erased_at FROM datasets WHERE sha256 = $1 FOR SHARE", dataset_sha256
            )
            if row is None or row["erased_at"] is not None:
                raise ErasedError(
                    "somebody in the dataset was erased since it was built: the model made of it is not "
                    "kept; build the features again"
                )
        number = await connection.fetchval(
            "SELECT coalesce(max(substring(version FROM '[0-9]+$')::bigint), 0) + 1 FROM models "
            "WHERE name = $1",
            name,
        )
        version = f"{name}-{number}"
        await connection.execute(
            "INSERT INTO models (name, version, blob_sha256, dataset_sha256, lineage, metrics, card) "
            "VALUES ($1, $2, $3, $4, $5::json, $6::json, $7::json)",
            name,
            version,
            await put_blob(connection, stored),
            dataset_sha256,
            json.dumps(lineage),
            json.dumps(metrics),
            json.dumps(card or {}),
        )
    return version


async def versions(connection: Any, name: str) -> list[ModelRow]:
    """Return all versions, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_MODEL} FROM models m WHERE m.name = $1 ORDER BY m.created_at DESC, m.version DESC", name
    )
    return [_row(row) for row in rows]


async def names(connection: Any) -> list[str]:
    """Return the names that have versions."""
    rows = await connection.fetch("SELECT DISTINCT name FROM models ORDER BY name")
    return [row["name"] for row in rows]


async def find(connection: Any, name: str, version: str) -> ModelRow | None:
    """Return one version."""
    row = await connection.fetchrow(
        f"SELECT {_MODEL} FROM models m WHERE m.name = $1 AND m.version = $2", name, version
    )
    return None if row is None else _row(row)


async def aliased(connection: Any, name: str, alias: Alias) -> ModelRow | None:
    """Return what an alias names; None is the baseline."""
    row = await connection.fetchrow(
        f"SELECT {_MODEL} FROM models m JOIN model_aliases USING (name, version) "
        "WHERE name = $1 AND alias = $2",
        name,
        alias,
    )
    return None if row is None else _row(row)


async def champion(connection: Any, name: str) -> ModelRow | None:
    """Return what serves; None is the baseline."""
    return await aliased(connection, name, "champion")


async def moves(connection: Any, name: str, alias: Alias = "champion") -> list[Move]:
    """Return the moves of an alias, the oldest first."""
    rows = await connection.fetch(
        "SELECT alias, from_version, to_version, why, verdict, moved_by, at FROM model_moves "
        "WHERE name = $1 AND alias = $2 ORDER BY seq",
        name,
        alias,
    )
    return [
        Move(
            alias=row["alias"],
            from_version=row["from_version"],
            to_version=row["to_version"],
            why=row["why"],
            verdict=_json(row["verdict"]),
            moved_by=row["moved_by"],
            at=row["at"],
        )
        for row in rows
    ]


async def set_alias(
    connection: Any,
    name: str,
    alias: Alias,
    to: str | None,
    *,
    why: str,
    moved_by: str,
    verdict: Mapping[str, Any] | None = None,
) -> None:
    """Move an alias to a version; None or BASELINE: to none. Where it stands already, nothing happens.

    Raises RegistryError for an unknown version, for one that somebody was erased from (ML-11), and for one
    that was pruned.
    """
    async with connection.transaction():
        await lock(connection, name)
        to = None if to == BASELINE else to
        now = await connection.fetchval(
            "SELECT version FROM model_aliases WHERE name = $1 AND alias = $2", name, alias
        )
        if to == now:
            return
        if to is None:
            await connection.execute("DELETE FROM model_aliases WHERE name = $1 AND alias = $2", name, alias)
        else:
            await _refuse_unfit(connection, name, to)
            await connection.execute(
                "INSERT INTO model_aliases (name, alias, version) VALUES ($1, $2, $3) "
                "ON CONFLICT (name, alias) DO UPDATE SET version = $3",
                name,
                alias,
                to,
            )
        await connection.execute(
            "INSERT INTO model_moves (name, alias, from_version, to_version, why, verdict, moved_by) "
            "VALUES ($1, $2, $3, $4, $5, $6::json, $7)",
            name,
            alias,
            now,
            to,
            why,
            None if verdict is None else json.dumps(verdict),
            moved_by,
        )
        await notify(connection, [("model", name)])


async def promote(
    connection: Any,
    name: str,
    to: str,
    verdict: Mapping[str, Any],
    *,
    moved_by: str,
    forced: bool = False,
) -> None:
    """Make a version the champion, with the verdict of the gate.

    `verdict` has `promote` and `objections`. Raises RegistryError if it says no and nobody insists; whoever
    does is written down with what they overruled.
    """
    if not verdict.get("promote") and not forced:
        said = "; ".join(verdict.get("objections", ())) or "it is not better than what serves"
        raise RegistryError(f"{to} is not promoted: {said}")
    why = "gate" if verdict.get("promote") else "forced"
    await set_alias(connection, name, "champion", to, why=why, moved_by=moved_by, verdict=verdict)


def attention(row: ModelRow) -> str | None:
    """Return what is to be done about a version that serves: in words, or None where nothing is."""
    if row.erased_at is None:
        return None
    return (
        f"{row.version} serves, and somebody whom it was trained on was erased on {row.erased_at:%Y-%m-%d}: "
        "train again without them; if the gate finds the new version no better, promote it by force, or go "
        "back to an earlier one"
    )


def served(moved: Sequence[Move]) -> list[str | None]:
    """Return what `rollback` goes back through, from the champion's moves in order: the baseline (None)
    first, what serves last.
    """
    found: list[str | None] = [None]
    for move in moved:
        if move.why == "rollback":
            while len(found) > 1 and found[-1] != move.to_version:
                found.pop()
        else:
            found.append(move.to_version)
    return found


async def rollback(connection: Any, name: str, *, moved_by: str) -> str:
    """Put back what served before the champion did, and return it (BASELINE where nothing did).

    Asked twice it goes back twice. Versions that somebody was erased from, and those that were pruned, are
    passed over. Raises RegistryError if there is no champion to take back.
    """
    async with connection.transaction():
        await lock(connection, name)
        before = served(await moves(connection, name))
        if len(before) == 1:
            raise RegistryError(f"{name} has always been served by its baseline: there is no way back")
        found = await versions(connection, name)
        fit = {row.version for row in found if row.erased_at is None and row.pruned_at is None} | {None}
        serving = before.pop()
        while before[1:] and (before[-1] == serving or before[-1] not in fit):
            before.pop()
        to = before[-1]
        await set_alias(connection, name, "champion", to, why="rollback", moved_by=moved_by)
    return to or BASELINE


async def _refuse_unfit(connection: Any, name: str, to: str) -> None:
    row = await connection.fetchrow(
        "SELECT erased_at, pruned_at FROM models WHERE name = $1 AND version = $2 FOR SHARE", name, to
    )
    if row is None:
        raise RegistryError(f"{name} has no version {to!r}; `hereabouts models list` shows those it has")
    if row["erased_at"] is not None:
        raise RegistryError(f"somebody whom {to} was trained on was erased: train again without them")
    if row["pruned_at"] is not None:
        raise RegistryError(f"the bytes of {to} were pruned on {row['pruned_at']:%Y-%m-%d}: train again")


async def lock(connection: Any, name: str) -> None:
    """Until the transaction ends nobody else adds a version of this name, or moves an alias of it."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('model:' || $1, 0))", name)


def _row(row: Any) -> ModelRow:
    values = list(row)
    values[4:7] = [_json(value) for value in values[4:7]]
    values[9] = tuple(values[9])
    return ModelRow(*values)


def _json(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text
