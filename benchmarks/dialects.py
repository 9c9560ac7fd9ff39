"""How one talks to each server: opening a connection, joining a room, publishing, staying, leaving.

A server here is Hereabouts or a peer; a claim (`room_fanout.py` and its neighbours) does not know which.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from itertools import count
from typing import Any, Protocol

import asyncpg

from benchmarks.dialing import Step, dial, said, upgrade
from benchmarks.servers import Server, history_count
from benchmarks.sockets import STAMP_BYTES, text_frame

BODY_BYTES = 256
_MEMBERS_AT_ONCE = 999
_numbers = count()  # a room's name is used once: an old one may still be ending
_CLOSE_1000 = b"\x88\x82\0\0\0\0\x03\xe8"


def body(payload_bytes: int = BODY_BYTES) -> dict[str, str]:
    """A message's data: JSON of so many bytes in which STAMP stands for the stamp."""
    bare = len(json.dumps({"text": ""}, separators=(",", ":")))
    return {"text": "STAMP" + "x" * (payload_bytes - bare - STAMP_BYTES)}


def around_stamp(text: str) -> tuple[bytes, bytes]:
    """What stands before and after the stamp."""
    before, _, after = text.partition("STAMP")
    return before.encode(), after.encode()


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class Dialect(Protocol):
    """One server's way. `user` counts the server's users from 0; rooms are names that `rooms` gave."""

    beat: bytes
    """Sent now and then on each connection so that the server keeps it; may be empty."""
    goodbye: bytes
    """A clean end."""
    in_flight: int
    """How many messages keep this server saturated in a room of 200."""

    def rooms(self, members: Sequence[Sequence[int]], durability: str) -> list[str]:
        """Makes rooms with these users as members."""

    def opening(self, user: int, room: str | None) -> list[Step]:
        """Connect, authenticate, join."""

    def publication(self, room: str) -> tuple[bytes, bytes]:
        """A publication without its frame, before and after the stamp."""

    def framed(self, payload: bytes) -> bytes:
        """A publication in its frame."""


class Watched(Dialect, Protocol):
    """A server that tells who is there."""

    def watching(self, user: int, room: str) -> list[Step]:
        """As `opening`, and is told who comes into the room and who leaves it."""

    def signs(self, user: int) -> tuple[bytes, bytes]:
        """What a watcher's stream holds when that user has come, and when it has left."""


class Archiving(Dialect, Protocol):
    """A server that stores what is said before it acknowledges it."""

    acked: bytes
    """What the sender's stream holds once for each message that is stored."""

    def keeping(self, batch: str, count: int) -> list[str]:
        """Makes so many durable rooms (or subjects), each with the user of the same number."""

    def sending(self, user: int, room: str) -> list[Step]:
        """Connect, authenticate, get ready to send into it."""

    def durable(self, room: str, number: int) -> bytes:
        """The frame of a message that is to be acknowledged when it is stored."""

    def stored(self, rooms: Sequence[str]) -> int:
        """How many messages the server's log of these rooms holds."""


class Hereabouts:
    """The engine, protocol rt.v1.json (docs/protocol.md)."""

    beat = text_frame(b"{}")
    goodbye = _CLOSE_1000
    in_flight = 256

    def __init__(self, server: Server) -> None:
        self._server = server

    def rooms(self, members: Sequence[Sequence[int]], durability: str) -> list[str]:
        people = self._server.people
        made = []
        for number, (owner, *others) in enumerate(members):
            wanted = {
                "name": f"bench {number}",
                "kind": "group",
                "durability": durability,
                "members": [people[each]["user"] for each in others[:_MEMBERS_AT_ONCE]],
            }
            token = people[owner]["token"]
            room = self._server.request("POST", "/v1/rooms", wanted, token)["id"]
            for each in others[_MEMBERS_AT_ONCE:]:
                self._server.request("PUT", f"/v1/rooms/{room}/members/{people[each]['user']}", {}, token)
            made.append(f"room:{room}")
            self._server.owners[made[-1]] = owner
        return made

    def _connect(self, user: int, channels: Sequence[str]) -> list[Step]:
        token = self._server.people[user]["token"]
        frame = {"id": 1, "connect": {"token": token, "subs": {each: {} for each in channels}}}
        host, port = self._server.address
        return [upgrade(f"{host}:{port}", "/rt", "rt.v1.json"), said(_compact(frame), b'"time":')]

    def opening(self, user: int, room: str | None) -> list[Step]:
        return self._connect(user, [room] if room else [])

    def watching(self, user: int, room: str) -> list[Step]:
        return self._connect(user, [room, f"presence:{room}"])

    def publication(self, room: str) -> tuple[bytes, bytes]:
        return around_stamp(_compact({"id": 2, "pub": {"ch": room, "ack": "none", "d": body()}}))

    def framed(self, payload: bytes) -> bytes:
        return text_frame(payload)

    def signs(self, user: int) -> tuple[bytes, bytes]:
        name = self._server.people[user]["user"].encode()
        return b'"j":[{"u":"' + name, b'"l":[{"u":"' + name

    acked = b'"dup":false'

    def keeping(self, batch: str, count: int) -> list[str]:  # noqa: ARG002
        return self.rooms([[user] for user in range(count)], "durable")

    def sending(self, user: int, room: str) -> list[Step]:
        return self.opening(user, room)

    def durable(self, room: str, number: int) -> bytes:
        pub = {
            "ch": room,
            "ack": "durable",
            "cid": f"c{number}",
            "d": {"text": "x" * (BODY_BYTES - len('{"text":""}'))},
        }
        return text_frame(_compact({"id": number + 2, "pub": pub}).encode())

    def stored(self, rooms: Sequence[str]) -> int:
        return sum(history_count(self._server, each) for each in rooms)


class Bare:
    """The programs on `ws` and uWebSockets.js: room and token in the query, JSON frames as they come."""

    beat = b""
    goodbye = _CLOSE_1000
    in_flight = 256

    def __init__(self, server: Server) -> None:
        self._server = server

    def rooms(self, members: Sequence[Sequence[int]], durability: str) -> list[str]:  # noqa: ARG002
        return [f"r{next(_numbers)}" for _ in members]

    def opening(self, user: int, room: str | None) -> list[Step]:
        host, port = self._server.address
        path = f"/?token={self._server.people[user]['token']}&room={room or ''}"
        return [upgrade(f"{host}:{port}", path)]

    def watching(self, user: int, room: str) -> list[Step]:
        return self.opening(user, room)

    def publication(self, room: str) -> tuple[bytes, bytes]:  # noqa: ARG002
        return around_stamp(_compact(body()))

    def framed(self, payload: bytes) -> bytes:
        return text_frame(payload)

    def signs(self, user: int) -> tuple[bytes, bytes]:
        name = self._server.people[user]["user"].encode()
        return b'"j":"' + name, b'"l":"' + name


class Naive(Bare):
    """The naive FastAPI program: one room."""

    in_flight = 64

    def opening(self, user: int, room: str | None) -> list[Step]:  # noqa: ARG002
        host, port = self._server.address
        return [upgrade(f"{host}:{port}", "/room")]


class SocketIo(Bare):
    """Socket.IO 4 over WebSocket alone: Engine.IO's `0`, then CONNECT with the token, events as `42[…]`."""

    beat = text_frame(b"3")

    def opening(self, user: int, room: str | None) -> list[Step]:
        host, port = self._server.address
        auth = _compact({"token": self._server.people[user]["token"], "room": room or ""})
        return [
            upgrade(f"{host}:{port}", "/socket.io/?EIO=4&transport=websocket"),
            said("40" + auth, b'40{"sid"', b"44{"),
        ]

    def publication(self, room: str) -> tuple[bytes, bytes]:  # noqa: ARG002
        return around_stamp("42" + _compact(["message", body()]))

    def signs(self, user: int) -> tuple[bytes, bytes]:
        name = self._server.people[user]["user"].encode()
        return b'["j","' + name, b'["l","' + name


class Nats:
    """The NATS client protocol: a room is a subject."""

    beat = b""
    goodbye = b""
    in_flight = 256

    def __init__(self, server: Server) -> None:
        self._server = server

    def rooms(self, members: Sequence[Sequence[int]], durability: str) -> list[str]:  # noqa: ARG002
        return [f"room.{next(_numbers)}" for _ in members]

    def opening(self, user: int, room: str | None) -> list[Step]:
        login = {
            "verbose": False,
            "pedantic": False,
            "user": "bench",
            "pass": self._server.people[user]["token"],
        }
        subscribe = f"SUB {room} 1\r\n" if room else ""
        say = f"CONNECT {_compact(login)}\r\n{subscribe}PING\r\n"
        return [Step(b"", b"INFO "), Step(say.encode(), b"PONG\r\n", b"-ERR")]

    def publication(self, room: str) -> tuple[bytes, bytes]:
        return around_stamp(f"PUB {room} {BODY_BYTES}\r\n{_compact(body())}\r\n")

    def framed(self, payload: bytes) -> bytes:
        return payload

    acked = b'"seq":'

    def keeping(self, batch: str, count: int) -> list[str]:
        wanted = {"name": f"KEPT{batch}", "subjects": [f"kept{batch}.>"], "storage": "file"}
        self._ask(f"STREAM.CREATE.KEPT{batch}", _compact(wanted))
        return [f"kept{batch}.{number}" for number in range(count)]

    def sending(self, user: int, room: str) -> list[Step]:
        return self.opening(user, f"_INBOX.{room}")

    def durable(self, room: str, number: int) -> bytes:  # noqa: ARG002
        return f"PUB {room} _INBOX.{room} {BODY_BYTES}\r\n{'x' * BODY_BYTES}\r\n".encode()

    def stored(self, rooms: Sequence[str]) -> int:
        answer = self._ask(f"STREAM.INFO.{rooms[0].partition('.')[0].upper()}", "")
        return int(answer.partition(b'"messages":')[2].partition(b",")[0])

    def _ask(self, what: str, request: str) -> bytes:
        """A request to JetStream's own subjects; its answer."""
        asked = f"PUB $JS.API.{what} _INBOX.api {len(request)}\r\n{request}\r\n".encode()
        step = Step(asked, b'"type":', b'"error":')
        stream = dial(self._server.address, [[*self.opening(0, "_INBOX.api"), step]]).streams[0]
        stream.socket.settimeout(5)
        answer = stream.tail
        while b"\r\n" not in answer:
            answer += stream.socket.recv(65536)
        stream.close()
        return answer


class Xmpp:
    """XMPP over TCP, a room as a multi-user chat (XEP-0045); SASL PLAIN with a JWT as the password."""

    beat = b""
    goodbye = b"</stream:stream>"
    in_flight = 32

    def __init__(self, server: Server) -> None:
        self._server = server

    def rooms(self, members: Sequence[Sequence[int]], durability: str) -> list[str]:  # noqa: ARG002
        return [f"r{next(_numbers)}@conference.localhost" for _ in members]

    def opening(self, user: int, room: str | None) -> list[Step]:
        person = self._server.people[user]
        plain = base64.b64encode(f"\0{person['user']}\0{person['token']}".encode()).decode()
        head = (
            b"<stream:stream to='localhost' xmlns='jabber:client' version='1.0' "
            b"xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        steps = [
            Step(b"<?xml version='1.0'?>" + head, b"</stream:features>"),
            Step(
                f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>".encode(),
                b"<success",
                b"<failure",
            ),
            Step(head, b"</stream:features>"),
            Step(
                b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                b"<resource>d</resource></bind></iq>",
                b"</iq>",
            ),
        ]
        if room:
            join = (
                f"<presence to='{room}/{person['user']}'><x xmlns='http://jabber.org/protocol/muc'>"
                "<history maxstanzas='0'/></x></presence>"
            )
            steps.append(Step(join.encode(), b"<subject", b"type='error'"))
        return steps

    def watching(self, user: int, room: str) -> list[Step]:
        return self.opening(user, room)

    def publication(self, room: str) -> tuple[bytes, bytes]:
        text = "STAMP" + "x" * (BODY_BYTES - STAMP_BYTES)
        return around_stamp(f"<message to='{room}' type='groupchat'><body>{text}</body></message>")

    def framed(self, payload: bytes) -> bytes:
        return payload

    def signs(self, user: int) -> tuple[bytes, bytes]:
        name = self._server.people[user]["user"]
        return f"/{name}'".encode(), b"type='unavailable'"

    acked = b"</body>"  # a room sends a message to its sender too, after it was archived

    def keeping(self, batch: str, count: int) -> list[str]:
        return [f"kept{batch}-{number}@conference.localhost" for number in range(count)]

    def sending(self, user: int, room: str) -> list[Step]:
        return self.opening(user, room)

    def durable(self, room: str, number: int) -> bytes:
        text = "x" * BODY_BYTES
        return f"<message to='{room}' type='groupchat' id='m{number}'><body>{text}</body></message>".encode()

    def stored(self, rooms: Sequence[str]) -> int:
        return asyncio.run(_archived(self._server.database_url, list(rooms)))


async def _archived(database_url: str, rooms: list[str]) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM archive WHERE username = ANY($1)", rooms))
    finally:
        await connection.close()
