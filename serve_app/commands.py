"""The commands of a client, typed: what stands behind each verb key of a frame (docs/protocol.md §2).

Unknown fields are ignored; an optional field may be left out or null.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from actors.protocol import OFFSET_LIMIT

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Offset = Annotated[int, Meta(ge=0, lt=OFFSET_LIMIT)]
Count = Annotated[int, Meta(ge=0)]
Epoch = Annotated[str, Meta(max_length=128)]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""A finite number: the bounds refuse NaN and infinities, which MessagePack can carry."""
ChannelNumber = Annotated[int, Meta(ge=0, lt=2**32)]
Milliseconds = Annotated[int, Meta(ge=-(2**53), le=2**53)]


Mode = Literal["stream", "cache", "map", "passive"]


class Resume(msgspec.Struct):
    """A session that the client would take up again."""

    sid: str
    key: str


FilterValue = bool | Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | str | None


class SubscriptionOptions(msgspec.Struct):
    """All of a `sub` but its channel: what `connect.subs` holds per channel."""

    mode: Mode | None = None
    epoch: Epoch | None = None
    offset: Offset | None = None
    limit: Count | None = None
    filter: dict[str, FilterValue | list[FilterValue]] | None = None
    cursor: str | None = None


class Connect(msgspec.Struct):
    token: Annotated[str, Meta(max_length=8192)] = ""  # none is refused as a wrong one is: 101
    device: Name | None = None
    sdk: str | None = None
    resume: Resume | None = None
    subs: dict[str, SubscriptionOptions] | None = None


class Sub(SubscriptionOptions, kw_only=True):
    ch: str


class Unsub(msgspec.Struct):
    ch: str


class Pub(msgspec.Struct):
    ch: str
    d: msgspec.Raw
    cid: Name | None = None
    ack: Literal["none", "relay", "durable"] | None = None


class Since(msgspec.Struct):
    """A position in a stream, exclusive."""

    epoch: Epoch
    offset: Offset


class Hist(msgspec.Struct):
    ch: str
    limit: Count | None = None
    since: Since | None = None
    reverse: bool | None = None


class Pres(msgspec.Struct):
    ch: str


class Refresh(msgspec.Struct):
    token: Token


class Rpc(msgspec.Struct):
    method: str
    params: msgspec.Raw = msgspec.Raw()


class Subrefresh(msgspec.Struct):
    ch: str
    token: Token


class Fix(msgspec.Struct, array_like=True):
    """The array of a `pos`: WGS84 degrees, metres, Unix ms. Ranges are the position's actor's to judge."""

    lat: Number
    lon: Number
    acc_m: Number
    t_ms: Milliseconds
    speed_mps: Number | None = None
    heading_deg: Number | None = None
