"""People of a small engine who share where they are, for the tests of shares and of ghosts."""

import json
from datetime import UTC, datetime, timedelta

import msgspec

from actors import messages as wire
from actors.placement import slot_of
from storage.ids import ShareId, new_id
from storage.reminders import Reminder, put
from storage.shares import Receiver, ShareRow, insert_share, tell

BERLIN = (52.5200, 13.4050)


async def apart(small, others=()):
    """A person whose actor lives on another shard than that of the first of `others`."""
    while True:
        user = await small.person("nobody")
        if not others or small.router.shard_of(slot_of("user", user)) != small.router.shard_of(
            slot_of("user", others[0])
        ):
            return user


async def share(small, sharer, *to, precision="exact", lasts_s=3_600.0):
    now = datetime.now(UTC)
    row = ShareRow(
        ShareId(new_id()), sharer, precision, now, now + timedelta(seconds=lasts_s),
        tuple(Receiver(user) for user in to),
    )  # fmt: skip
    async with small.pool.acquire() as connection, connection.transaction():
        await insert_share(connection, row)
        due_ms = round(row.ends_at.timestamp() * 1000)
        reminder = Reminder("user", sharer, f"share:{row.share}", slot_of("user", sharer), due_ms)
        await put(connection, reminder, None)
        await tell(connection, [(sharer, {"type": "share.started", "share": row.share})])
    await small.router.refresh("user", sharer)
    return row.share


async def move(small, user, north_m, t_ms, acc_m=5.0):
    lat = BERLIN[0] + north_m / 111_200
    await small.ask(wire.Position(0, user, lat, BERLIN[1], acc_m, t_ms))
    return lat


def rows(small, conn):
    return [
        row
        for push in small.pushes
        if isinstance(push, wire.PushMap) and push.ch.endswith(f"#{conn}")
        for row in msgspec.json.decode(push.k)
    ]


def ends(small, conn):
    return [p for p in small.pushes if isinstance(p, wire.Unsubscribed) and p.ch.endswith(f"#{conn}")]


def kinds(small, conn):
    return [type(p).__name__ for p in small.pushes if p.ch.endswith(f"#{conn}")]


async def me(small, user):
    found = await small.pool.fetch(
        "SELECT body FROM user_events WHERE user_id = $1 AND stream = 'me' ORDER BY \"offset\"", user
    )
    return [json.loads(row["body"]) for row in found]


async def types(small, user):
    return [body["type"] for body in await me(small, user)]


async def ends_told(small, user):
    return [kind for kind in await types(small, user) if kind in ("share.left", "share.ended")]


async def until_told(small, user, kind):
    async def there():
        return kind in await types(small, user)

    for _ in range(1_500):
        if await there():
            return
        await small.pool.execute("SELECT pg_sleep(0.02)")
    raise AssertionError((kind, await types(small, user)))
