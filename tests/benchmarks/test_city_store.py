"""A city's history in a database is what the engine's own transactions leave: counts, streams, states."""

from collections import defaultdict

import numpy as np

from benchmarks.city import City
from benchmarks.city_store import store
from matching.tally import PRIOR, Tally
from storage.decisions import read
from storage.offsets import Offset
from storage.placement import slot_of
from storage.positions import load_all, open_valkey


async def test_a_stored_city_keeps_the_engines_invariants(database_url, valkey_url, pool):
    city = City.made(150, seed=5)
    stored = await store(database_url, valkey_url, city, lambda _: None)
    async with pool.acquire() as connection:
        log = await read(connection, Offset(), 100_000)
        decided = city.history.decided
        number = {user: at for at, user in enumerate(stored.people)}
        assert [number[row.rater] for row in log] == decided.rater.tolist()
        assert [row.likes for row in log] == decided.likes.tolist()

        tallies = defaultdict(Tally)
        for row in log:  # as identity.feedback counts them
            tallies[row.ratee].got(row.likes, tallies[row.rater].give_rate(PRIOR))
            tallies[row.rater].gave(row.likes)
        rows = await connection.fetch("SELECT user_id::text, * FROM match_tallies")
        assert {row[0] for row in rows} == set(tallies)
        for row in rows:
            kept = tallies[row[0]]
            assert list(row)[2:6] == [kept.given, kept.given_yes, kept.received, kept.received_yes]
            assert np.isclose(row["surprise"], kept.surprise)

        count = connection.fetchval
        likes = {(row.rater, row.ratee) for row in log if row.likes}
        mutual = {(low, high) for low, high in likes if low < high and (high, low) in likes}
        matched = await connection.fetch(
            "SELECT low_id::text, high_id::text FROM connections WHERE state = 'matched'"
        )
        assert {tuple(row) for row in matched} == mutual
        assert await count(
            "SELECT count(*) FROM user_events WHERE body->>'type' = 'connection.matched'"
        ) == 2 * len(mutual)
        assert await count("SELECT count(*) FROM connections WHERE low_blocks OR high_blocks") == len(
            city.history.blocked[0]
        )
        assert not await count(
            "SELECT count(*) FROM user_streams s WHERE last_offset <> (SELECT count(*) FROM user_events e "
            "WHERE e.user_id = s.user_id AND e.stream = s.stream)"
        )
        assert not await count(
            "SELECT count(*) FROM rooms r WHERE last_offset <> (SELECT count(*) FROM messages m "
            "WHERE m.room_id = r.id)"
        )
        assert await count("SELECT count(*) FROM messages") == city.history.chats.messages.sum()
        assert await count("SELECT count(*) FROM fence_visits") == len(city.history.visits.person)
        assert not await count("SELECT count(*) FROM fence_streams WHERE inside <> 0")
        assert not await count(
            "SELECT count(*) FROM fence_streams s WHERE last_offset <> (SELECT count(*) FROM fence_events e "
            "WHERE e.fence_id = s.fence_id) OR 0 <> (SELECT inside FROM fence_events e "
            'WHERE e.fence_id = s.fence_id ORDER BY "offset" DESC LIMIT 1) '
            "OR EXISTS (SELECT 1 FROM fence_events e WHERE e.fence_id = s.fence_id AND e.inside < 0)"
        )
        ages = await connection.fetch(
            "SELECT extract(year FROM age(birth_date))::int AS age FROM users JOIN unnest($1::uuid[]) "
            "WITH ORDINALITY AS t (id, n) USING (id) ORDER BY n",
            stored.people,
        )
        assert [row["age"] for row in ages] == city.people.age.tolist()

    valkey = open_valkey(valkey_url)
    person = stored.people[7]
    place = (await load_all(valkey, [(slot_of("user", person), person)])).get(person)
    await valkey.aclose()
    assert place is not None
    assert place.lat == city.people.positions()[0][7]
