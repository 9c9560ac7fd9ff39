"""What sharers and those they share with tell each other (messages.py has the rest, and the unions)."""

from typing import Any

from actors.slot_messages import Framed


class ShareWatch(Framed, tag=160):
    """`viewer`'s actor to that of `user`, who shares: show me, or, if not `on`, no longer. Replied with
    {"place","version","ends_at_ms"}, or 103.
    """

    rid: int
    user: str
    share: str
    viewer: str
    on: bool = True


class ShareShown(Framed, tag=161):
    """`sharer`'s actor to that of `user`, who watches: this is shown now. `place` is as precise as the share
    says (geo.sharing.SharedPlace), None: nothing at the moment.
    """

    rid: int
    user: str
    share: str
    sharer: str
    place: dict[str, Any] | None
    version: int
    """Rises with all that the sharer's actor tells, over all its activations."""
    is_over: bool = False
    """The share has ended, or is not with this person any more."""


class WatchersQuery(Framed, tag=162):
    """Who looks at the shares of `user` now. Replied {share: {viewer: since_ms}}."""

    rid: int
    user: str
