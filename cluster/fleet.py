"""Which shards and gateways stand on a node, and making it so; inside a process that is connected to Ray.

What the nodes must agree on stands in the GCS' key-value store: what every shard and gateway is told
(`template`, put there by the head), and which node claimed which shard number.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_del as kv_del
from ray.experimental.internal_kv import _internal_kv_get as kv_get
from ray.experimental.internal_kv import _internal_kv_list as kv_list
from ray.experimental.internal_kv import _internal_kv_put as kv_put

from actors import messages as wire
from actors.probe import ask
from actors.protocol import EngineError
from actors.shard import ShardConfig
from actors.shard_actor import ShardActor
from actors.site import NODE_LABEL, Site
from cluster.ray_head import NAMESPACE
from serve_app.gateway import GatewayActor, GatewayConfig

Tell = Callable[[str], None]

RETIRE_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 60.0
RETRY_S = 0.2
DRAIN_TIMEOUT_S = 30.0
PING_TIMEOUT_S = 3.0
MOST_SHARDS = 1_000

_TEMPLATE = "template"
_CLAIM = "shard/"


class FleetError(Exception):
    """What was asked for can't be had; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Node:
    """What differs from node to node in the configurations of what stands there."""

    name: str
    run_dir: str
    host: str
    gateway_host: str
    gateway_port: int

    def site(self, template: dict[str, Any]) -> Site:
        """Where a process on this node stands."""
        return Site(self.name, self.host, template["secret"], template["directory"])


# Detached: they outlive the process that makes them. No retries of calls: idempotency is ours
# (architecture.md, §8).
def actor_options(node: str) -> dict[str, Any]:
    return {
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,
        "max_concurrency": 1000,
        "label_selector": {NODE_LABEL: node},
    }


def titled(title: str, actor: type) -> Any:
    """A Ray actor class whose processes are titled `ray::<title>`, as Ray takes it from the class name."""
    return ray.remote(type(title, (actor,), {"__module__": __name__}))


# -- what all nodes know ---------------------------------------------------------------------------------


def put_template(template: dict[str, Any]) -> None:
    """What a joining node needs to know, secrets included: whoever reads it has Ray's token."""
    kv_put(_TEMPLATE, json.dumps(template), namespace=NAMESPACE)


def get_template() -> dict[str, Any] | None:
    """None while the head has not said."""
    found = kv_get(_TEMPLATE, namespace=NAMESPACE)
    return None if found is None else dict(json.loads(found))


def claimed() -> dict[int, str]:
    """Shard numbers, and the node of each."""
    keys = kv_list(_CLAIM, namespace=NAMESPACE)
    found = {}
    for key in keys:
        value = kv_get(key, namespace=NAMESPACE)
        if value is not None:
            found[int(key.decode().removeprefix(_CLAIM))] = value.decode()
    return found


def _claim(node: str, number: int) -> bool:
    """Whether the number is the node's now. Of two that ask at once one gets it."""
    key = f"{_CLAIM}{number}"
    kv_put(key, node, overwrite=False, namespace=NAMESPACE)
    holder = kv_get(key, namespace=NAMESPACE)
    return holder is not None and holder.decode() == node


def _shards_of(node: str) -> list[int]:
    return sorted(number for number, holder in claimed().items() if holder == node)


def _gateways_of(node: str) -> dict[int, str]:
    """The gateways on a node that are plain actors: number → name."""
    prefix = f"gateway-{node}-"
    names = [name for name in ray.util.list_named_actors() if name.startswith(prefix)]
    return {int(name.removeprefix(prefix)): name for name in names}


# -- making it so ----------------------------------------------------------------------------------------


def place_shards(node: Node, count: int, remembered: Iterable[int], tell: Tell) -> list[int]:
    """Start or end shards until `count` stand on the node; returns their numbers. Numbers that it had before
    are taken first. Raises FleetError where the slots of those that have to go can't be handed on.
    """
    have = _shards_of(node.name)
    for number in (*remembered, *range(MOST_SHARDS)):
        if len(have) >= count:
            break
        if number not in have and _claim(node.name, number):
            have.append(number)
    surplus = sorted(have)[count:]
    keep = sorted(set(have) - set(surplus))
    _start_shards(node, keep)
    if surplus:
        retire(surplus, tell)
    return keep


def _start_shards(node: Node, numbers: list[int]) -> None:
    template = _known_template()
    shard_class = titled("hereabouts-shard", ShardActor)
    started = []
    for number in numbers:
        config = ShardConfig(
            **template["shard"], run_dir=node.run_dir, shard=number, site=node.site(template)
        )
        options = {**actor_options(node.name), "name": f"shard-{number}", "get_if_exists": True}
        started.append(shard_class.options(**options).remote(config))
    await_ready(started)


def await_ready(actors: list[Any]) -> None:
    """Back when all serve. One whose node was killed is missed by the GCS only after its health checks; till
    then it is asked in vain, and then started anew.
    """
    until_s = time.monotonic() + READY_TIMEOUT_S
    for actor in actors:
        while True:
            try:
                ray.get(actor.ready.remote(), timeout=max(0.1, until_s - time.monotonic()))
                break
            except ray.exceptions.ActorUnavailableError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(RETRY_S)


def retire(numbers: Iterable[int], tell: Tell) -> None:
    """Hand the slots of these shards to others, then end them. Raises FleetError if that is not possible:
    then they go on serving.
    """
    numbers = list(numbers)
    template = _known_template()
    site = Site("", "", template["secret"])
    asyncio.run(_hand_off(template["directory"], site, numbers))
    tell(f"handed the slots of {_shards(numbers)} to others")
    for number in numbers:
        _end(f"shard-{number}")
        kv_del(f"{_CLAIM}{number}", namespace=NAMESPACE)


async def _hand_off(directory: str, site: Site, numbers: list[int]) -> None:
    """All at once, so that none of them is given the slots of another."""
    asked = [ask(directory, wire.Retire(0, number), site, timeout_s=RETIRE_TIMEOUT_S) for number in numbers]
    for number, answer in zip(numbers, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if isinstance(answer, (OSError, TimeoutError, EngineError)):
            reason = str(answer) or type(answer).__name__
            raise FleetError(f"the slots of shard {number} were not handed on: {reason}") from answer
        if isinstance(answer, BaseException):
            raise answer


def place_gateways(node: Node, numbers: range, tell: Tell) -> None:
    """Start or end gateways until those with these numbers stand on the node."""
    template = _known_template()
    gateway_class = titled("hereabouts-gateway", GatewayActor)
    common: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in template["gateway"].items()
    }
    started = []
    for number in numbers:
        config = GatewayConfig(
            **common,
            run_dir=node.run_dir,
            host=node.gateway_host,
            port=node.gateway_port,
            site=node.site(template),
            number=number,
        )
        options = {
            **actor_options(node.name), "name": f"gateway-{node.name}-{number}", "get_if_exists": True,
        }  # fmt: skip
        started.append(gateway_class.options(**options).remote(config))
    await_ready(started)
    drain_gateways([name for number, name in _gateways_of(node.name).items() if number not in numbers], tell)


def drain_gateways(names: list[str], tell: Tell) -> None:
    """Send the clients of these gateways away, then end them. One that does not answer has none any more."""
    if not names:
        return
    actors = []
    for name in names:
        with suppress(ValueError):  # it ended meanwhile
            actors.append(ray.get_actor(name, namespace=NAMESPACE))
    there = [actor for actor, _ in _answers(actors, "ready", PING_TIMEOUT_S)]
    sent = sum(count for _, count in _answers(there, "drain", DRAIN_TIMEOUT_S))
    tell(f"sent {sent} clients away from {len(names)} gateways")
    for name in names:
        _end(name)


def _answers(actors: list[Any], method: str, timeout_s: float) -> list[tuple[Any, Any]]:
    """What each actor says that answers in time."""
    asked = {getattr(actor, method).remote(): actor for actor in actors}
    done = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)[0] if asked else []
    found = []
    for answer in done:
        with suppress(ray.exceptions.RayError):  # its process is gone
            found.append((asked[answer], ray.get(answer)))
    return found


def dismiss(home: str, tell: Tell) -> None:
    """End the gateways of all other nodes: the engine is about to stop."""
    names = [name for name in ray.util.list_named_actors() if name.startswith("gateway-")]
    drain_gateways([name for name in names if not name.startswith(f"gateway-{home}-")], tell)


def drain_node(name: str, tell: Tell) -> None:
    """Hand off everything that stands on a node, also if it is gone. Raises FleetError."""
    shards, gateways = _shards_of(name), _gateways_of(name)
    if not shards and not gateways:
        raise FleetError(f"nothing stands on a node {name!r}; there is {_known_nodes()}")
    if shards:
        retire(shards, tell)
    drain_gateways(list(gateways.values()), tell)


def _end(name: str) -> None:
    try:
        ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    except ValueError:
        return


def _known_template() -> dict[str, Any]:
    template = get_template()
    if template is None:
        raise FleetError("the head has not said yet what shards and gateways are told")
    return template


def _known_nodes() -> str:
    return ", ".join(sorted(set(claimed().values()))) or "none"


def _shards(numbers: list[int]) -> str:
    return f"shard {numbers[0]}" if len(numbers) == 1 else f"shards {', '.join(map(str, numbers))}"
