"""The sessions of real-time connections in Valkey: what any gateway can take up again (RT-7).

One hash a session: who holds it (a gateway's incarnation), the digests of the key that its client has and of
the one that it used last, whose it is, until when it is good, and the record. Each operation is one script,
so a gateway that lost a session to another can't write over it. Operations are gathered in a pipeline by
whoever runs them (serve_app/sessions.py).
"""

from typing import Any

import msgspec

from storage.batches import Operation

_PREFIX = "hereabouts:session:"
_BY_USER = "hereabouts:connections:"
_GATEWAY = "hereabouts:gateway:"


class LiveSubscription(msgspec.Struct, array_like=True):
    """One subscription, under the client's name of its channel. A position (offset >= 0) is one that the
    client has reached for sure.
    """

    ch: str
    mode: str = ""
    epoch: str = ""
    offset: int = -1
    filter: dict[str, Any] | None = None


class LiveSession(msgspec.Struct, array_like=True):
    """What a session is, but for its keys."""

    device: str
    since_ms: int
    subs: list[LiveSubscription] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LiveSession)

# KEYS[1] is the session, KEYS[2] the set of its user's open connections, by the time until which they count.

_WRITE = """
local o = redis.call('HGET', KEYS[1], 'o')
if o and o ~= ARGV[1] then return 0 end
local limit = tonumber(ARGV[9])
if limit > 0 and not redis.call('ZSCORE', KEYS[2], ARGV[7]) then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[8])
  if redis.call('ZCARD', KEYS[2]) >= limit then return -1 end
end
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'k', ARGV[2], 'p', ARGV[3], 'u', ARGV[4], 't', ARGV[5],
  'r', ARGV[10])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if limit < 0 then redis.call('ZREM', KEYS[2], ARGV[7])
else
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[7])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
return 1
"""

_TAKE = """
local v = redis.call('HMGET', KEYS[1], 'o', 'k', 'p', 'u', 't', 'r')
if not v[1] or v[4] ~= ARGV[1] or (v[2] ~= ARGV[2] and v[3] ~= ARGV[2]) then return false end
if tonumber(v[5]) < tonumber(ARGV[5]) then return false end
redis.call('HSET', KEYS[1], 'o', ARGV[3], 'k', ARGV[4], 'p', ARGV[2])
return {v[1], v[2], v[6]}
"""

_END = """
if redis.call('HGET', KEYS[1], 'o') == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('ZREM', KEYS[2], ARGV[2])
return 1
"""

WRITTEN, TAKEN, TOO_MANY = 1, 0, -1
"""What `write` comes to: stored; another gateway has the session; the user has too many connections."""


class Hold(msgspec.Struct, frozen=True):
    """A session as its gateway holds it. `spent` is the digest of the key that the client used to take it up,
    until it has shown that it got the next one.
    """

    sid: str
    user: str
    gateway: str
    key: bytes
    spent: bytes = b""


def write(
    hold: Hold, record: LiveSession, *, now_ms: int, keep_ms: int, limit: int = 0, lost: bool = False
) -> Operation:
    """Stores a session for `keep_ms`. A positive `limit` refuses it if its user has so many connections
    already; a lost one is no connection.
    """
    return (
        _WRITE, 2, _PREFIX + hold.sid, _BY_USER + hold.user,
        hold.gateway, hold.key, hold.spent, hold.user, now_ms + keep_ms, keep_ms, hold.sid, now_ms,
        -1 if lost else limit, _encoder.encode(record),
    )  # fmt: skip


def take(hold: Hold, *, now_ms: int) -> Operation:
    """Makes a session this gateway's, if `hold.spent` is the digest of its key and the user is its own."""
    return (
        _TAKE, 2, _PREFIX + hold.sid, _BY_USER + hold.user,
        hold.user, hold.spent, hold.gateway, hold.key, now_ms,
    )  # fmt: skip


def end(hold: Hold) -> Operation:
    """Forgets a session."""
    return (_END, 2, _PREFIX + hold.sid, _BY_USER + hold.user, hold.gateway, hold.sid)


class Taken(msgspec.Struct, frozen=True):
    """A session that was taken: who held it, under which key, and what it is."""

    gateway: str
    key: bytes
    record: LiveSession


def taken(reply: list[bytes] | None) -> Taken | None:
    """The reply to `take`."""
    if reply is None:
        return None
    try:
        return Taken(reply[0].decode(), reply[1], _decoder.decode(reply[2]))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # of another release


def notices_of(gateway: str) -> str:
    """The Valkey channel on which a gateway hears from the others."""
    return _GATEWAY + gateway
