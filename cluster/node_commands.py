"""The commands that change what an engine consists of: `scale`, `join`, `drain`."""
# ruff: noqa: PLC0415

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from cluster.settings import inherited_environment, load

SCALE = """\
Change how many shards and gateways stand on the node of the data folder (the engine's, or a joined node's).
Slots of a shard that goes are handed to others first; clients of a gateway that goes are sent to another one,
within 30 s. Holds until the node stops: what stands there at the next start is in its settings. Prints the
shards' numbers and the number of gateways as JSON.
"""

JOIN = """\
Add a node to a running engine and keep it running. --data is the node's own folder, not the engine's. On the
engine's own machine PORT is its HTTP port (or its Ray port), and Ray's token is read from the engine's data
folder. From another machine HOST:PORT is the Ray address that `hereabouts status` prints at the head, the
engine must have been started with --bind and an external database and Redis, and --token-file names a copy of
the file that `status` prints. Links between machines are authenticated, not encrypted: use a private network.
Ctrl-C or `hereabouts down --data DIR` hands off what stands here, then stops it.
"""

DRAIN = """\
Empty a joined node: its slots go to other shards, its clients to other gateways; then it can be stopped
without loss. --data is the engine's folder, or the node's own. A node that is gone for good can be drained
too: the engine then forgets it.
"""


def _data(arguments: argparse.Namespace) -> Path:
    return load({"data": arguments.data}).settings.data


def _join(arguments: argparse.Namespace) -> int:
    from cluster.console import Progress
    from cluster.joined import Joining, join

    joining = Joining(
        head=arguments.head,
        data=_data(arguments),
        name=arguments.name,
        token_file=arguments.token_file,
        address=arguments.address,
        gateway_port=arguments.gateway_port,
        shards=arguments.shard_count,
        gateways=arguments.gateway_count,
    )
    if arguments.detach:
        from cluster.detached import join_detached

        print(join_detached(joining), flush=True)
        return 0
    tell = Progress()
    asyncio.run(join(joining, inherited_environment(), tell, lambda url: print(f"ready {url}", flush=True)))
    return 0


def _scale(arguments: argparse.Namespace) -> int:
    return _give(
        arguments, {"order": "scale", "shards": arguments.shard_count, "gateways": arguments.gateway_count}
    )


def _drain(arguments: argparse.Namespace) -> int:
    return _give(arguments, {"order": "drain", "name": arguments.node})


def _give(arguments: argparse.Namespace, order: dict[str, Any]) -> int:
    from cluster import layout, orders
    from cluster.console import Progress

    place = layout.layout_of(_data(arguments))
    print(json.dumps(asyncio.run(orders.give(place, order, Progress()))))
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def add(commands: Any, where: argparse.ArgumentParser) -> None:
    """Adds the three to the parser of the command line."""
    scale = commands.add_parser(
        "scale",
        parents=[where],
        help="change how many shards and gateways stand on a node, while it runs",
        description=SCALE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scale.add_argument("--shards", type=_count, dest="shard_count", metavar="N", help="shards of this node")
    scale.add_argument(
        "--gateways", type=_count, dest="gateway_count", metavar="N", help="gateways of this node"
    )
    scale.set_defaults(run=_scale)

    join = commands.add_parser(
        "join",
        parents=[where],
        help="add a node: shards and gateways on this machine that serve the engine at HOST:PORT",
        description=JOIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    join.add_argument("head", metavar="HOST:PORT", help="the engine to join")
    join.add_argument("--name", default="", help="the node's name (default: made of the machine's)")
    join.add_argument("--token-file", type=Path, metavar="FILE", help="Ray's token, for an engine elsewhere")
    join.add_argument(
        "--bind", dest="address", default="127.0.0.1", metavar="ADDR",
        help="this node's address, for clients and the other nodes (default: 127.0.0.1)",
    )  # fmt: skip
    join.add_argument(
        "--gateway-port", type=int, default=0, metavar="PORT", help="of the gateways (default: a free one)"
    )
    join.add_argument("--shards", type=_count, dest="shard_count", default=1, metavar="N", help="default: 1")
    join.add_argument(
        "--gateways", type=_count, dest="gateway_count", default=1, metavar="N", help="default: 1"
    )
    join.add_argument("--detach", action="store_true", help="return when it is ready, and leave it running")
    join.set_defaults(run=_join)

    drain = commands.add_parser(
        "drain",
        parents=[where],
        help="empty a node: its slots to others, its clients away; then it can be stopped without loss",
        description=DRAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    drain.add_argument("node", metavar="NODE", help="the node's name, as `status` prints it")
    drain.set_defaults(run=_drain)
