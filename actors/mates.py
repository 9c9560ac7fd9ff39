"""Matches near each other, among the people of one shard and with those of others (GEO-10).

A pair is decided in one place: the shard of the lower id. The other side's shard reports where the higher id
is, in one message per (shard, tick), and only what leaves the circle that it was granted (geo/friends.py).
Who does not show themselves to matches is not reported at all. What is decided is stored once, in the order
of each lower id, fenced by its slot (storage/near_episodes.py).
"""

import logging
from collections import OrderedDict, defaultdict

import numpy as np

from actors import messages as wire
from actors.activation import Activation
from actors.episode_writing import EpisodeWriting
from actors.episodes import APART, GONE, SILENT, decided, is_trusted, look_again_ms, shows_to_matches
from actors.gathering import Gathered
from actors.host import Hosting
from actors.mate_table import MateTable
from actors.moves import Moves
from actors.person import UserState
from actors.placement import slot_of
from geo.distance import Floats
from geo.friends import Changes, Rows
from storage import near_episodes as table
from storage.near_episodes import Episode

log = logging.getLogger("hereabouts.user")

_RETRY_S = 0.5
_LEAST_GRANT_M = 5.0
SWEEP_MS = 1_000
_UNKNOWN_M = -1.0


class MateHost:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._table = MateTable()
        self._people: dict[str, Activation] = {}
        """Those of this shard who have matches."""
        self._highs: dict[str, frozenset[str]] = {}
        """Lower id → with whom it has edges."""
        self._holders: dict[str, int] = defaultdict(int)
        """User → edges that hold its row."""
        self._posts: dict[str, dict[int, float]] = {}
        """Higher id → the shards that decide for it, and what each has granted; negative: nothing yet."""
        self._numbers: dict[str, int] = defaultdict(int)
        """Higher id → the number of its last report."""
        self._distrusted: set[str] = set()
        """Of other shards."""
        self._heard: OrderedDict[str, int] = OrderedDict()
        """Of other shards: when a report came; and those of whom another one was asked for, and when."""
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._swept_at_ms = 0
        self._outbox: dict[int, wire.Mates] = {}
        self._writing = EpisodeWriting(shard)
        self._episodes: Gathered[str, dict[str, Episode]] = Gathered(shard.spawn, self._read_episodes)

    # -- people ---------------------------------------------------------------------------------------

    async def load(self, state: UserState) -> None:
        """Reads the episodes of somebody who is loaded anew."""
        if state.record.matched or state.record.blocked:
            state.episodes.newest = await self._episodes.get(state.user) or {}

    async def _read_episodes(self, users: list[str]) -> dict[str, dict[str, Episode]]:
        async with self._shard.pool.acquire() as connection:
            return await table.load_episodes(connection, users)

    def review(self, activation: Activation) -> None:
        """The person's state is here, or something changed in it: matches, blocks, visibility, a position."""
        state: UserState = activation.state
        user, matched = activation.key, state.record.matched
        if not matched and user not in self._people:
            return
        self._people[user] = activation
        row = self._table.row_of(user)
        self._link(activation, frozenset(other for other in matched if other > user))
        here = self._shard.config.shard
        shards = {self._shard_of(other) for other in matched if other < user} - {here}
        before = self._posts.get(user, {})
        for shard in before.keys() - shards:
            self._to(shard).gone.append(user)
        self._posts[user] = {shard: before.get(shard, _UNKNOWN_M) for shard in shards}
        if shows_to_matches(state, self._shard.now_ms()):
            self._show(activation, row, is_news=not shards <= before.keys())
        else:
            self._hide(user, row, {*shards} if self._table.is_shown[row] else shards - before.keys())
        self._flush()

    def forget(self, user: str) -> None:
        """The person's state is not here any more: another shard decides, or nobody."""
        if self._people.pop(user, None) is None:
            return
        self._unlink(user, self._highs.pop(user, frozenset()))
        self._posts.pop(user, None)
        row = self._table.rows[user]
        self._table.is_shown[row] = False
        self._lose(user, row)
        self._let_go(user)

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: what time alone changes."""
        if now_ms - self._swept_at_ms >= SWEEP_MS:
            self._swept_at_ms = now_ms
            self._sweep(now_ms, self._shard.config.position_ttl_ms)
        state: UserState = activation.state
        episodes = state.episodes
        if not episodes.due and not episodes.lost:
            return
        for other in [other for other, due_ms in episodes.due.items() if now_ms >= due_ms]:
            self._look(activation, other)
        for other in [o for o, since in episodes.lost.items() if now_ms - since > state.position_ttl_ms]:
            del episodes.lost[other]
            self._decide(activation, other, is_near=False, reason=GONE)

    def _sweep(self, now_ms: int, position_ttl_ms: int) -> None:
        """Whose position is too old is nowhere. Where somebody of another shard is must be heard again within
        half of what a position lives: news that they are gone may have been lost.
        """
        for user in self._table.aged(now_ms - position_ttl_ms):
            self.review(self._people[user])
        while self._heard and now_ms - next(iter(self._heard.values())) > position_ttl_ms / 2:
            user, _ = self._heard.popitem(last=False)
            if user in self._table.rows and user not in self._people:
                self._asked[user] = now_ms
                self._to(self._shard_of(user)).wanted.append(user)
        while self._asked and now_ms - next(iter(self._asked.values())) > position_ttl_ms / 2:
            user, _ = self._asked.popitem(last=False)
            if user in self._table.rows and user not in self._people:
                self._vanish(user, self._table.rows[user])
        self._flush()

    async def remind(self, activation: Activation, other: str, _: str) -> None:
        """An episode that nothing has ended may have lost its people."""
        state: UserState = activation.state
        if not state.episodes.is_near(other):
            return
        if not shows_to_matches(state, self._shard.now_ms()):
            self.review(activation)
            self._decide(activation, other, is_near=False, reason=GONE)
        if state.episodes.is_near(other):
            due_ms = self._shard.now_ms() + look_again_ms(state)
            await self._shard.reminders.set("user", activation.key, f"near:{other}", due_ms)

    def is_quiet(self, user: str) -> bool:
        """Whether all that was decided for this person is stored."""
        return self._writing.is_done(user)

    # -- positions ------------------------------------------------------------------------------------

    def follow(self, moves: Moves, now_ms: int) -> None:
        """A tick's fixes; of a person the last one counts."""
        rows_of = self._table.rows
        if not rows_of:
            return
        rows: Rows = np.fromiter(
            (rows_of.get(each.key, -1) for each in moves.activations), np.int32, len(moves)
        )
        known = np.flatnonzero(rows >= 0)
        rows = rows[known]
        shown = self._table.is_shown[rows]
        for index in known[~shown].tolist():
            activation = moves.activations[index]
            if shows_to_matches(activation.state, now_ms):
                self.review(activation)
        known, rows = known[shown], rows[shown]
        if rows.size:
            _, last = np.unique(rows[::-1], return_index=True)
            last = rows.size - 1 - last
            known, rows = known[last], rows[last]
            self._table.times_ms[rows] = moves.times_ms()[known]
            self._move(rows, moves.lats()[known], moves.lons()[known])
        self._flush()

    def _move(self, rows: Rows, lats: Floats, lons: Floats) -> None:
        self._changed(self._table.friends.move(rows, lats, lons))
        for index in np.flatnonzero(self._table.leaving(rows, lats, lons)).tolist():
            user = self._table.users[int(rows[index])]
            self._report(self._people[user], float(lats[index]), float(lons[index]))

    def _show(self, activation: Activation, row: int, *, is_news: bool) -> None:
        """The person shows themselves to matches, here."""
        last = activation.state.last
        self._table.times_ms[row] = last.t_ms
        if self._table.is_shown[row] and not is_news:
            return
        self._table.is_shown[row] = True
        self._found(activation.key)
        self._report(activation, last.lat, last.lon)
        self._changed(
            self._table.friends.move(np.array([row], np.int32), np.array([last.lat]), np.array([last.lon]))
        )

    def _hide(self, user: str, row: int, shards: set[int]) -> None:
        """The person does not, any more or for the time being: `shards` are to know."""
        self._table.is_shown[row] = False
        for shard in shards:
            self._to(shard).gone.append(user)
        self._vanish(user, row)

    def _vanish(self, user: str, row: int) -> None:
        """Nobody is near to somebody who is nowhere, or hidden."""
        friends = self._table.friends
        friends.part(row)
        for other in friends.known_by(row):
            low, high = sorted((user, self._table.users[other]))
            activation = self._people.get(low)
            if activation is not None and activation.state.episodes.is_near(high):
                self._decide(activation, high, is_near=False, reason=GONE)

    # -- pairs ----------------------------------------------------------------------------------------

    def _link(self, activation: Activation, highs: frozenset[str]) -> None:
        """The lower id decides for pairs with just these."""
        low, state, before = activation.key, activation.state, self._highs.get(activation.key, frozenset())
        self._unlink(low, before - highs)
        near = {other for other, episode in state.episodes.newest.items() if episode.is_near}
        for other in near - highs:
            self._decide(activation, other, is_near=False, reason=GONE)
        for high in highs - before:
            row = self._table.row_of(high)
            self._holders[high] += 1
            self._table.friends.link(self._table.row_of(low), row, inside=high in near)
            if high not in self._people and self._shard_of(high) != self._shard.config.shard:
                self._to(self._shard_of(high)).wanted.append(high)
            if high in near and not self._table.friends.is_placed(row):
                state.episodes.lost[high] = self._shard.now_ms()
        self._highs[low] = highs

    def _unlink(self, low: str, highs: frozenset[str]) -> None:
        for high in highs:
            self._table.friends.unlink(self._table.rows[low], self._table.rows[high])
            self._holders[high] -= 1
            self._let_go(high)

    def _let_go(self, user: str) -> None:
        """The row goes with the last that holds it."""
        if user not in self._people and not self._holders.get(user) and user in self._table.rows:
            self._holders.pop(user, None)
            self._distrusted.discard(user)
            self._heard.pop(user, None)
            self._asked.pop(user, None)
            self._table.drop(user)

    def _changed(self, changes: Changes) -> None:
        users = self._table.users
        for pairs, is_near in ((changes.entered, True), (changes.left, False)):
            for one, other in pairs.tolist():
                low, high = sorted((users[one], users[other]))
                if low in self._people:
                    self._decide(self._people[low], high, is_near=is_near, reason=APART)
        for row in changes.recalled.tolist():
            self._to(self._shard_of(users[row])).wanted.append(users[row])

    def _look(self, activation: Activation, other: str) -> None:
        """The minute is over: what is so now?"""
        rows, friends = self._table.rows, self._table.friends
        placed = other in rows and friends.is_placed(rows[other]) and friends.is_placed(rows[activation.key])
        is_near = placed and friends.is_inside(rows[activation.key], rows[other])
        self._decide(activation, other, is_near=is_near, reason=APART if placed else GONE)

    def _decide(self, activation: Activation, high: str, *, is_near: bool, reason: str) -> None:
        state, now_ms = activation.state, self._shard.now_ms()
        if high in state.record.blocked:
            reason = SILENT
        own = self._people.get(high)
        trusted = high not in self._distrusted if own is None else is_trusted(own.state)
        change = decided(state, high, is_near, reason, (is_trusted(state), trusted), now_ms)
        if change is None:
            return
        self._writing.put(activation, change)

    # -- other shards ---------------------------------------------------------------------------------

    def received(self, message: wire.Mates) -> None:
        """What another shard says."""
        rows_of = self._table.rows
        for user in message.gone:
            if user in rows_of and user not in self._people:
                self._vanish(user, rows_of[user])
        self._took(message)
        for grant in message.grants:
            self._granted(message.shard, grant)
        for user in message.wanted:
            activation = self._people.get(user)
            if activation is None:
                continue  # they may come yet
            if not self._table.is_shown[rows_of[user]]:
                self._to(message.shard).gone.append(user)
                continue
            self._posts[user].setdefault(message.shard, _UNKNOWN_M)
            self._report(activation, activation.state.last.lat, activation.state.last.lon)
        self._flush()

    def _took(self, message: wire.Mates) -> None:
        """Reports: decides with them, and says how far each may be from there without another one."""
        friends, rows_of = self._table.friends, self._table.rows
        moved = [each for each in message.moved if each.user in rows_of and each.user not in self._people]
        now_ms = self._shard.now_ms()
        for each in moved:
            self._found(each.user)
            self._asked.pop(each.user, None)
            self._heard[each.user] = now_ms
            self._heard.move_to_end(each.user)
            if each.trusted:
                self._distrusted.discard(each.user)
            else:
                self._distrusted.add(each.user)
        if moved:
            rows = np.array([rows_of[each.user] for each in moved], np.int32)
            lats, lons = np.array([each.lat for each in moved]), np.array([each.lon for each in moved])
            self._changed(friends.move(rows, lats, lons, remote=True))
        for each in message.moved:
            row = rows_of.get(each.user)
            free_m = np.inf if row is None else float(friends.free_m[row])
            if free_m >= _LEAST_GRANT_M:
                self._to(message.shard).grants.append(wire.MateGrant(each.user, each.number, free_m))
            elif row is not None:
                friends.free_m[row] = _UNKNOWN_M

    def slots_moved(self, slots: set[int]) -> None:
        """These slots begin anew somewhere: nothing is known there, nor of there."""
        for user, row in list(self._table.rows.items()):
            if user not in self._people and slot_of("user", user) in slots:
                self._lose(user, row)
                shard = self._shard_of(user)
                if shard != self._shard.config.shard:
                    self._to(shard).wanted.append(user)
        for user, activation in list(self._people.items()):
            if any(
                other < user and slot_of("user", other) in slots for other in activation.state.record.matched
            ):
                self._posts[user] = {}
                self.review(activation)
        self._flush()

    def _lose(self, user: str, row: int) -> None:
        """It is not known where somebody is, for the time being."""
        friends, now_ms = self._table.friends, self._shard.now_ms()
        friends.forget(row)
        for other in friends.known_by(row):
            low = self._people.get(self._table.users[other])
            if low is not None and low.state.episodes.is_near(user):
                low.state.episodes.lost.setdefault(user, now_ms)

    def _found(self, user: str) -> None:
        """It is known again where somebody is who was lost."""
        for other in self._table.friends.known_by(self._table.rows[user]):
            low = self._people.get(self._table.users[other])
            if low is not None:
                low.state.episodes.lost.pop(user, None)

    def _report(self, activation: Activation, lat: float, lon: float) -> None:
        """To all shards that decide for this person."""
        user = activation.key
        if not self._posts[user]:
            self._table.grant(self._table.rows[user], np.inf)
            return
        self._numbers[user] = number = self._numbers[user] + 1
        trusted = is_trusted(activation.state)
        posts = self._posts[user]
        for shard in posts:
            posts[shard] = _UNKNOWN_M
            self._to(shard).moved.append(wire.MateRow(user, lat, lon, number, trusted))
        self._table.reported(self._table.rows[user], lat, lon)

    def _granted(self, shard: int, grant: wire.MateGrant) -> None:
        posts = self._posts.get(grant.user)
        if posts is None or shard not in posts or self._numbers[grant.user] != grant.number:
            return
        posts[shard] = grant.free_m
        if min(posts.values()) > 0:
            self._table.grant(self._table.rows[grant.user], min(posts.values()))

    def _shard_of(self, user: str) -> int:
        return self._shard.router.shard_of(slot_of("user", user))

    def _to(self, shard: int) -> wire.Mates:
        if shard not in self._outbox:
            self._outbox[shard] = wire.Mates(self._shard.config.shard, [], [], [], [])
        return self._outbox[shard]

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, {}
        for shard, message in outbox.items():
            if shard != self._shard.config.shard:
                self._shard.router.tell(shard, message)
