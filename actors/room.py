"""A room: the order of its publications, who hears them, who is there. State and pure step (ACT-7).

The state is updated in place (docs/decisions): a step reads no clock, does no I/O and returns what is to
be done. Offsets are assigned when the shard commits a tick (`assign`), published when it has (`committed`).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import attendance as who
from actors import messages as wire
from actors import reading, room_reading
from actors.attendance import Attendance
from actors.effects import NOBODY, Answer, Asker, Draft, Effect, Fan, ReadHistory, Refuse, Rejection
from actors.placement import slot_of
from actors.presence import Diff
from actors.protocol import RECOVERY_LIMIT, ErrorCode
from actors.reading import ReadState
from actors.stream import Publication, Stream
from storage.readings import REFUSED_OFFSET

BODY_LIMIT_BYTES = 8 * 1024
CIDS_IN_MEMORY = 2_000
MEMORY_CID_MS = 10 * 60 * 1000
"""How long an in-memory room remembers a cid (docs/protocol.md §2)."""

_NOBODY_HIDDEN: frozenset[str] = frozenset()


@dataclass(slots=True)
class Ack:
    """What a publication's sender is told."""

    offset: int
    t_ms: int
    id: str

    def wire(self, *, dup: bool) -> dict[str, Any]:
        """The `pub` reply."""
        return {"o": self.offset, "t": self.t_ms, "i": self.id, "dup": dup}


@dataclass(slots=True)
class RoomState:
    """One room's live state; rebuilt from Postgres and the gateways at each activation."""

    room: str
    durable: bool
    stream: Stream
    members: dict[str, str]
    blocked: dict[str, frozenset[str]] = field(default_factory=dict)
    """Member → the members with whom a block stands, either way."""
    assigned: int = 0
    acks: OrderedDict[tuple[str, str], Ack] = field(default_factory=OrderedDict)
    attendance: Attendance = field(default_factory=Attendance)
    slot: int = -1
    knows_all_cids: bool = False
    """Every cid of the log is in `acks`: a young room, or one in memory."""
    is_direct: bool = False
    """Between two people: a block ends what either says, as over HTTP."""
    starting_over: bool = False
    """A commit was refused, and what the log holds is not read yet: nothing can be assigned."""
    read: ReadState | None = None
    """Its messages are read; almost no room's are."""
    is_encrypted: bool = False
    """It is never read."""
    is_new: bool = False
    """In memory, and begun by this activation: nobody anywhere can go on from what they have."""

    def __post_init__(self) -> None:
        self.slot = slot_of("room", self.room)

    def knows(self, draft: Draft) -> bool:
        """Whether this very sending is known to be a repetition."""
        return (draft.user, draft.cid) in self.acks

    def hears(self, user: str) -> bool:
        """Whether somebody may speak here, now."""
        return user in self.members and not (self.is_direct and user in self.blocked)

    @property
    def channel(self) -> str:
        """The room's stream channel."""
        return f"room:{self.room}"

    @property
    def presence_channel(self) -> str:
        """The room's presence channel."""
        return f"presence:room:{self.room}"

    @property
    def is_idle(self) -> bool:
        """Nobody hears it and nothing is on its way."""
        return self.attendance.is_empty and not (self.read is not None and self.read.is_waiting)


def step(  # noqa: PLR0911 - one line per kind of message
    state: RoomState, message: wire.Request, asker: Asker, gateway: str, now_ms: int
) -> list[Effect]:
    """One message to the room. `gateway` is the peer that sent it."""
    user = getattr(message, "user", "")
    if isinstance(message, wire.Unsubscribe | wire.RowsTold | wire.Vacant):
        return [*_heard_of(state, message, gateway, now_ms), Answer(asker, {})]
    if user not in state.members or _is_ended(state, user, message):
        return [Refuse(asker, ErrorCode.DENIED, "no such channel, or not yours")]
    if isinstance(message, wire.Publish):
        return _publish(state, message, asker, now_ms)
    if isinstance(message, wire.Subscribe):
        if message.ch == state.presence_channel:
            return _watch(state, message, asker, gateway)
        return _subscribe(state, message, asker, gateway)
    if isinstance(message, wire.Ephemeral):
        event = b'{"u":"%s","d":%s}' % (message.user.encode(), message.d)
        hide = list(state.blocked.get(user, ())) or None
        push = wire.PushEphemeral(state.channel, event, message.conn, hide)
        return [_fan(state, push), Answer(asker, {})]
    if isinstance(message, wire.History):
        return _history(state, message, asker)
    if isinstance(message, wire.SetTerms | wire.DynamicsQuery):
        return room_reading.asked(state, message, asker)
    if isinstance(message, wire.PresenceQuery):
        metas, count = state.attendance.people(state.blocked.get(user, _NOBODY_HIDDEN))
        return [Answer(asker, {"metas": metas, **count})]
    return [Refuse(asker, ErrorCode.NOT_AVAILABLE, "a room does not do this")]


def _is_ended(state: RoomState, user: str, message: wire.Request) -> bool:
    speaks = isinstance(message, wire.Publish | wire.Ephemeral)
    return speaks and state.is_direct and user in state.blocked


# -- publications ------------------------------------------------------------------------------------


def _publish(state: RoomState, message: wire.Publish, asker: Asker, now_ms: int) -> list[Effect]:
    if len(message.d) > BODY_LIMIT_BYTES:
        return [Refuse(asker, ErrorCode.LIMIT, f"a publication is at most {BODY_LIMIT_BYTES} bytes")]
    ack = message.ack or ("durable" if state.durable else "relay")
    draft = Draft(state.room, message.user, message.cid, message.d, ack, asker)
    if state.durable:
        if state.read is None or state.knows(draft):
            return [draft]
        return reading.publish(state.read, draft, state.hears)
    if ack == "durable":
        return [
            Refuse(asker, ErrorCode.NOT_AVAILABLE, "this room is kept in memory: ask for ack relay or none")
        ]
    _forget_old_cids(state, now_ms)
    effects, publication = assign(state, draft, None, now_ms, lambda: _memory_id(state))
    if publication is not None:
        effects += committed(state, [(publication, draft)])
    return effects


def _memory_id(state: RoomState) -> str:
    return f"{state.stream.epoch}-{state.assigned + 1}"


def _forget_old_cids(state: RoomState, now_ms: int) -> None:
    while state.acks:
        key, ack = next(iter(state.acks.items()))
        if now_ms - ack.t_ms < MEMORY_CID_MS:
            return
        del state.acks[key]


def assign(
    state: RoomState, draft: Draft, stored: Ack | None, now_ms: int, new_id: Callable[[], str]
) -> tuple[list[Effect], Publication | None]:
    """Gives a draft its offset, or finds that it had one. `stored` is what the log knows of its cid.

    A repeated sending whose first is in the same commit comes back with that one's offset and an empty `d`:
    it is answered with it, and not stored. One that is to be refused comes back with offset REFUSED_OFFSET.
    """
    key = (draft.user, draft.cid)
    known = stored or (state.acks.get(key) if draft.cid else None)
    if known is not None:
        if known.offset == REFUSED_OFFSET:
            return [reading.rejected(draft)], None
        # Its first sending may still be on its way to the log: a durable answer waits for that one.
        if draft.ack == "durable" and known.offset > state.stream.top:
            return [], Publication(known.offset, known.t_ms, known.id, draft.user, draft.cid, b"")
        return [Answer(draft.asker, known.wire(dup=True))], None
    if isinstance(draft.beside, Rejection):
        _remember(state, key, Ack(REFUSED_OFFSET, now_ms, ""))
        return [], Publication(REFUSED_OFFSET, now_ms, new_id(), draft.user, draft.cid, b"")
    state.assigned += 1
    ack = Ack(state.assigned, now_ms, new_id())
    if draft.cid:
        _remember(state, key, ack)
    effects: list[Effect] = []
    if draft.ack == "relay":
        effects.append(Answer(draft.asker, ack.wire(dup=False)))
    return effects, Publication(ack.offset, ack.t_ms, ack.id, draft.user, draft.cid, draft.d)


def _remember(state: RoomState, key: tuple[str, str], ack: Ack) -> None:
    state.acks[key] = ack
    if len(state.acks) > CIDS_IN_MEMORY:
        state.acks.popitem(last=False)
        state.knows_all_cids = False


def committed(state: RoomState, stored: list[tuple[Publication, Draft]]) -> list[Effect]:
    """The log holds these now: tell everybody. A publication with an offset that is known already is a
    repeated sending that waited for the first.
    """
    effects: list[Effect] = []
    for publication, draft in stored:
        if publication.offset == REFUSED_OFFSET:
            effects.append(reading.rejected(draft))
            continue
        dup = publication.offset <= state.stream.top
        if not dup:
            state.stream.append(publication)
            effects.append(_push(state, publication))
            if draft.beside is not None or state.read is not None:
                effects += room_reading.committed(state, publication, draft)
        if draft.ack == "durable":
            ack = Ack(publication.offset, publication.t_ms, publication.id)
            effects.append(Answer(draft.asker, ack.wire(dup=dup)))
        elif draft.ack == "none":
            effects.append(Answer(draft.asker, None))
    return effects


def _push(state: RoomState, said: Publication) -> Fan:
    """A publication to each gateway with subscribers (FAN-1)."""
    hide = list(state.blocked.get(said.user, ())) or None
    epoch = "" if state.durable else state.stream.epoch
    return _fan(state, wire.Push(state.channel, said.offset, said.wire(), said.user, said.cid, hide, epoch))


def _fan(state: RoomState, push: wire.Pushed) -> Fan:
    """To whoever hears the room. Of a stream that began here nobody can have been told: there is no miss."""
    there = state.attendance
    return Fan(there.hearing.gateways, push, -1 if state.is_new else state.slot, there.subs)


def restore(state: RoomState, stream: Stream) -> None:
    """Takes the log's newest part for the room's own: what comes next follows it."""
    state.stream = stream
    state.assigned = stream.top
    state.acks = OrderedDict(
        ((said.user, said.cid), Ack(said.offset, said.t_ms, said.id)) for said in stream.window if said.cid
    )
    state.knows_all_cids = len(stream.window) == stream.top


def uncommitted(state: RoomState, stream: Stream) -> list[Effect]:
    """The log moved without us or refused us: go on from what it holds. What it holds and nobody was told
    (a commit whose answer was cut off) is pushed now.
    """
    told = state.stream.top
    restore(state, stream)
    state.starting_over = False
    return [_push(state, said) for said in stream.window if said.offset > told]


# -- who hears it ------------------------------------------------------------------------------------


def _subscribe(state: RoomState, message: wire.Subscribe, asker: Asker, gateway: str) -> list[Effect]:
    if message.mode not in ("stream", "cache", "passive"):
        return [Refuse(asker, ErrorCode.BAD_REQUEST, "a room is a stream: mode stream, cache or passive")]
    diff = state.attendance.subscribe(gateway, message)
    if message.mode == "passive":
        top = state.stream.top
        result: dict[str, Any] = {
            "ch": message.ch, "mode": "passive", "epoch": state.stream.epoch, "offset": top, "pubs": [],
            "recovered": False, "was_recovering": False,
            "counts": {"subs": state.attendance.subs, "offset": top},
        }  # fmt: skip
        return [Answer(asker, result)]
    result = state.stream.subscribed(
        message.user,
        epoch=message.epoch,
        offset=message.offset,
        limit=message.limit,
        hidden=state.blocked.get(message.user, _NOBODY_HIDDEN),
        wanted=message.filter,
        mode=message.mode,
    )
    result |= {"ch": message.ch}
    return [Answer(asker, result), *_announce(state, [diff] if diff else [])]


def _watch(state: RoomState, message: wire.Subscribe, asker: Asker, gateway: str) -> list[Effect]:
    state.attendance.watchers.add(gateway, message)
    metas, count = state.attendance.people(state.blocked.get(message.user, _NOBODY_HIDDEN))
    result = {
        "ch": message.ch, "mode": "map", "epoch": state.stream.epoch, "offset": 0, "recovered": False,
        "was_recovering": message.epoch != "", "pubs": [], "state": metas, "phase": "live",
        "said": state.attendance.said,
    }  # fmt: skip
    return [Answer(asker, result | (count if state.attendance.is_sampled else {}))]


def _heard_of(
    state: RoomState, message: wire.Unsubscribe | wire.RowsTold | wire.Vacant, gateway: str, now_ms: int
) -> list[Effect]:
    """What a gateway says of its own sockets, whoever may be a member."""
    if isinstance(message, wire.RowsTold):
        state.attendance.told(gateway, message.settled, now_ms)
        return []
    if isinstance(message, wire.Vacant):
        state.attendance.vacant(message.ch, gateway, message.clock)
        return []
    if message.ch == state.presence_channel:
        state.attendance.watchers.remove(gateway, message)
        return []
    diff = state.attendance.unsubscribe(gateway, message, now_ms)
    return _announce(state, [diff] if diff else [])


def _announce(state: RoomState, diffs: list[Diff]) -> list[Effect]:
    return who.announced(state.attendance, state.presence_channel, state.slot, diffs, state.blocked)


def expire(state: RoomState, now_ms: int, is_dead: Callable[[str], bool]) -> list[Effect]:
    """Once a second: the leaves of those whose grace is over, and what the passive are told."""
    effects = who.counts(state.attendance, state.channel, state.slot, state.stream.top)
    effects += who.people_counted(state.attendance, state.presence_channel, state.slot)
    if state.attendance.presence.waits:
        effects += _announce(state, state.attendance.presence.expire(now_ms, is_dead))
    return effects


def membership_changed(
    state: RoomState, members: dict[str, str], blocked: dict[str, frozenset[str]]
) -> list[Effect]:
    """Postgres says who belongs here now. Who joined or left is told in the room's own log; who left hears
    no more, and newly blocked people leave each other's presence at once.
    """
    effects: list[Effect] = []
    joined = [user for user in members if user not in state.members]
    gone = [user for user in state.members if user not in members]
    for user, others in blocked.items():
        new = others - state.blocked.get(user, _NOBODY_HIDDEN)
        effects += who.vanished(state.attendance, state.presence_channel, state.slot, user, new)
    before, state.members, state.blocked = state.members, members, blocked
    channels = (state.channel, state.presence_channel)
    for user in gone:
        effects += who.evicted(state.attendance, channels, state.slot, user, blocked)
    if before:
        effects += [_event(state, user, "join") for user in joined]
        effects += [_event(state, user, "leave") for user in gone]
    return effects


def _event(state: RoomState, user: str, kind: str) -> Draft:
    d = msgspec.json.encode({"type": kind, "v": 1, "user": user})
    return Draft(state.room, user, "", d, "none", NOBODY)


# -- history -----------------------------------------------------------------------------------------


def _history(state: RoomState, message: wire.History, asker: Asker) -> list[Effect]:
    limit = max(0, min(message.limit, RECOVERY_LIMIT))
    stream, hidden = state.stream, state.blocked.get(message.user, _NOBODY_HIDDEN)
    if message.epoch and message.epoch != stream.epoch:
        return [Refuse(asker, ErrorCode.UNRECOVERABLE, "the stream has another epoch")]
    top = stream.top
    if message.before > 0:
        after, before, reverse = 0, min(message.before, top + 1), True
    elif message.reverse:
        after, before, reverse = 0, (message.offset if message.offset >= 0 else top + 1), True
    else:
        after, before, reverse = max(message.offset, 0), top + 1, False
    first_held = top - len(stream.window) + 1
    low = max(after + 1, before - limit) if reverse else after + 1
    if low < first_held and state.durable:
        return [ReadHistory(asker, message.user, after, before, limit, message.reverse, reverse)]
    held = [p for p in stream.window if after < p.offset < before]
    page = [] if limit == 0 else held[-limit:] if reverse else held[:limit]
    more = len(held) > len(page)
    if message.reverse:
        page = page[::-1]
    pubs = [p.seen_by(message.user) for p in page if p.user not in hidden]
    return [Answer(asker, {"pubs": pubs, "epoch": stream.epoch, "offset": top, "more": more and limit > 0})]
