"""Taking a session up again: what it was, and what the client asks for on top (docs/protocol.md §2.4)."""

from typing import TYPE_CHECKING, cast

from serve_app.commands import Mode, Resume, SubscriptionOptions
from serve_app.sessions import digest_of, record_of
from storage.ids import is_id
from storage.live_sessions import LiveSession, LiveSubscription

if TYPE_CHECKING:
    from serve_app.session import Session


async def take_up(session: "Session", resume: Resume | None) -> LiveSession | None:
    """The session that the client wants back, now this connection's; None where it can't be had. A socket
    that still holds it here is closed.
    """
    around, connection = session.around, session.connection
    if resume is None or around.sessions is None or not is_id(resume.sid):
        return None
    taken = await around.sessions.take(resume.sid, resume.key, connection.user, session.key)
    if taken is None:
        return None
    connection.id = resume.sid
    session.spent_key = digest_of(resume.key)
    before = around.hub.connection(resume.sid)
    if before is None:
        return taken.record
    predecessor = cast("Session", before.owner)
    record = record_of(predecessor)  # newer than what was stored
    predecessor.replaced()
    return record


def replace(session: "Session", key: bytes) -> None:
    """Another gateway took the session that this one holds under `key`."""
    if session.key == key:
        session.replaced()


def merged(
    kept: list[LiveSubscription], asked: dict[str, SubscriptionOptions]
) -> dict[str, SubscriptionOptions]:
    """The session's subscriptions, field by field overridden by what the client asks for. A position is one
    field; of another mode nothing is kept.
    """
    subs = {each.ch: _options(each) for each in kept}
    for ch, options in asked.items():
        own = subs.get(ch)
        if own is None or (options.mode is not None and options.mode != own.mode):
            subs[ch] = options
            continue
        position = options if options.epoch is not None or options.offset is not None else own
        subs[ch] = SubscriptionOptions(
            mode=own.mode,
            epoch=position.epoch,
            offset=position.offset,
            limit=options.limit,
            filter=own.filter if options.filter is None else options.filter,
            cursor=options.cursor,
        )
    return subs


def _options(kept: LiveSubscription) -> SubscriptionOptions:
    has_position = kept.offset >= 0
    return SubscriptionOptions(
        mode=cast("Mode | None", kept.mode or None),  # it was one when it was stored
        epoch=kept.epoch if has_position else None,
        offset=kept.offset if has_position else None,
        filter=kept.filter,
    )


def beginning(session: "Session", subs: dict[str, SubscriptionOptions]) -> LiveSession:
    """The session before its subscriptions are answered."""
    kept = [
        LiveSubscription(
            ch, each.mode or "", each.epoch or "", -1 if each.offset is None else each.offset, each.filter
        )
        for ch, each in list(subs.items())[: session.around.limits.subs]
    ]
    return LiveSession(session.connection.device, session.connection.since_ms, kept)
