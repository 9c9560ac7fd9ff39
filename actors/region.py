"""A region (an H3 res-5 cell, or a res-6 child where it was split): who is in it. State and pure step.

It knows snapped places only, so no query can reach a true one (GEO-20), and it alone decides how coarse
strangers see its people, by all who are there (GEO-21). Shards with viewers near follow it: what changed
leaves on ticks, so within one nothing tells who came first.
"""

from collections import deque
from dataclasses import dataclass, field
from hashlib import blake2b

from actors import messages as wire
from actors.effects import Answer, Asker, Effect
from geo.cells import RES_SPLIT, Cell, children_of, parent_of, region_of, resolution_of
from geo.crowd import Crowd
from geo.privacy import coarse

POSITION_TTL_MS = 15 * 60_000
"""A place without a newer fix is not shown any longer, where no setting says otherwise."""

RATE_OVER_MS = 5_000
FOLLOW_MS = 30_000
"""A shard that does not ask again for so long is told no more."""

LEFT_MS = 30_000
CROWD_EVERY_MS = 60_000
LOG_TICKS = 128
LOG_ROWS = 5_000
"""Changed rows that are remembered for shards that missed some; who missed more is told all."""


@dataclass(slots=True)
class RegionState:
    """Who is here, by user."""

    region: str
    k: int
    position_ttl_ms: int = POSITION_TTL_MS
    epoch: str = ""
    """New with each activation that starts from the snapshot."""
    places: dict[str, wire.RegionEnter] = field(default_factory=dict)
    crowd: Crowd = field(default_factory=lambda: Crowd(1))
    changed: set[str] = field(default_factory=set)
    """Whose rows may be others than were told."""
    gone: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Who left since the last tick: stamp, and whether they moved."""
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Who left in the last seconds: stamp, and when. What is older than that comes too late."""
    told: dict[str, wire.RegionRow] = field(default_factory=dict)
    version: int = 0
    """Of what was told: rises with each tick that changes something."""
    log: deque[wire.RegionNews] = field(default_factory=deque)
    followers: dict[int, int] = field(default_factory=dict)
    """Shard → until when."""
    entered: int = 0
    """Announcements since `counted_at_ms`."""
    counted_at_ms: int = 0
    split_at_ms: int = 0
    """Its children stand in for it since then: it passes on to them whatever it knows or hears."""
    crowd_at_ms: int = 0
    unsaved: set[str] = field(default_factory=set)
    """Whose rows the snapshot does not have yet, as they are now."""

    @property
    def is_idle(self) -> bool:
        """Nobody is here and nobody follows."""
        return not self.places and not self.followers

    @property
    def is_due(self) -> bool:
        """Whether a tick has something to do."""
        return bool(
            self.changed
            or self.gone
            or self.unsaved
            or (self.split_at_ms and (self.places or self.crowd.seen))
        )


def step(state: RegionState, message: wire.Request, asker: Asker, now_ms: int) -> list[Effect]:
    """One message to the region. What it changes is told at the next `tick`."""
    if isinstance(message, wire.RegionEnter):
        _enter(state, message, now_ms)
    elif isinstance(message, wire.RegionLeave):
        known = state.places.get(message.user)
        if known is not None and known.stamp <= message.stamp:
            _forget(state, message.user)
        if known is None or known.stamp <= message.stamp:
            state.gone[message.user] = (message.stamp, message.moved)
            state.left[message.user] = (message.stamp, now_ms)
    elif isinstance(message, wire.RegionCrowd):
        for opened in state.crowd.join({Cell(cell): people for cell, people in message.seen.items()}):
            _recount(state, opened)
    elif isinstance(message, wire.RegionFollow):
        state.followers[message.shard] = now_ms + FOLLOW_MS
        return [Answer(asker, news_since(state, message.epoch, message.version))]
    return [Answer(asker, {})]


def _enter(state: RegionState, message: wire.RegionEnter, now_ms: int) -> None:
    state.entered += 1
    known = state.places.get(message.user)
    if message.stamp < max(known.stamp if known is not None else 0, state.left.get(message.user, (0, 0))[0]):
        return
    if message.online is None and known is not None:
        message.online = known.online
    place(state, message)
    if not message.counts:
        return
    for opened in state.crowd.note(_number(message.user), Cell(message.cell), now_ms):
        _recount(state, opened)


def place(state: RegionState, message: wire.RegionEnter) -> None:
    """Somebody is here."""
    state.places[message.user] = message
    if state.gone.pop(message.user, None) is not None:
        state.told.pop(message.user, None)  # another region may have told of them meanwhile
    state.changed.add(message.user)
    state.unsaved.add(message.user)


def news_since(state: RegionState, epoch: str, version: int) -> wire.RegionNews:
    """What was told after (epoch, version); all that is told where that is not known any more."""
    if epoch != state.epoch or not state.version - len(state.log) <= version <= state.version:
        return _news(state, list(state.told.values()), [], since=-1)
    rows: dict[str, wire.RegionRow] = {}
    gone: dict[str, tuple[str, int, bool]] = {}
    for each in state.log:
        if each.version > version:
            for row in each.rows:
                rows[row.user] = row
                gone.pop(row.user, None)
            for left in each.gone:
                gone[left[0]] = left
                rows.pop(left[0], None)
    return _news(state, list(rows.values()), list(gone.values()), since=version)


def _news(
    state: RegionState, rows: list[wire.RegionRow], gone: list[tuple[str, int, bool]], since: int
) -> wire.RegionNews:
    return wire.RegionNews(state.region, state.epoch, state.version, rows, gone, since)


def is_too_much(state: RegionState, now_ms: int, users: int, updates_per_s: float) -> bool:
    """Whether the region has more than so many users, or had more updates over the last 5 s (ACT-10)."""
    passed_ms = now_ms - state.counted_at_ms
    if passed_ms < RATE_OVER_MS:
        return len(state.places) > users
    rate = state.entered * 1000 / passed_ms if state.counted_at_ms else 0.0
    state.entered, state.counted_at_ms = 0, now_ms
    return rate > updates_per_s or len(state.places) > users


def tick(state: RegionState) -> tuple[wire.RegionNews | None, list[wire.Request]]:
    """What those who follow are to be told since the last tick, and what goes to the region's children.

    Rows leave in the order of their users: nothing in it tells who came first.
    """
    passed_on = _passed_on(state) if state.split_at_ms else []
    rows = []
    for user in sorted(state.changed):
        at = state.places.get(user)
        if at is not None and _differs(row := _row(state, at), state.told.get(user)):
            state.told[user] = row
            rows.append(row)
    state.changed.clear()
    gone = [(user, *state.gone[user]) for user in sorted(state.gone)]
    for user in state.gone:
        state.told.pop(user, None)
    state.gone.clear()
    if not rows and not gone:
        return None, passed_on
    state.version += 1
    news = _news(state, rows, gone, since=state.version - 1)
    state.log.append(news)
    while len(state.log) > LOG_TICKS or sum(len(each.rows) + len(each.gone) for each in state.log) > LOG_ROWS:
        state.log.popleft()
    return news, passed_on


def expire(state: RegionState, now_ms: int) -> None:
    """Once a second: whose place is too old, who follows no more, which cells have too few people by now."""
    for user, at in list(state.places.items()):
        if now_ms - at.t_ms > state.position_ttl_ms:
            _forget(state, user)
            state.gone[user] = (at.stamp, False)
    for user in [user for user, (_, at_ms) in state.left.items() if now_ms - at_ms > LEFT_MS]:
        del state.left[user]
    for shard in [shard for shard, until_ms in state.followers.items() if until_ms < now_ms]:
        del state.followers[shard]
    if now_ms - state.crowd_at_ms >= CROWD_EVERY_MS:
        state.crowd_at_ms = now_ms
        for closed in state.crowd.expire(now_ms):
            _recount(state, closed)


def child_of(message: wire.RegionEnter) -> Cell:
    """The child region that somebody of a split region belongs to."""
    cell = Cell(message.cell)
    if resolution_of(cell) >= RES_SPLIT:
        return parent_of(cell, RES_SPLIT)
    centre = coarse(cell)
    return region_of(centre.lat, centre.lon, {cell})


def _passed_on(state: RegionState) -> list[wire.Request]:
    """A region that is split keeps nobody: its children have them, as they were announced."""
    enters: list[wire.Request] = []
    if state.crowd.seen:
        for child in children_of(Cell(state.region)):
            seen = state.crowd.under(child)
            if seen:
                enters.append(
                    wire.RegionCrowd(0, child, {str(cell): people for cell, people in seen.items()})
                )
        state.crowd.forget()
    for user, at in list(state.places.items()):
        enters.append(
            wire.RegionEnter(
                0,
                child_of(at),
                user,
                at.cell,
                at.audience,
                at.precision,
                at.t_ms,
                at.online,
                at.fine,
                at.stamp,
            )
        )
        _forget(state, user)
        state.gone[user] = (at.stamp, True)
    return enters


def _forget(state: RegionState, user: str) -> None:
    if state.places.pop(user, None) is not None:
        state.unsaved.add(user)


def _row(state: RegionState, at: wire.RegionEnter) -> wire.RegionRow:
    shown = state.crowd.shown(Cell(at.cell))
    return wire.RegionRow(
        at.user, at.fine or at.cell, shown or "", at.audience, at.precision, bool(at.online), at.stamp
    )


def _differs(row: wire.RegionRow, told: wire.RegionRow | None) -> bool:
    """A place that was only announced again is no news."""
    return told is None or (row.cell, row.open, row.audience, row.precision, row.online) != (
        told.cell,
        told.open,
        told.audience,
        told.precision,
        told.online,
    )


def _recount(state: RegionState, cell: Cell) -> None:
    """A cell opened or closed: everybody in it may be shown in another one."""
    res = resolution_of(cell)
    for user, at in state.places.items():
        own = Cell(at.cell)
        if resolution_of(own) >= res and parent_of(own, res) == cell:
            state.changed.add(user)


def _number(user: str) -> int:
    """A person as a number of eight bytes: the crowd of a day needs no names."""
    return int.from_bytes(blake2b(user.encode(), digest_size=8).digest(), "little") >> 1
