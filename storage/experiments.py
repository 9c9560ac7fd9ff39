"""Experiments: what runs, who belongs together in it, who met which variant and when, and what came of it
(ML-7).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any, Literal

UnitKind = Literal["person", "cell", "community"]
UNITS: tuple[UnitKind, ...] = ("person", "cell", "community")
ALIASES = ("champion", "challenger")
"""Of models of people that a variant may be served by."""


class ExperimentError(Exception):
    """What was asked for can't be; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Variant:
    share: float
    """Of the units, relative to the other variants."""
    alias: str | None = None
    """Of the model that serves it; None: the variant changes nothing here."""


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    name: str
    salt: str
    unit: UnitKind
    variants: dict[str, Variant]
    """The first one is the control."""
    state: Literal["running", "ended"]
    started_at: datetime
    ended_at: datetime | None

    @property
    def shares(self) -> dict[str, float]:
        return {name: variant.share for name, variant in self.variants.items()}

    @property
    def serves(self) -> bool:
        """Say whether it decides by which model somebody is served."""
        return any(variant.alias is not None for variant in self.variants.values())


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one person stands in a running experiment."""

    experiment: ExperimentRow
    unit: str
    exposed: str | None
    """The variant that they have met; it stays theirs."""


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What an exposed person did: `before` in a window that ends at their exposure, `after` since then."""

    user: str
    unit: str
    variant: str
    decisions_before: int
    likes_before: int
    matches_before: int
    decisions_after: int
    likes_after: int
    matches_after: int


_ROW = "e.name, e.salt, e.unit, e.variants, e.state, e.started_at, e.ended_at"


def _row(values: Any) -> ExperimentRow:
    name, salt, unit, variants, *rest = values
    # A json column keeps the order of keys, which is the order in which shares cut.
    parsed = {key: Variant(each["share"], each.get("alias")) for key, each in json.loads(variants).items()}
    return ExperimentRow(name, salt, unit, parsed, *rest)


async def begin(  # noqa: PLR0917 - a row
    connection: Any,
    name: str,
    salt: str,
    unit: UnitKind,
    variants: Mapping[str, Variant],
    units: Mapping[str, str] | None = None,
) -> None:
    """Start an experiment; `units` are who belongs together, by person. In the caller's transaction.

    Raises ExperimentError for fewer than two variants, a share that is not above 0, an alias that models do
    not have, a name that was used, or a second one that would decide what serves.
    """
    if unit not in UNITS:
        raise ExperimentError(f"the unit is one of {', '.join(UNITS)}")
    if len(variants) < 2 or any(not 0 < each.share < inf for each in variants.values()):
        raise ExperimentError("an experiment has two variants or more, each with a finite share above 0")
    wrong = {each.alias for each in variants.values() if each.alias not in {None, *ALIASES}}
    if wrong:
        raise ExperimentError(f"a variant is served by {' or '.join(ALIASES)}")
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('experiments', 0))")
    if await connection.fetchval("SELECT 1 FROM experiments WHERE name = $1", name):
        raise ExperimentError(f"there is an experiment {name}; take another name, its assignment is its own")
    serves = any(each.alias is not None for each in variants.values())
    if serves and (other := next((each for each in await running(connection) if each.serves), None)):
        raise ExperimentError(f"{other.name} decides what serves; end it first")
    said = {
        key: {"share": each.share} | ({} if each.alias is None else {"alias": each.alias})
        for key, each in variants.items()
    }
    await connection.execute(
        "INSERT INTO experiments (name, salt, unit, variants) VALUES ($1, $2, $3, $4)",
        name, salt, unit, json.dumps(said),
    )  # fmt: skip
    people = sorted((units or {}).items())
    await connection.execute(
        "INSERT INTO experiment_units (experiment, user_id, unit) SELECT $1, p, u "
        "FROM unnest($2::uuid[], $3::text[]) AS t (p, u) JOIN users ON users.id = p "
        "WHERE users.status = 'active'",
        name, [user for user, _ in people], [each for _, each in people],
    )  # fmt: skip


async def end(connection: Any, name: str) -> None:
    """Assign nobody any more. Raises ExperimentError if it does not run."""
    done = await connection.execute(
        "UPDATE experiments SET state = 'ended', ended_at = now() WHERE name = $1 AND state = 'running'", name
    )
    if done == "UPDATE 0":
        raise ExperimentError(f"there is no running experiment {name}")


async def named(connection: Any, name: str) -> ExperimentRow:
    """Raises ExperimentError if there is none."""
    found = await connection.fetchrow(f"SELECT {_ROW} FROM experiments e WHERE e.name = $1", name)
    if found is None:
        raise ExperimentError(f"there is no experiment {name}")
    return _row(tuple(found))


async def running(connection: Any) -> list[ExperimentRow]:
    rows = await connection.fetch(
        f"SELECT {_ROW} FROM experiments e WHERE e.state = 'running' ORDER BY e.started_at, e.name"
    )
    return [_row(tuple(row)) for row in rows]


async def standing(connection: Any, user: str) -> list[Standing]:
    """Return where a person stands in all experiments that run, by their start."""
    rows = await connection.fetch(
        f"SELECT {_ROW}, x.variant, coalesce(x.unit, u.unit, $1::uuid::text) FROM experiments e "
        "LEFT JOIN experiment_exposures x ON x.experiment = e.name AND x.user_id = $1::uuid "
        "LEFT JOIN experiment_units u ON u.experiment = e.name AND u.user_id = $1::uuid "
        "WHERE e.state = 'running' ORDER BY e.started_at, e.name",
        user,
    )
    return [Standing(_row(tuple(row)[:7]), row[8], row[7]) for row in rows]


async def expose(connection: Any, experiment: str, user: str, unit: str, variant: str) -> None:
    """Note that a person met their variant; the first time counts. Nothing of who is being erased."""
    await connection.execute(
        "INSERT INTO experiment_exposures (experiment, user_id, unit, variant) SELECT $1, id, $3, $4 "
        "FROM users WHERE id = $2 AND status = 'active' ON CONFLICT DO NOTHING",
        experiment, user, unit, variant,
    )  # fmt: skip


_OUTCOMES = """
    WITH exposed AS MATERIALIZED (
        SELECT user_id, unit, variant, at FROM experiment_exposures WHERE experiment = $1 AND at <= $2
    ), given AS (
        SELECT x.user_id, d.ratee_id, d.likes, d.at, x.at AS since FROM exposed x
        JOIN decisions d ON d.rater_id = x.user_id AND d.at >= x.at - $3::interval AND d.at <= $2
    ), matched AS (
        -- Two likes are a match when the later of them is given, whoever gives it.
        SELECT x.user_id, d.ratee_id, x.at AS since, greatest(min(d.at), min(r.at)) AS at
        FROM exposed x JOIN decisions d ON d.rater_id = x.user_id AND d.likes AND d.at <= $2
        JOIN decisions r ON r.rater_id = d.ratee_id AND r.ratee_id = x.user_id AND r.likes AND r.at <= $2
        GROUP BY x.user_id, d.ratee_id, x.at
    ), counted AS (
        SELECT user_id, count(*) FILTER (WHERE at < since) AS db,
               count(*) FILTER (WHERE at < since AND likes) AS lb,
               count(*) FILTER (WHERE at >= since) AS da,
               count(*) FILTER (WHERE at >= since AND likes) AS la FROM given GROUP BY user_id
    ), met AS (
        SELECT user_id, count(*) FILTER (WHERE at < since AND at >= since - $3::interval) AS mb,
               count(*) FILTER (WHERE at >= since) AS ma FROM matched GROUP BY user_id
    )
    SELECT x.user_id::text, x.unit, x.variant, coalesce(db, 0), coalesce(lb, 0), coalesce(mb, 0),
           coalesce(da, 0), coalesce(la, 0), coalesce(ma, 0)
    FROM exposed x LEFT JOIN counted USING (user_id) LEFT JOIN met USING (user_id) ORDER BY x.user_id
"""


async def outcomes(connection: Any, name: str, until: datetime, window_s: float) -> list[OutcomeRow]:
    """Return what the exposed did up to a moment; `window_s` is how long before exposure is looked at."""
    rows = await connection.fetch(_OUTCOMES, name, until, timedelta(seconds=window_s))
    return [OutcomeRow(*row) for row in map(tuple, rows)]


async def friends(connection: Any) -> list[tuple[str, str]]:
    """Return the pairs who are matched: the graph that communities are made of."""
    rows = await connection.fetch(
        "SELECT low_id::text, high_id::text FROM connections WHERE state = 'matched' "
        "AND NOT low_blocks AND NOT high_blocks ORDER BY low_id, high_id"
    )
    return [(row[0], row[1]) for row in rows]


async def people(connection: Any) -> list[str]:
    """Return everybody who could be exposed."""
    rows = await connection.fetch("SELECT id::text FROM users WHERE status = 'active' ORDER BY id")
    return [row[0] for row in rows]


async def looks(connection: Any, name: str, until: datetime) -> list[dict[str, Any]]:
    """Return the results of earlier reports about an experiment, oldest first."""
    rows = await connection.fetch(
        "SELECT result FROM job_runs WHERE kind = 'experiment' AND state = 'done' "
        "AND parameters -> 'asked' ->> 'name' = $1 AND started_at < $2 ORDER BY started_at",
        name, until,
    )  # fmt: skip
    return [json.loads(row[0]) for row in rows]
