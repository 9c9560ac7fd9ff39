"""The synthetic city's history into a running engine, as its own transactions would have left it.

Tallies are the fold of the log that is copied beside them, streams are numbered from 1 in the order of what
happened, states of pairs are folded by the engine's own transitions, messages go through its own function.
Positions go to Valkey as an accepted fix leaves them. Not made: sessions, reminders, trails.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np

from benchmarks import city_world
from benchmarks.city import City
from benchmarks.city_history import DAY_S, DAYS
from benchmarks.city_pairs import BEGIN, folded
from benchmarks.city_people import GENDERS, LAT, METRES_A_DEGREE, Floats, Integers
from geo.cells import cell_of
from storage.ids import new_id
from storage.messages import Advance, Row, append
from storage.placement import SLOTS, slot_of
from storage.positions import Place, SlotPlaces, open_valkey, save

Tell = Callable[[str], None]

ACCURACY_M, SHOWN_RESOLUTION = 8.0, 8
PLACE_RADIUS_M = 100.0
_BATCH = 2_000


@dataclass(frozen=True)
class Stored:
    """Who is who: ids by number."""

    people: list[str]
    places: list[str]
    begun_at: datetime

    def at(self, second: float) -> datetime:
        """A moment of the history."""
        return self.begun_at + timedelta(seconds=float(second))


async def store(database_url: str, valkey_url: str, city: City, tell: Tell) -> Stored:
    """Writes everything; a transaction a table, people first."""
    count = len(city.people)
    begun_at = datetime.now(UTC) - timedelta(seconds=DAYS * DAY_S + 3_600)
    places = len(city.people.places.topic)
    stored = Stored([new_id() for _ in range(count)], [new_id() for _ in range(places)], begun_at)
    connection = await asyncpg.connect(database_url, command_timeout=900)
    try:
        for what, write in (
            ("people", _people),
            ("preferences", _preferences),
            ("decisions", _decisions),
            ("connections", _connections),
            ("chats", _chats),
            ("visits", _visits),
        ):
            tell(f"stores {what}")
            async with connection.transaction():
                await write(connection, city, stored)
            await connection.execute("ANALYZE")  # whoever reads along plans by it
        tell("stores positions")
        await _positions(connection, valkey_url, city, stored)
    finally:
        await connection.close()
    return stored


async def _copy(connection: Any, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
    await connection.copy_records_to_table(table, records=rows, columns=columns.split())


async def _people(connection: Any, city: City, stored: Stored) -> None:
    today, people = datetime.now(UTC).date(), city.people
    rows = (
        (
            user,
            f"city-{stored.people[0][9:18]}-{number:06d}",
            _born(int(age), number, today),
            "paused" if paused else "active",
            "everyone",
            "r8",
            "everyone",
        )
        for number, (user, age, paused) in enumerate(
            zip(stored.people, people.age, people.is_paused, strict=True)
        )
    )
    columns = "id handle birth_date status visibility_audience visibility_precision who_can_add_me"
    await _copy(connection, "users", columns, rows)
    await connection.execute(
        "INSERT INTO outbox (id, type, version, aggregate, payload) SELECT uuidv7(), 'user.registered', 1, "
        "'user:' || id, '{}' FROM unnest($1::uuid[]) AS each (id)",
        stored.people,
    )


def _born(age: int, number: int, today: date) -> date:
    """A birthday that has been this year."""
    passed = (today - date(today.year, 1, 1)).days
    return date(today.year - age, 1, 1) + timedelta(
        days=number % (passed + 1) if passed < 59 else number % 59
    )


async def _preferences(connection: Any, city: City, stored: Stored) -> None:
    people = city.people
    interests, goals = city_world.tags(people), city_world.goals(people)

    def rows() -> Iterator[tuple[Any, ...]]:
        for number, user in enumerate(stored.people):
            seeks = people.seeks[number]
            within_m = int(people.within_m[number])
            yield (
                user,
                bool(people.is_listed[number]),
                GENDERS[people.gender[number]],
                [] if seeks.all() else [GENDERS[each] for each in np.flatnonzero(seeks)],
                goals[number],
                int(people.age_from[number]),
                int(people.age_to[number]),
                within_m or None,
                interests[number],
                "{}",
                [float(value) for value in people.values[number]],
            )

    columns = "user_id is_listed gender seeks goals age_from age_to within_m interests answers values_21"
    await _copy(connection, "preferences", columns, rows())
    await connection.execute(
        "INSERT INTO outbox (id, type, version, aggregate, payload) SELECT uuidv7(), 'preferences.changed', "
        "1, 'user:' || id, '{\"version\": 1}' FROM unnest($1::uuid[]) AS each (id)",
        stored.people,
    )


async def _decisions(connection: Any, city: City, stored: Stored) -> None:
    decided, ids = city.history.decided, stored.people
    rows = (
        (ids[rater], ids[ratee], likes, stored.at(at_s))
        for rater, ratee, likes, at_s in zip(
            decided.rater.tolist(),
            decided.ratee.tolist(),
            decided.likes.tolist(),
            decided.at_s.tolist(),
            strict=True,
        )
    )
    await _copy(connection, "decisions", "rater_id ratee_id likes at", rows)
    counted = city_world.tallies(city.history, len(ids))
    there = np.flatnonzero(counted[:, 0] + counted[:, 2])
    counts = (
        (ids[number], *(int(value) for value in counted[number, :4]), float(counted[number, 4]))
        for number in there.tolist()
    )
    columns = "user_id given given_yes received received_yes surprise"
    await _copy(connection, "match_tallies", columns, counts)


async def _connections(connection: Any, city: City, stored: Stored) -> None:
    ids = stored.people
    pairs, events = folded(city.history, ids)
    rows = (
        (
            pair.low,
            pair.high,
            pair.state,
            pair.acting,
            pair.requester,
            pair.low_blocks,
            pair.high_blocks,
            pair.version,
            stored.begun_at + (pair.updated_at - BEGIN),
        )
        for pair in pairs
    )
    columns = "low_id high_id state acting_id requester_id low_blocks high_blocks version updated_at"
    await _copy(connection, "connections", columns, rows)
    await connection.execute(
        "CREATE TEMP TABLE events (n bigint, type text, by_id uuid, low uuid, high uuid, version int, "
        "at timestamptz, told uuid[]) ON COMMIT DROP"
    )
    changes = (
        (
            number,
            event.type,
            event.by,
            event.low,
            event.high,
            event.version,
            stored.at(event.at_s),
            event.told,
        )
        for number, event in enumerate(events)
    )
    await _copy(connection, "events", "n type by_id low high version at told", changes)
    await connection.execute(
        "INSERT INTO outbox (id, type, version, aggregate, at, payload) SELECT uuidv7(), "
        "'connection.' || type, 1, 'connection:' || low || ':' || high, at, "
        "json_build_object('by', by_id, 'version', version) FROM events ORDER BY n"
    )
    await connection.execute(
        "WITH heard AS (SELECT e.*, who, row_number() OVER (PARTITION BY who ORDER BY n) AS place "
        "FROM events e, unnest(told) AS who), stored AS (INSERT INTO user_events (user_id, stream, "
        "\"offset\", id, at, body) SELECT who, 'me', place, uuidv7(), at, json_build_object('type', "
        "'connection.' || type, 'v', 1, 'user', CASE WHEN who = low THEN high ELSE low END, 'version', "
        "version) FROM heard) INSERT INTO user_streams (user_id, stream, epoch, last_offset) "
        "SELECT who, 'me', replace(gen_random_uuid()::text, '-', ''), count(*) FROM heard GROUP BY who"
    )


async def _chats(connection: Any, city: City, stored: Stored) -> None:
    """A direct room each, made by the first, who writes first; they take turns."""
    chats, ids = city.history.chats, stored.people
    rooms = [new_id() for _ in range(len(chats.one))]
    made = [
        (room, ids[one], ids[other], stored.at(since_s), int(count))
        for room, one, other, since_s, count in zip(
            rooms, chats.one, chats.other, chats.since_s, chats.messages, strict=True
        )
    ]
    columns = "id name kind durability owner_id epoch created_at"
    rows = ((room, "", "direct", "durable", one, new_id(), at) for room, one, _, at, _ in made)
    await _copy(connection, "rooms", columns, rows)
    members = (
        (room, who, role, at)
        for room, one, other, at, _ in made
        for who, role in ((one, "owner"), (other, "member"))
    )
    await _copy(connection, "room_members", "room_id user_id role joined_at", members)
    await connection.execute(
        "SELECT count(append_user_event(other, 'me', uuidv7(), at, json_build_object('type', 'room.joined', "
        "'v', 1, 'room', room, 'by', one))) FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], "
        "$4::timestamptz[]) AS t (room, one, other, at)",
        *([row[column] for row in made] for column in range(4)),
    )
    await connection.execute(
        "INSERT INTO outbox (id, type, version, aggregate, at, payload) SELECT uuidv7(), 'room.created', 1, "
        "'room:' || room, at, json_build_object('kind', 'direct', 'owner', one) "
        "FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS t (room, one, at)",
        *([row[column] for row in made] for column in (0, 1, 3)),
    )
    for start in range(0, len(made), _BATCH):
        part = made[start : start + _BATCH]
        said = [
            Row(
                room,
                offset,
                int(at.timestamp() * 1000) + 60_000 * offset,
                new_id(),
                (one, other)[(offset - 1) % 2],
                "",
                json.dumps({"text": f"message {offset}"}),
            )
            for room, one, other, at, count in part
            for offset in range(1, count + 1)
        ]
        advances = [Advance(room, 0, count, new_id()) for room, *_, count in part]
        await append(connection, [], advances, said)


async def _visits(connection: Any, city: City, stored: Stored) -> None:
    """Places of an app, so that its fences count everybody, and whole visits of them."""
    app = new_id()
    await connection.execute(
        "INSERT INTO users (id, handle, birth_date, roles) VALUES ($1, $2, '1990-01-01', '{app}')",
        app,
        f"city-app-{app[9:18]}",
    )
    places = city.people.places
    shapes = (
        (fence, app, f"place {number}", json.dumps(_ring(east_m, north_m)), stored.begun_at)
        for number, (fence, east_m, north_m) in enumerate(
            zip(stored.places, places.east_m, places.north_m, strict=True)
        )
    )
    await _copy(connection, "fences", "id owner_id name shape created_at", shapes)
    visits, ids = city.history.visits, stored.people
    crossings: list[tuple[float, int, int, int, str]] = []
    whole = []
    seen: dict[tuple[int, int], int] = {}
    for person, place, at_s, stay_s in zip(
        visits.person.tolist(),
        visits.place.tolist(),
        visits.at_s.tolist(),
        visits.stay_s.tolist(),
        strict=True,
    ):
        number = seen[person, place] = seen.get((person, place), 0) + 1
        whole.append(
            (ids[person], stored.places[place], number, stored.at(at_s), stored.at(at_s + stay_s), True)
        )
        crossings += [(at_s, person, place, number, "enter"), (at_s + stay_s, person, place, number, "exit")]
    crossings.sort()
    await _copy(
        connection, "fence_visits", "user_id fence_id visit entered_at exited_at counted", iter(whole)
    )
    await connection.execute(
        "CREATE TEMP TABLE crossings (n bigint, who uuid, fence uuid, visit bigint, event text, "
        "at timestamptz, id uuid) ON COMMIT DROP"
    )
    rows = (
        (n, ids[person], stored.places[place], visit, event, stored.at(moment_s), new_id())
        for n, (moment_s, person, place, visit, event) in enumerate(crossings)
    )
    await _copy(connection, "crossings", "n who fence visit event at id", rows)
    for statement in _CROSSED:
        await connection.execute(statement)


_BODY = (
    "json_build_object('fence', fence, 'event', event, 'at_ms', (extract(epoch FROM at) * 1000)::bigint, "
    "'confidence', 1.0, 'v', 1)"
)
_CROSSED = (
    # As record_crossings leaves them, in one statement a table: it applies one after the other.
    f"""INSERT INTO user_events (user_id, stream, "offset", id, at, body)
    SELECT who, 'fences', row_number() OVER (PARTITION BY who ORDER BY n), id, at, {_BODY} FROM crossings""",
    """INSERT INTO user_streams (user_id, stream, epoch, last_offset)
    SELECT who, 'fences', replace(gen_random_uuid()::text, '-', ''), count(*) FROM crossings GROUP BY who""",
    f"""INSERT INTO fence_events (fence_id, "offset", id, at, user_id, event, inside, body)
    SELECT fence, row_number() OVER along, id, at, who, event,
           sum(CASE event WHEN 'enter' THEN 1 ELSE -1 END) OVER along, {_BODY}
    FROM crossings WINDOW along AS (PARTITION BY fence ORDER BY n)""",
    """INSERT INTO fence_streams (fence_id, epoch, last_offset, inside)
    SELECT fence, replace(gen_random_uuid()::text, '-', ''), count(*), 0 FROM crossings GROUP BY fence""",
    """INSERT INTO outbox (id, type, version, aggregate, at, payload)
    SELECT id, 'fence.' || event, 1, 'fence:' || fence, at, json_build_object('user', who, 'visit', visit,
           'at_ms', (extract(epoch FROM at) * 1000)::bigint) FROM crossings ORDER BY n""",
)


def _ring(east_m: float, north_m: float) -> dict[str, Any]:
    """A polygon of twelve corners."""
    corners = []
    for corner in range(13):
        turn = math.tau * (corner % 12) / 12
        lat, lon = _degrees(
            np.array(east_m + PLACE_RADIUS_M * math.cos(turn)),
            np.array(north_m + PLACE_RADIUS_M * math.sin(turn)),
        )
        corners.append([round(float(lon), 6), round(float(lat), 6)])
    return {"type": "Polygon", "coordinates": [corners]}


def _degrees(east_m: Floats, north_m: Floats) -> tuple[Floats, Floats]:
    lat = LAT + north_m / METRES_A_DEGREE
    return lat, 13.40 + east_m / (METRES_A_DEGREE * math.cos(math.radians(LAT)))


async def _positions(connection: Any, valkey_url: str, city: City, stored: Stored) -> None:
    """Everybody at home now, written under the epoch that their slot has."""
    epochs = dict(await connection.fetch("SELECT slot, epoch FROM slots"))
    lat, lon = city.people.positions()
    t_ms = int(datetime.now(UTC).timestamp() * 1000)
    by_slot: dict[int, dict[str, Place]] = {slot: {} for slot in range(SLOTS)}
    for user, *at in zip(stored.people, lat.tolist(), lon.tolist(), strict=True):
        cell = cell_of(at[0], at[1], SHOWN_RESOLUTION)
        by_slot[slot_of("user", user)][user] = Place(at[0], at[1], ACCURACY_M, t_ms, 0, cell, None)
    valkey = open_valkey(valkey_url, patience_s=60.0)
    try:
        slots = [SlotPlaces(slot, epochs.get(slot, 0), places) for slot, places in by_slot.items() if places]
        for start in range(0, len(slots), 64):
            await save(valkey, slots[start : start + 64])
    finally:
        await valkey.aclose()


def numbered(stored: Stored) -> dict[str, int]:
    """Ids to numbers."""
    return {user: number for number, user in enumerate(stored.people)}


def picked(stored: Stored, numbers: Integers) -> list[str]:
    return [stored.people[number] for number in numbers.tolist()]
