"""The outgoing side of one connection: frames, and commands that wait for their reply."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from hereabouts_client.effects import Frame, Output, Send


@dataclass(frozen=True, slots=True)
class Refusal:
    """An `err` of the engine. `temporary` is the only sign that the same may succeed later."""

    code: int
    reason: str
    temporary: bool
    retry_ms: int | None

    @classmethod
    def of(cls, err: dict[str, Any]) -> Self:
        """From the wire."""
        return cls(err["code"], err.get("msg") or "", bool(err.get("temp")), err.get("retry_ms"))


Settle = Callable[[Any, Refusal | None, int], None]
"""Gets a command's result or its refusal, and the time."""


@dataclass(frozen=True, slots=True)
class Command:
    """One that waits. With a `ref` the app waits for it too, and is told of its loss."""

    verb: str
    settle: Settle
    until_ms: int
    ref: int | None


class Wire:
    """What leaves and what is told, in order; `is_online` between the welcome and the loss."""

    def __init__(self, command_ms: int) -> None:
        self.is_online = False
        self._command_ms = command_ms
        self._out: list[Output] = []
        self._waiting: dict[int, Command] = {}
        self._ids = count(1)

    def tell(self, *outputs: Output) -> None:
        """Adds to what the next drain answers."""
        self._out += outputs

    def drain(self) -> list[Output]:
        """What was told since the last drain."""
        out, self._out = self._out, []
        return out

    @property
    def deadline_ms(self) -> int | None:
        """When the oldest command is overdue."""
        return next((command.until_ms for command in self._waiting.values()), None)

    def ask(self, verb: str, body: Any, settle: Settle, now_ms: int, ref: int | None = None) -> None:
        """Sends a command."""
        number = next(self._ids)
        self._waiting[number] = Command(verb, settle, now_ms + self._command_ms, ref)
        self.tell(Send({"id": number, verb: body}))

    def answered(self, frame: Frame, now_ms: int) -> None:
        """A reply."""
        command = self._waiting.pop(frame["id"], None)
        if command is not None and "err" in frame:
            command.settle(None, Refusal.of(frame["err"]), now_ms)
        elif command is not None:
            command.settle(frame[command.verb], None, now_ms)

    def lost(self) -> list[int]:
        """The connection is gone: the refs that waited. The next one counts anew."""
        refs = [command.ref for command in self._waiting.values() if command.ref is not None]
        self.is_online = False
        self._waiting.clear()
        self._ids = count(1)
        return refs


def nothing(result: Any, refusal: Refusal | None, now_ms: int) -> None:
    """For a command after which it is all the same what it answers."""
