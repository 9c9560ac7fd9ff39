"""`sub` and `unsub`: from a client's channel to a subscription in the hub (docs/protocol.md §2, §3)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from actors import messages as wire
from actors.filters import check_filter
from actors.metrics import count
from actors.protocol import RECOVERY_LIMIT, EngineError, ErrorCode
from serve_app import commands
from serve_app.frames import Envelope
from serve_app.names import MODES, OTHER_MODES, Kind, held_as, internal_name, possible_names
from serve_app.paging import CATCH_UP_S, caught_up, first_page, next_page, page_size

if TYPE_CHECKING:
    from serve_app.session import Session

Done = Callable[[Any, EngineError | None], None]


def sub(session: "Session", frame_id: int, body: commands.Sub, _: Envelope) -> None:
    """Subscribes; the reply comes before any push of the channel."""
    subscribe(session, body.ch, body, partial(session.finish, frame_id, "sub"))


def unsub(session: "Session", frame_id: int, body: commands.Unsub, _envelope: Envelope) -> None:
    """Leaves; nothing of the channel comes after the reply."""
    names = possible_names(body.ch, session.connection.user, session.connection.id)
    held = session.connection.subscriptions.keys() | session.late_unsubs.keys()
    name = next((each for each in names if each in held), names[0])
    waiting = session.late_unsubs.get(name)
    if waiting is not None:
        waiting.append(frame_id)
    else:
        _leave(session, frame_id, name)


def subscribe(session: "Session", ch: str, options: commands.SubscriptionOptions, done: Done) -> None:
    """Subscribes to a client's channel; `done` gets the `sub` result. Raises EngineError."""
    connection, limit = session.connection, session.around.limits.subs
    kind, ch_name = internal_name(ch, connection.user, connection.id, options.mode or "")
    mode = options.mode or MODES[kind]
    name = held_as(ch_name, mode)
    if options.cursor is not None:
        _turn_page(session, ch, name, options.cursor, done)
        return
    names = possible_names(ch, connection.user, connection.id)
    if any(each in connection.subscriptions for each in names):
        raise EngineError(ErrorCode.ALREADY_SUBSCRIBED, "this connection is subscribed to it")
    if len(connection.subscriptions) >= limit:
        raise EngineError(ErrorCode.LIMIT, f"a connection has at most {limit} subscriptions")
    _check(kind, mode, options)
    message = wire.Subscribe(
        0, ch_name, connection.user, connection.id, connection.device, connection.since_ms,
        mode=mode,
        epoch=options.epoch or "",
        offset=-1 if options.offset is None else options.offset,
        limit=min(options.limit or 0, RECOVERY_LIMIT),
        filter=dict(options.filter) if options.filter is not None else None,
    )  # fmt: skip
    session.begins()
    session.late_unsubs[name] = []

    def first(result: Any, error: EngineError | None) -> None:
        try:
            if error is not None:
                raise error
            done(first_page(session, connection.subscriptions[name], result, page_size(options.limit)), None)
        except EngineError as refused:
            done(None, refused)

    session.around.hub.subscribe(connection, message, partial(_subscribed, session, (ch, name), first))


def _turn_page(session: "Session", ch: str, name: str, cursor: str, done: Done) -> None:
    """The page behind a cursor; the last one with what changed since the first."""
    clock = session.around.clock
    subscription = session.connection.subscriptions.get(name)
    page = next_page(session, subscription, cursor)
    if page["phase"] == "state" or subscription is None:
        done(page, None)
        return
    asked_at_s = clock()

    def last(result: Any, error: EngineError | None) -> None:
        if clock() - asked_at_s > CATCH_UP_S or (error is not None and error.code.temporary):
            session.slow()
            return
        if error is not None:
            done(None, error)
            return
        pages, subscription.pages = subscription.pages, None
        assert pages is not None
        done(caught_up(pages, page, result), None)

    session.begins()
    session.late_unsubs[name] = []
    session.around.hub.again(subscription, partial(_subscribed, session, (ch, name), last))


def _check(kind: Kind, mode: str, options: commands.SubscriptionOptions) -> None:
    modes = (MODES[kind], *OTHER_MODES.get(kind, ()))
    if mode not in modes:
        raise EngineError(ErrorCode.BAD_REQUEST, f"this channel's mode is {' or '.join(modes)}")
    if bool(options.epoch) is (options.offset is None):
        raise EngineError(ErrorCode.BAD_REQUEST, "a position is an epoch and an offset")
    if options.filter and kind != "near":
        if mode not in ("stream", "cache"):
            raise EngineError(ErrorCode.BAD_REQUEST, f"{mode} takes no filter here")
        try:
            check_filter(options.filter)
        except ValueError as wrong:
            raise EngineError(ErrorCode.BAD_REQUEST, str(wrong)) from wrong


def _subscribed(
    session: "Session", names: tuple[str, str], done: Done, reply: Any, error: EngineError | None
) -> None:
    ch, name = names
    session.ends()
    unsubs = session.late_unsubs.pop(name, ())
    if not session.is_open:
        return
    if error is None:
        subscription = session.connection.subscriptions[name]
        subscription.held = _reached(subscription.message, reply)
        session.subscriptions_changed()
        if reply.get("was_recovering"):
            count("resumes", recovered="yes" if reply["recovered"] else "no")
        done({"n": subscription.channel.n, **reply, "ch": ch}, None)
    else:
        done(None, error)
    for frame_id in unsubs:
        try:
            _leave(session, frame_id, name)
        except EngineError as refused:
            session.fail(frame_id, refused)


def _reached(asked: wire.Subscribe, reply: Any) -> int:
    """Where the client is whether it gets the reply or not: a reply that is lost must be given again."""
    if asked.mode in ("cache", "passive"):
        return -1
    offset: int = reply["offset"]
    return asked.offset if reply.get("recovered") and asked.offset >= 0 else offset


def _leave(session: "Session", frame_id: int, name: str) -> None:
    if not session.around.hub.unsubscribe(session.connection, name, clean=True):
        raise EngineError(ErrorCode.BAD_REQUEST, "this connection is not subscribed to it")
    session.subscriptions_changed()
    session.finish(frame_id, "unsub", {}, None)
