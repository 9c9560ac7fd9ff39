"""Asyncio client of a Hereabouts engine (docs/protocol.md): see README.md."""

from hereabouts_client.client import Client, Token
from hereabouts_client.core import Core
from hereabouts_client.effects import Published
from hereabouts_client.errors import (
    ClosedError,
    DuplicateError,
    HereaboutsError,
    LostError,
    NoTokenError,
    QueueFullError,
    RefusedError,
)
from hereabouts_client.events import (
    Change,
    ChannelEvent,
    Connecting,
    ConnectionEvent,
    Counted,
    Ended,
    Ephemeral,
    Gap,
    Lagged,
    Meta,
    Online,
    Position,
    Presence,
    Publication,
    Rows,
    Sampled,
    Stopped,
    Subscribed,
    Waiting,
    Warned,
)
from hereabouts_client.history import Page
from hereabouts_client.options import Options
from hereabouts_client.subscription import Subscription

__all__ = [
    "Change", "ChannelEvent", "Client", "ClosedError", "Connecting", "ConnectionEvent", "Core", "Counted",
    "DuplicateError", "Ended", "Ephemeral", "Gap", "HereaboutsError", "Lagged", "LostError", "Meta",
    "NoTokenError", "Online", "Options", "Page", "Position", "Presence", "Publication", "Published",
    "QueueFullError", "RefusedError", "Rows", "Sampled", "Stopped", "Subscribed", "Subscription", "Token",
    "Waiting", "Warned",
]  # fmt: skip
