"""A running engine as the people who use it meet it: accounts, HTTP, sockets, clients, its commands."""

import asyncio
import http.client
import itertools
import json
import random
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.check import Verdict, check
from cluster.history import Logged, read, write
from rt_client.connection import Connection
from rt_client.member import Member

TOOLS = Path(sys.executable).parent
_seeds = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account."""

    user: str
    handle: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; the names of headers in lower case."""

    status: int
    body: Any
    headers: dict[str, str]


def hereabouts(data: Path | str, *arguments: str, check_code: bool = True) -> str:
    """Runs a command against the engine of a data folder; its standard output."""
    done = subprocess.run(
        [TOOLS / "hereabouts", arguments[0], "--data", str(data), *arguments[1:]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not check_code or done.returncode == 0, done.stderr
    return done.stdout


def status(data: Path | str) -> dict[str, Any]:
    """`hereabouts status --json`."""
    found: dict[str, Any] = json.loads(hereabouts(data, "status", "--json", check_code=False) or "{}")
    return found


def pids(data: Path | str, title: str) -> list[int]:
    """The engine's processes whose title contains `title`."""
    return [row["pid"] for row in status(data)["processes"] if title in row["title"]]


@dataclass(slots=True)
class Town:
    """An engine seen by the people who use it. Everything opened through it is closed after the test."""

    url: str
    data: Path
    people: Iterator[Person]
    stack: AsyncExitStack
    members: list[Member] = field(default_factory=list)
    known_door: str = ""

    def person(self) -> Person:
        """Somebody new."""
        return next(self.people)

    def persons(self, count: int) -> list[Person]:
        return list(itertools.islice(self.people, count))

    async def http(self, method: str, path: str, body: Any = None, who: Person | None = None) -> Answer:
        """One request; refusals are answers, not exceptions."""
        return await asyncio.to_thread(request, self.url, method, path, body, who.token if who else "")

    async def door(self) -> str:
        """Where WebSockets go: what the engine says, or last said if it can't be asked now."""
        try:
            answer = await self.http("GET", "/v1/rt")
        except (OSError, ValueError, http.client.HTTPException):
            answer = None
        if answer is not None and answer.status == 200:
            self.known_door = str(answer.body["url"])
        if not self.known_door:
            raise ConnectionError("the engine does not say where WebSockets go")
        return self.known_door

    async def socket(self, codec: str = "json", **options: Any) -> Connection:
        """A socket on which nothing has been said."""
        opened = await Connection.open(await self.door(), codec, **options)
        return await self.stack.enter_async_context(opened)

    async def connected(self, who: Person, codec: str = "json", **body: Any) -> Connection:
        """A socket that has said `connect`."""
        connection = await self.socket(codec)
        await connection.connect(who.token, **body)
        return connection

    async def member(self, who: Person, codec: str = "json", **options: Any) -> Member:
        """A client that survives its sockets."""
        options = {"backoff_last_s": 2.0, "chance": random.Random(next(_seeds)), **options}
        member = Member(self.door, who.user, who.token, codec=codec, **options)
        self.members.append(member)
        return await self.stack.enter_async_context(member)

    async def room(self, owner: Person, *others: Person, durability: str = "durable", **body: Any) -> str:
        """A new room; its channel's name."""
        wanted = {
            "name": "a room", "kind": "group", "durability": durability,
            "members": [other.user for other in others], **body,
        }  # fmt: skip
        answer = await self.http("POST", "/v1/rooms", wanted, owner)
        assert answer.status == 201, answer
        return f"room:{answer.body['id']}"

    async def history(self, ch: str, who: Person) -> list[Logged]:
        """A room's whole log over HTTP."""
        connection = await self.connected(who)
        epoch = (await connection.hist(ch, 1))["epoch"]
        await connection.close()
        log: list[Logged] = []
        while True:
            after = log[-1].offset if log else 0
            answer = await self.http("GET", f"/v1/rooms/{ch[5:]}/messages?after={after}&limit=300", who=who)
            assert answer.status == 200, answer
            if not answer.body["items"]:
                return log
            log += [Logged(ch=ch, epoch=epoch, offset=m["o"], id=m["i"]) for m in answer.body["items"]]

    async def verdict(self, rooms: dict[str, Person], **options: Any) -> Verdict:
        """What the history checker says of what all members wrote down; `rooms` are durable, with a member
        of each, who reads its log."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.jsonl"
            write([line for ch, who in rooms.items() for line in await self.history(ch, who)], log)
            return check(map(read, self.histories(Path(folder))), [read(log)], **options)

    def histories(self, folder: Path) -> list[Path]:
        """Writes what each member learned into a file of its own."""
        paths = [folder / f"history-{number}.jsonl" for number in range(len(self.members))]
        for member, path in zip(self.members, paths, strict=True):
            write(member.log, path)
        return paths


def request(url: str, method: str, path: str, body: Any = None, token: str = "") -> Answer:
    """One HTTP request with a JSON body."""
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=15) as answer:
            text, code, given = answer.read(), answer.status, answer.headers
    except urllib.error.HTTPError as refused:
        with refused:
            text, code, given = refused.read(), refused.code, refused.headers
    lower = {name.lower(): value for name, value in given.items()}
    return Answer(code, json.loads(text) if text else None, lower)


def dev_users(data: Path | str, count: int, *options: str) -> list[Person]:
    """New users of the engine."""
    prefix = f"j{uuid.uuid4().hex[:8]}"
    lines = hereabouts(data, "dev-users", "--count", str(count), "--prefix", prefix, *options).splitlines()
    return [Person(**json.loads(line)) for line in lines]


def endless_people(data: Path | str, at_once: int = 250) -> Iterator[Person]:
    """As many people as anybody asks for, each handed out once."""
    while True:
        yield from dev_users(data, at_once)
