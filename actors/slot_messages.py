"""What crosses the link about links, views and slots (messages.py has the rest, and the unions)."""

import msgspec


class Framed(msgspec.Struct, array_like=True, gc=False):
    """Base of all that is framed on a link."""


# -- link and directory ------------------------------------------------------------------------------------


class Hello(Framed, tag=60):
    """First message of a dialling peer. `role`: gateway, api, shard; `incarnation` is new per process."""

    role: str
    name: str
    incarnation: str
    address: str = ""
    """Shard: its link address. Gateway: the WebSocket URL that clients use; empty while it is draining."""
    node: str = ""
    """The node that the process runs on."""


class View(Framed, tag=61):
    """The Directory's answer to Hello, and pushed at each change. `owners` and `epochs` have 1,024 items;
    a shard that is down has no address. `handed` are the slots that came to their owner by hand-off.
    `incarnations` are the processes that were admitted as shards under these epochs: an older one that reads
    this has been replaced, a newer one has no slots yet.
    """

    version: int
    addresses: dict[int, str]
    owners: list[int]
    epochs: list[int]
    gateways: dict[str, str]
    handed: list[int] = []
    incarnations: dict[int, str] = {}


class StatusQuery(Framed, tag=62):
    """Asks a shard or the Directory for its counters. Replied a dict."""

    rid: int


class ViewQuery(Framed, tag=10):
    """Asks the Directory for its newest view: somebody was heard of who knows a newer one (ACT-3)."""

    rid: int


# -- slots that move ---------------------------------------------------------------------------------------


class Retire(Framed, tag=70):
    """To the Directory: hand all slots of `shard` to others and give it none again. Replied {} when it has
    none left; 108 where no other shard could take them.
    """

    rid: int
    shard: int


class Seal(Framed, tag=71):
    """Directory to the owner of `slots`: finish what is under way, hold what arrives, give the state to shard
    `target`, which will have the slots under their next epochs. Replied the slots of which that is done; the
    others are served on. A view or `Unseal` says what became of it.
    """

    rid: int
    slots: list[int]
    target: int


class Unseal(Framed, tag=72):
    """Directory to the owner of `slots`: they do not move after all."""

    slots: list[int]


class Load(Framed, tag=78):
    """Shard to Directory, every few seconds: share of a core, messages sampled per slot, activations, and how
    many messages wait in mailboxes.
    """

    shard: int
    cpu: float
    slots: dict[int, int]
    activations: int
    mailbox: int


class Pulse(Framed, tag=79):
    """Shard to Directory, every second: it runs."""


class Take(Framed, tag=73):
    """Old owner to the new one: the states of a slot (snapshot.py), to be served from once a view says that
    the slot was handed to the receiver under `epoch`. Part 0 begins anew, and counts only with all others.
    `gateways` are the incarnations that the old owner had links to, `told` those of them that had told it all
    their rows of the slot. Replied {}.
    """

    rid: int
    slot: int
    epoch: int
    part: int
    parts: int
    gateways: list[str]
    told: list[str]
    states: bytes


class Barrier(Framed, tag=75):
    """To a shard that `slots` were taken from: replied {} once it knows view `version` and all that it held
    for these slots has been bounced.
    """

    rid: int
    version: int
    slots: list[int]


class HoldsQuery(Framed, tag=76):
    """To a slot's new owner, once it knows view `version`: of which of these slots does it hold state and the
    asker's subscriptions, by hand-off? Replied a list of slots. For the others whoever asks subscribes again.
    """

    rid: int
    version: int
    slots: list[int]
