"""The outbox: what happened, written in the transaction that made it happen (BUS-1, CONN-13)."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from storage.ids import new_id

CHANNEL = "hereabouts"
"""The NOTIFY channel that shards listen on; a payload is `<kind>:<key>` of a virtual actor."""

Touch = tuple[str, str]
"""(kind, key) of a virtual actor whose cached state a change makes stale."""


async def write_event(
    connection: Any,
    *,
    type: str,  # noqa: A002 - the envelope's own word (data.md, BUS-2)
    aggregate: str,
    payload: Mapping[str, Any],
    touches: Iterable[Touch],
    version: int = 1,
) -> None:
    """Stores an event and tells each touched virtual actor at commit.

    `aggregate` is `<kind>:<id>`. Must run inside the transaction whose change it reports: without one, an
    event could be told of something that never happened.
    """
    assert connection.is_in_transaction(), "an event belongs to the transaction that made it true"
    await connection.execute(
        "INSERT INTO outbox (id, type, version, aggregate, payload) VALUES ($1, $2, $3, $4, $5::json)",
        new_id(),
        type,
        version,
        aggregate,
        msgspec.json.encode(dict(payload)).decode(),
    )
    await notify(connection, touches)


async def write_events(connection: Any, type_: str, aggregates: Iterable[str]) -> None:
    """The same kind of event of many, without a payload; whom they touch is told by the caller."""
    assert connection.is_in_transaction(), "an event belongs to the transaction that made it true"
    await connection.execute(
        "INSERT INTO outbox (id, type, version, aggregate, payload) "
        "SELECT gen_random_uuid(), $1, 1, aggregate, '{}' FROM unnest($2::text[]) AS w (aggregate)",
        type_,
        list(aggregates),
    )


async def notify(connection: Any, touches: Iterable[Touch]) -> None:
    """Tells each touched virtual actor at commit; of the kind `reminder`, the shards' that one was set."""
    payloads = sorted({f"{kind}:{key}" for kind, key in touches})
    if payloads:
        await connection.execute(
            "SELECT pg_notify($1, touched) FROM unnest($2::text[]) AS touched", CHANNEL, payloads
        )


async def append_user_event(
    connection: Any, user: str, body: Mapping[str, Any], *, stream: str = "me"
) -> int:
    """Appends to a person's own durable stream and returns the offset. `body` has `type` and `v`.

    Several people's streams in one transaction: append in order of user id, or two transactions may deadlock.
    """
    assert connection.is_in_transaction(), "a stream's event belongs to the transaction that made it true"
    offset = await connection.fetchval(
        "SELECT append_user_event($1::uuid, $2, $3::uuid, now(), $4::json)",
        user,
        stream,
        new_id(),
        msgspec.json.encode(dict(body)).decode(),
    )
    return int(offset)
