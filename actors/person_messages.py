"""What is said of whether a person is online (messages.py has the rest, and the unions)."""

from typing import Any

from actors.slot_messages import Framed


class Here(Framed, tag=30):
    """Gateway to a person's actor: this connection of theirs is open. Replied {}. Births as in Subscribe."""

    rid: int
    user: str
    conn: str
    device: str
    since_ms: int
    birth: int
    settled: int


class Away(Framed, tag=31):
    """It is not any more. `clean` as in Unsubscribe."""

    rid: int
    user: str
    conn: str
    clean: bool
    birth: int
    settled: int


class WatchOnline(Framed, tag=32):
    """`viewer`'s actor to `user`'s: tell me whenever you come or go; or, if not `on`, no longer. Replied with
    what a MatchOnline holds, as a dict.
    """

    rid: int
    user: str
    viewer: str
    on: bool = True


class MatchOnline(Framed, tag=33):
    """`who`'s actor to that of `user`, who watches: what `user` may see of them now."""

    rid: int
    user: str
    who: str
    version: int
    """Rises with all that this person's actor tells, over all its activations."""
    metas: list[dict[str, Any]]
    left: list[str]
    """Refs that have left for sure."""
    is_complete: bool
    """Whether who is missing in `metas` has left; not so soon after a shard was lost."""


class OnlineChanged(Framed, tag=34):
    """A shard to a person's actor in it: those who watch are to be told."""

    rid: int
    user: str
