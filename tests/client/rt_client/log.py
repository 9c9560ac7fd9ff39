"""What a client wrote down: one line for each thing that it learned, in the order it learned it.

A line is JSON when written out, so that a log can be kept and checked later.
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """Base of all lines: who wrote it, about which channel, in which epoch of it."""

    client: str
    ch: str
    epoch: str


@dataclasses.dataclass(frozen=True, slots=True)
class Began(Line):
    """First subscription, or a `recovered:false`: the stream is followed from `offset` on."""

    offset: int


@dataclasses.dataclass(frozen=True, slots=True)
class Seen(Line):
    """A publication was shown to the app."""

    offset: int
    id: str
    user: str
    via: Literal["live", "recovered", "page"]


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped(Line):
    """The server said that the position moved to `offset` without a visible publication."""

    offset: int


@dataclasses.dataclass(frozen=True, slots=True)
class Acked(Line):
    """A publication of the client's own was acknowledged."""

    offset: int
    id: str
    user: str
    cid: str
    ack: str
    dup: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Resumed(Line):
    """A resubscription by position was answered; `missed` is how far the stream had moved on."""

    missed: int
    recovered: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Broken(Line):
    """The client itself saw a rule broken."""

    what: str


Log = list[Line]


def write(log: Log, path: Path) -> None:
    """One JSON object a line."""
    with path.open("w") as file:
        for line in log:
            print(json.dumps({"kind": type(line).__name__, **dataclasses.asdict(line)}), file=file)
