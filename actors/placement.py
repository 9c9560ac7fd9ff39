"""Which slot a virtual actor lives in (ACT-2). The Directory says which shard has the slot."""

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from storage.placement import SLOTS, slot_of

__all__ = ["SLOTS", "addressee", "owner_of", "slot_of"]

_TO_A_PERSON = (
    wire.Position, wire.NearQuery, wire.Here, wire.Away, wire.WatchOnline, wire.MatchOnline,
    wire.OnlineChanged, wire.RegionCheck, wire.ShareWatch, wire.ShareShown, wire.WatchersQuery,
    wire.StayQuery, wire.TrailQuery, wire.ForgetPositions, wire.TallyChanged,
)  # fmt: skip


def owner_of(channel: str) -> tuple[str, str]:
    """The (kind, key) of the virtual actor that owns an internal channel."""
    if channel.startswith(("presence:", "passive:")):
        channel = channel.partition(":")[2]
    if channel.startswith("room:"):
        return "room", channel.removeprefix("room:")
    if channel.startswith("fence:"):
        return "fence", channel.removeprefix("fence:").partition("@")[0]
    _, _, user = channel.partition("@")
    return "user", user.partition("#")[0]


def addressee(message: wire.Request) -> tuple[str, str]:
    """The (kind, key) that a request is for."""
    channel = getattr(message, "ch", None)
    if channel is not None:
        return owner_of(channel)
    if isinstance(message, _TO_A_PERSON):
        return "user", message.user
    if isinstance(message, wire.RegionEnter | wire.RegionLeave | wire.RegionFollow | wire.RegionCrowd):
        return "region", message.region
    if isinstance(message, wire.Crossing):
        return "room", message.room
    if isinstance(message, wire.FenceMoved):
        return "fence", message.fence
    if isinstance(message, wire.Refresh | wire.Remind):
        return message.kind, message.key
    raise EngineError(ErrorCode.INTERNAL, f"{type(message).__name__} has no addressee")
