"""A person's own places: written as their stays come, sealed at rest, opened for nobody else (GEO-19)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from geo.places import Place, Staying, came, home_and_work, place_of, went
from geo.stays import Stay, Turn
from identity.seals import Seal
from storage import places as rows
from storage.ids import PlaceId, new_id
from storage.places import PlaceRow, StayRow

PLACES_MOST = 300
"""Of one person; past it the one that was last visited longest ago is forgotten, of those without a label."""

_place = msgspec.msgpack.Decoder(Place)
_stay = msgspec.msgpack.Decoder(Stay)
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class StayChange:
    """A stay of a person began, went on or ended."""

    user: str
    turn: Turn
    stay: Stay


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """A place as its person may see it; `stay` is the one that goes on there now."""

    id: PlaceId
    place: Place
    stay: Stay | None
    kind: str | None


@dataclass(slots=True)
class _Known:
    """What a batch starts from, and what it changes."""

    places: dict[str, dict[str, Place]] = field(default_factory=lambda: defaultdict(dict))
    stays: dict[tuple[str, int], tuple[str, Stay, bool]] = field(default_factory=dict)
    """(user, since) → place, stay, is over."""
    changed_places: dict[str, str] = field(default_factory=dict)
    """Place → user."""
    changed_stays: set[tuple[str, int]] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)


class PlaceBook:
    """Reads and writes them. `seal` is made of the key for places."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    async def record(self, connection: Any, changes: Sequence[StayChange]) -> None:
        """Stores changes of several people in the caller's transaction, each person's in order, each once: a
        stay is named by who and since when. One that ended and is not stored was removed by its person.
        """
        users = sorted({change.user for change in changes})
        await rows.lock(connection, users)
        known = _Known()
        for place in await rows.places_of(connection, users):
            known.places[place.user][place.place] = self._opened(place)
        named = [(change.user, change.stay.since_ms) for change in changes]
        for row in (
            *await rows.open_stays(connection, users),
            *await rows.stays_at(connection, named),
        ):
            known.stays[row.user, row.since_ms] = (row.place, self._opened_stay(row), row.is_over)
        for change in changes:
            _apply(known, change)
        await self._store(connection, known)

    async def _store(self, connection: Any, known: _Known) -> None:
        places = [
            PlaceRow(id_, user, self._sealed(id_, known.places[user][id_]))
            for id_, user in known.changed_places.items()
            if id_ not in known.removed
        ]
        stays = []
        for user, since_ms in known.changed_stays:
            place, stay, is_over = known.stays[user, since_ms]
            if place not in known.removed:
                sealed = self._seal.close("stays", f"{user}|{since_ms}", _encoder.encode(stay))
                stays.append(StayRow(user, since_ms, is_over, place, sealed))
        if known.removed:  # first: a stay that ended there is still an open one in the table
            await rows.remove_places(connection, known.removed)
        await rows.put_places(connection, places)
        await rows.put_stays(connection, stays)

    def opened(self, row: StayRow) -> Stay:
        """A stay, as it was stored last. Raises SealBrokenError."""
        return self._opened_stay(row)

    async def read(
        self, connection: Any, user: str, *, infers: bool, offset_ms: int | None = None
    ) -> list[OwnPlace]:
        """A person's places, the last visited first; `infers`: also which are home and work (opt-in)."""
        found = await rows.places_of(connection, [user])
        stays = await (rows.stays_of(connection, user) if infers else rows.open_stays(connection, [user]))
        numbers = {row.place: number for number, row in enumerate(found)}
        places = [self._opened(row) for row in found]
        held = [
            (numbers[row.place], self._opened_stay(row), row.is_over) for row in stays if row.place in numbers
        ]
        kinds: dict[int | None, str] = {}
        if infers:
            hours = [Staying(place, stay.since_ms, stay.last_ms) for place, stay, _ in held]
            home, work = home_and_work(places, hours, offset_ms)
            kinds = {work: "work", home: "home"}
        going_on = {place: stay for place, stay, is_over in held if not is_over}
        own = [
            OwnPlace(PlaceId(id_), places[number], going_on.get(number), kinds.get(number))
            for id_, number in numbers.items()
        ]
        return sorted(own, key=lambda each: each.place.last_ms, reverse=True)

    async def label(self, connection: Any, user: str, place: str, label: str) -> bool:
        """Names a place, in the caller's transaction; False if it is not there, or not theirs."""
        await rows.lock(connection, [user])
        row = await rows.load_place(connection, user, place)
        if row is None:
            return False
        named = msgspec.structs.replace(self._opened(row), label=label)
        await rows.put_places(connection, [PlaceRow(place, user, self._sealed(place, named))])
        return True

    async def remove(self, connection: Any, user: str, place: str) -> bool:
        """Forgets a place and the stays there, in the caller's transaction; False as in `label`."""
        await rows.lock(connection, [user])
        if await rows.load_place(connection, user, place) is None:
            return False
        await rows.remove_places(connection, [place])
        return True

    async def erase(self, connection: Any, user: str) -> int:
        """Forgets all of them, in the caller's transaction; how many that were."""
        await rows.lock(connection, [user])
        return await rows.erase(connection, user)

    def _sealed(self, id_: str, place: Place) -> bytes:
        return self._seal.close("places", id_, _encoder.encode(place))

    def _opened(self, row: PlaceRow) -> Place:
        return _place.decode(self._seal.open("places", row.place, row.sealed))

    def _opened_stay(self, row: StayRow) -> Stay:
        return _stay.decode(self._seal.open("stays", f"{row.user}|{row.since_ms}", row.sealed))


def _apply(known: _Known, change: StayChange) -> None:
    user, stay = change.user, change.stay
    at = (user, stay.since_ms)
    if change.turn is Turn.BEGAN:
        if at not in known.stays:
            # The end of one before was lost with a shard: it lasted as long as is known.
            for other in [
                key for key, (_, _, is_over) in known.stays.items() if key[0] == user and not is_over
            ]:
                _end(known, other, known.stays[other][1])
            _begin(known, at, stay)
    elif at in known.stays and not known.stays[at][2]:
        if change.turn is Turn.ENDED:
            _end(known, at, stay)
        else:
            known.stays[at] = (known.stays[at][0], stay, False)
            known.changed_stays.add(at)


def _begin(known: _Known, at: tuple[str, int], stay: Stay) -> None:
    user = at[0]
    own = known.places[user]
    ids = list(own)
    number = place_of(list(own.values()), stay)
    id_ = new_id() if number is None else ids[number]
    own[id_] = came(own.get(id_), stay)
    known.changed_places[id_] = user
    known.stays[at] = (id_, stay, False)
    known.changed_stays.add(at)
    if len(own) > PLACES_MOST:
        coldest = min(
            (each for each in own if each != id_), key=lambda e: (bool(own[e].label), own[e].last_ms)
        )
        del own[coldest]
        known.removed.add(coldest)


def _end(known: _Known, at: tuple[str, int], stay: Stay) -> None:
    id_ = known.stays[at][0]
    own = known.places[at[0]]
    if id_ in own:
        own[id_] = went(own[id_], stay)
        known.changed_places[id_] = at[0]
    known.stays[at] = (id_, stay, True)
    known.changed_stays.add(at)
