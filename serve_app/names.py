"""Channel names: what a client says, and what the engine calls it (docs/protocol.md §3)."""

from typing import Literal

from actors.protocol import EngineError, ErrorCode
from storage.ids import is_id

Kind = Literal["room", "presence", "near", "share", "fence", "fences", "me", "scores"]

MODES: dict[Kind, str] = {
    "room": "stream", "presence": "map", "near": "map", "share": "map", "fence": "stream",
    "fences": "stream", "me": "stream", "scores": "map",
}  # fmt: skip
"""The mode that a channel is subscribed in unless another is asked for."""

OTHER_MODES: dict[Kind, tuple[str, ...]] = {
    "room": ("cache", "passive"), "fence": ("cache", "map"), "fences": ("cache",), "me": ("cache",),
}  # fmt: skip
"""The modes that it has besides."""

PASSIVE = "passive:"
"""What a gateway puts before a channel's name where only its counters are wanted."""


def internal_name(  # noqa: PLR0911 - one line per kind
    ch: str, user: str, connection: str, mode: str = ""
) -> tuple[Kind, str]:
    """The kind and the internal name of a client's channel. Raises EngineError 102 or 103.

    An id that can't be one is answered like one that is not there (103).
    """
    kind, _, rest = ch.partition(":")
    if kind == "room" and rest:
        _require_id(rest)
        return "room", ch
    if ch.startswith("presence:room:") and len(ch) > len("presence:room:"):
        _require_id(ch.removeprefix("presence:room:"))
        return "presence", ch
    if ch == "presence:matches":
        return "presence", f"presence:matches@{user}"
    if kind == "share" and rest:
        _require_id(rest)
        return "share", f"{ch}@{user}#{connection}"
    if kind == "fence" and rest:
        _require_id(rest)
        return "fence", f"{ch}@map#{connection}" if mode == "map" else ch
    if ch in ("near", "scores"):
        return ch, f"{ch}@{user}#{connection}"  # type: ignore[return-value] # mypy narrows no text to a Literal
    if ch in ("fences", "me"):
        return ch, f"{ch}@{user}"  # type: ignore[return-value] # as above
    raise EngineError(ErrorCode.UNKNOWN_CHANNEL, "no channel has such a name")


def client_name(name: str) -> str:
    """What a client calls the channel with this internal name."""
    return name.removeprefix(PASSIVE).partition("@")[0]


def held_as(name: str, mode: str) -> str:
    """Under which name a gateway holds a channel in this mode."""
    return PASSIVE + name if mode == "passive" else name


def possible_names(ch: str, user: str, connection: str) -> tuple[str, ...]:
    """All names under which a gateway may hold a client's channel for a connection. Raises as above."""
    name = internal_name(ch, user, connection)[1]
    return tuple(dict.fromkeys((name, PASSIVE + name, internal_name(ch, user, connection, "map")[1])))


def _require_id(text: str) -> None:
    if not is_id(text):
        raise EngineError(ErrorCode.DENIED, "no such channel, or not yours")
