"""What a client wrote down of its channels: one JSON object a line (docs/histories.md).

A history is written while the engine is being killed and checked afterwards (`hereabouts check`), by
programs that share nothing with the engine: the format is the contract, these types are its reader.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec


class Line(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True, kw_only=True):
    """Base of all lines. `client` is who wrote it; without one, the file is the client."""

    client: str = ""


class Connect(Line, frozen=True, tag="connect", kw_only=True):
    """`connect` was answered."""

    resumed: bool = False


class Channel(Line, frozen=True, tag="channel", kw_only=True):
    """What is known of a channel before it is followed: one in memory takes a new epoch per activation."""

    ch: str
    memory: bool = False


class Sub(Line, frozen=True, tag="sub", kw_only=True):
    """A subscription was answered, in `connect` or by itself; its `pubs` follow as lines of their own.

    `asked` (on the wire of a history: `from`) is the offset that was asked for, none for a subscription
    without a position.
    """

    ch: str
    epoch: str
    offset: int
    asked: int | None = msgspec.field(default=None, name="from")
    recovered: bool = False
    was_recovering: bool | None = None


class Pub(Line, frozen=True, tag="pub", kw_only=True):
    """A publication was shown to the app. `via` is live (a push), recovered (in a `sub` reply), page
    (`hist`), or empty where the client does not say.
    """

    ch: str
    epoch: str
    offset: int
    id: str
    via: Literal["", "live", "recovered", "page"] = ""


class Skip(Line, frozen=True, tag="skip", kw_only=True):
    """The server said that the position moved to `offset` without a visible publication."""

    ch: str
    offset: int


class Ack(Line, frozen=True, tag="ack", kw_only=True):
    """A publication of the client's own was acknowledged: `ack` is how it was asked for."""

    ch: str
    offset: int
    id: str
    cid: str = ""
    user: str = ""
    ack: str = "durable"


class Broken(Line, frozen=True, tag="broken", kw_only=True):
    """The client itself saw a rule of the protocol broken."""

    ch: str = ""
    what: str = ""


class End(Line, frozen=True, tag="end", kw_only=True):
    """The client says that it has caught up: it must have everything that the log holds."""

    ch: str


class Logged(Line, frozen=True, tag="log", kw_only=True):
    """One entry of a channel's stored log, ascending from offset 1: what the engine itself says it holds."""

    ch: str
    epoch: str
    offset: int
    id: str


class Crossed(Line, frozen=True, tag="crossing", kw_only=True):
    """One entry of a person's stored `fences` stream, ascending from offset 1."""

    user: str
    offset: int
    fence: str
    event: str


class Bound(Line, frozen=True, tag="bound", kw_only=True):
    """Crossing `fence` moves membership of the room `ch`: everybody who crosses it granted that."""

    fence: str
    ch: str


class Moved(Line, frozen=True, tag="membership", kw_only=True):
    """A bound room's log holds a `join` or `leave` (or something else, which may not be there)."""

    ch: str
    offset: int
    user: str
    event: str


class Members(Line, frozen=True, tag="members", kw_only=True):
    """Who was a member of a bound room when all was over; its owner left out."""

    ch: str
    users: list[str]


class Walked(Line, frozen=True, tag="walked", kw_only=True):
    """What the fixes that were acknowledged to `user` have to give, in order; dwells left out."""

    user: str
    fence: str
    events: list[str]


AnyLine = (
    Connect | Channel | Sub | Pub | Skip | Ack | Broken | End | Logged
    | Crossed | Bound | Moved | Members | Walked
)  # fmt: skip


class Entry(NamedTuple):
    """A line and where it stands. `line` is text where it could not be read: why."""

    file: str
    number: int
    line: AnyLine | str


_decode = msgspec.json.Decoder(AnyLine).decode
_encode = msgspec.json.Encoder().encode


def read(path: Path) -> Iterator[Entry]:
    """The entries of a file. Empty lines are none; one that can't be read is an entry as well."""
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                line = _decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
                yield Entry(str(path), number, str(wrong))
            else:
                yield Entry(str(path), number, line)


def entries(name: str, lines: Iterable[AnyLine]) -> Iterator[Entry]:
    """Lines that are in no file (yet)."""
    for number, line in enumerate(lines, start=1):
        yield Entry(name, number, line)


def write(lines: Iterable[AnyLine], path: Path) -> None:
    """One JSON object a line."""
    with path.open("wb") as file:
        for line in lines:
            file.write(_encode(line) + b"\n")
