"""A room: the order of its publications, who hears them, who is there. State and pure step (ACT-7).

The state is updated in place (docs/decisions): a step reads no clock, does no I/O and returns what is to
be done. Offsets are assigned when the shard commits a tick (`assign`), published when it has (`committed`).
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import NOBODY, Answer, Asker, Draft, Effect, ReadHistory, Refuse, Send
from actors.presence import Diff, Presence, PresenceSet
from actors.protocol import RECOVERY_LIMIT, ErrorCode
from actors.stream import Publication, Stream

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
    subscribers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Connection → (gateway, user)."""
    watchers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Connections subscribed to the room's presence."""
    presence: PresenceSet = field(default_factory=PresenceSet)
    hearing: Counter[str] = field(default_factory=Counter)
    """Gateways with subscribers, and how many."""
    watching: Counter[str] = field(default_factory=Counter)
    knows_all_cids: bool = False
    """Every cid of the log is in `acks`: a young room, or one in memory."""
    is_direct: bool = False
    """Between two people: a block ends what either says, as over HTTP."""
    starting_over: bool = False
    """A commit was refused, and what the log holds is not read yet: nothing can be assigned."""

    def knows(self, draft: Draft) -> bool:
        """Whether this very sending is known to be a repetition."""
        return (draft.user, draft.cid) in self.acks

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
        return not self.subscribers and not self.watchers and not self.presence.by_conn


def step(  # noqa: PLR0911 - one line per kind of message
    state: RoomState, message: wire.Request, asker: Asker, gateway: str, now_ms: int
) -> list[Effect]:
    """One message to the room. `gateway` is the peer that sent it."""
    user = getattr(message, "user", "")
    if isinstance(message, wire.Unsubscribe):
        return [*_unsubscribe(state, message, now_ms), Answer(asker, {})]
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
        return [*(Send(g, push) for g in state.hearing), Answer(asker, {})]
    if isinstance(message, wire.History):
        return _history(state, message, asker)
    if isinstance(message, wire.PresenceQuery):
        metas = state.presence.metas(state.blocked.get(user, ()))
        return [Answer(asker, {"metas": metas, "count": len(metas)})]
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
        return [draft]
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
    it is answered with it, and not stored.
    """
    key = (draft.user, draft.cid)
    known = stored or (state.acks.get(key) if draft.cid else None)
    if known is not None:
        # Its first sending may still be on its way to the log: a durable answer waits for that one.
        if draft.ack == "durable" and known.offset > state.stream.top:
            return [], Publication(known.offset, known.t_ms, known.id, draft.user, draft.cid, b"")
        return [Answer(draft.asker, known.wire(dup=True))], None
    state.assigned += 1
    ack = Ack(state.assigned, now_ms, new_id())
    if draft.cid:
        state.acks[key] = ack
        if len(state.acks) > CIDS_IN_MEMORY:
            state.acks.popitem(last=False)
            state.knows_all_cids = False
    effects: list[Effect] = []
    if draft.ack == "relay":
        effects.append(Answer(draft.asker, ack.wire(dup=False)))
    return effects, Publication(ack.offset, ack.t_ms, ack.id, draft.user, draft.cid, draft.d)


def committed(state: RoomState, stored: list[tuple[Publication, Draft]]) -> list[Effect]:
    """The log holds these now: tell everybody. A publication with an offset that is known already is a
    repeated sending that waited for the first.
    """
    effects: list[Effect] = []
    for publication, draft in stored:
        dup = publication.offset <= state.stream.top
        if not dup:
            state.stream.append(publication)
            effects += _pushes(state, publication)
        if draft.ack == "durable":
            ack = Ack(publication.offset, publication.t_ms, publication.id)
            effects.append(Answer(draft.asker, ack.wire(dup=dup)))
        elif draft.ack == "none":
            effects.append(Answer(draft.asker, None))
    return effects


def _pushes(state: RoomState, said: Publication) -> list[Effect]:
    """A publication to each gateway with subscribers (FAN-1)."""
    hide = list(state.blocked.get(said.user, ())) or None
    push = wire.Push(state.channel, said.offset, said.wire(), said.user, said.cid, hide)
    return [Send(gateway, push) for gateway in state.hearing]


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
    return [effect for said in stream.window if said.offset > told for effect in _pushes(state, said)]


# -- who hears it ------------------------------------------------------------------------------------


def _subscribe(state: RoomState, message: wire.Subscribe, asker: Asker, gateway: str) -> list[Effect]:
    if message.mode not in ("stream", "cache", "passive"):
        return [Refuse(asker, ErrorCode.BAD_REQUEST, "a room is a stream: mode stream, cache or passive")]
    if message.mode != "stream":
        return [Refuse(asker, ErrorCode.NOT_AVAILABLE, f"mode {message.mode} is not served yet")]
    hidden = state.blocked.get(message.user, _NOBODY_HIDDEN)
    limit = message.limit
    result = state.stream.subscribed(
        message.user, epoch=message.epoch, offset=message.offset, limit=limit, hidden=hidden
    )
    result |= {"ch": message.ch, "mode": "stream"}
    _forget(state.subscribers, state.hearing, message.conn)
    state.subscribers[message.conn] = (gateway, message.user)
    state.hearing[gateway] += 1
    info = None if message.info is None else msgspec.json.decode(message.info)
    diff = state.presence.join(
        Presence(message.conn, gateway, message.user, message.device, message.since_ms, info)
    )
    return [Answer(asker, result), *_announce(state, diff)]


def _watch(state: RoomState, message: wire.Subscribe, asker: Asker, gateway: str) -> list[Effect]:
    _forget(state.watchers, state.watching, message.conn)
    state.watchers[message.conn] = (gateway, message.user)
    state.watching[gateway] += 1
    metas = state.presence.metas(state.blocked.get(message.user, ()))
    result = {
        "ch": message.ch, "mode": "map", "epoch": state.stream.epoch, "offset": 0, "recovered": False,
        "was_recovering": message.epoch != "", "pubs": [], "state": metas, "phase": "live",
    }  # fmt: skip
    return [Answer(asker, result)]


def _unsubscribe(state: RoomState, message: wire.Unsubscribe, now_ms: int) -> list[Effect]:
    if message.ch == state.presence_channel:
        _forget(state.watchers, state.watching, message.conn)
        return []
    _forget(state.subscribers, state.hearing, message.conn)
    if not message.clean:
        state.presence.lose(message.conn, now_ms)
        return []
    return _announce(state, state.presence.leave(message.conn))


def _forget(table: dict[str, tuple[str, str]], gateways: Counter[str], conn: str) -> None:
    known = table.pop(conn, None)
    if known is not None:
        gateways[known[0]] -= 1
        if gateways[known[0]] <= 0:
            del gateways[known[0]]


def _announce(state: RoomState, diff: Diff | None) -> list[Effect]:
    if diff is None:
        return []
    joins, leaves = diff.wire()
    hide = list(state.blocked.get(diff.user, ())) or None
    push = wire.PushPresence(state.presence_channel, diff.user, joins, leaves, hide)
    return [Send(gateway, push) for gateway in state.watching]


def gateway_lost(state: RoomState, gateway: str, now_ms: int) -> None:
    """A gateway's link is gone: its members are not heard, and shown for a while yet (PRE-2)."""
    for table, gateways in ((state.subscribers, state.hearing), (state.watchers, state.watching)):
        for conn in [conn for conn, (peer, _) in table.items() if peer == gateway]:
            _forget(table, gateways, conn)
    state.presence.lose_gateway(gateway, now_ms)


def expire(state: RoomState, now_ms: int) -> list[Effect]:
    """Shows the leaves of those whose grace is over."""
    return [effect for diff in state.presence.expire(now_ms) for effect in _announce(state, diff)]


def membership_changed(
    state: RoomState, members: dict[str, str], blocked: dict[str, frozenset[str]]
) -> list[Effect]:
    """Postgres says who belongs here now. Who joined or left is told in the room's own log; who left hears
    no more, and newly blocked people leave each other's presence at once.
    """
    effects: list[Effect] = []
    joined = [user for user in members if user not in state.members]
    gone = {user for user in state.members if user not in members}
    for user, others in blocked.items():
        new = others - state.blocked.get(user, _NOBODY_HIDDEN)
        effects += _vanish(state, user, new)
    before, state.members, state.blocked = state.members, members, blocked
    for user in gone:
        for conn, (gateway, who) in list(state.subscribers.items()):
            if who == user:
                _forget(state.subscribers, state.hearing, conn)
                effects += _announce(state, state.presence.leave(conn))
                push = wire.Unsubscribed(state.channel, user, ErrorCode.DENIED, "no longer a member")
                effects.append(Send(gateway, push))
        for conn, (gateway, who) in list(state.watchers.items()):
            if who == user:
                _forget(state.watchers, state.watching, conn)
                push = wire.Unsubscribed(state.presence_channel, user, ErrorCode.DENIED, "no longer a member")
                effects.append(Send(gateway, push))
    if before:
        effects += [_event(state, user, "join") for user in joined]
        effects += [_event(state, user, "leave") for user in gone]
    return effects


def _vanish(state: RoomState, user: str, others: frozenset[str]) -> list[Effect]:
    """`user` disappears from the presence that `others` see."""
    leaves = msgspec.json.encode([p.meta() for p in state.presence.by_conn.values() if p.user == user])
    if not others or leaves == b"[]":
        return []
    everybody_else = [who for _, who in state.watchers.values() if who not in others]
    push = wire.PushPresence(state.presence_channel, user, b"[]", leaves, everybody_else or None)
    return [Send(gateway, push) for gateway in state.watching]


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
