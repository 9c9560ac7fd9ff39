"""Rows of stays: the old ones go, the places and what goes on stay."""

from datetime import UTC, datetime, timedelta

from storage.ids import new_id
from storage.places import (
    RETENTION,
    PlaceRow,
    StayRow,
    forget_old,
    places_of,
    put_places,
    put_stays,
    stays_of,
)

NOW = datetime(2026, 11, 26, tzinfo=UTC)


async def test_stays_are_forgotten_after_their_retention_and_places_are_not(pool):
    user, place = new_id(), new_id()
    ages = {timedelta(days=1): True, RETENTION: True, RETENTION + timedelta(seconds=1): True,
            RETENTION + timedelta(days=9): False}  # fmt: skip
    since = {age: round((NOW - age).timestamp() * 1_000) for age in ages}
    async with pool.acquire() as connection:
        await put_places(connection, [PlaceRow(place, user, b"sealed")])
        await put_stays(connection, [StayRow(user, since[age], ages[age], place, b"sealed") for age in ages])
        await forget_old(connection, NOW)
        left = {row.since_ms for row in await stays_of(connection, user)}
        assert left == {at_ms for age, at_ms in since.items() if age <= RETENTION or not ages[age]}
        assert [row.place for row in await places_of(connection, [user])] == [place]
