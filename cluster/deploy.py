"""Carries out one order of a supervisor on Ray, then ends: puts an engine there, changes it, empties a node.

The supervisor starts it early, so that its imports (seconds) overlap with the start of Ray and the databases,
and sends one JSON line on standard input when those are there. Progress goes out as lines on standard output;
the last line is JSON: {"ok": …} or {"error": …}.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import ray
from ray import serve

from actors.directory import DirectoryConfig
from actors.directory_actor import DirectoryActor
from actors.site import Site
from cluster import fleet
from cluster.fleet import FleetError, Node
from cluster.ray_head import NAMESPACE
from serve_app import matcher, reader
from serve_app.app import ApiConfig, build_api
from serve_app.gateway import GatewayConfig, build_gateway

TEMPLATE_TIMEOUT_S = 90.0


def tell(line: str) -> None:
    print(line, flush=True)


def deploy(order: dict[str, Any]) -> dict[str, Any]:
    """The whole engine, on a fresh head."""
    node = Node(**order["node"])
    fleet.put_template(order["template"])
    directory = (
        fleet.titled("hereabouts-directory", DirectoryActor)
        .options(**fleet.actor_options(node.name), name="directory", get_if_exists=True)
        .remote(DirectoryConfig(**_values(order["directory"])))
    )
    ray.get(directory.ready.remote())
    shards = fleet.place_shards(node, order["shards"], order["remembered"], tell)
    tell("Directory and shards run")
    serve.start(
        http_options=order["http"], proxy_location="HeadOnly", logging_config={"enable_access_log": False}
    )
    template = order["template"]
    gateway = GatewayConfig(
        **_values({**template["gateway"]}),
        run_dir=node.run_dir,
        host=node.gateway_host,
        port=node.gateway_port,
        site=node.site(template),
    )
    serve.run_many(
        [
            serve.RunTarget(build_gateway(gateway), name="hereabouts-gateway", route_prefix="/rt"),
            serve.RunTarget(
                build_api(ApiConfig(**_values(order["api"]))), name="hereabouts-api", route_prefix="/"
            ),
            serve.RunTarget(
                matcher.build_matcher(matcher.MatcherConfig(**_values(order["matcher"]))),
                name=matcher.APP,
                route_prefix=None,
            ),
            serve.RunTarget(
                reader.build_reader(reader.ReaderConfig(**_values(order["reader"]))),
                name=reader.APP,
                route_prefix=None,
            ),
        ]
    )
    fleet.place_gateways(node, range(1, order["gateways"]), tell)
    tell("Api and gateways run")
    return {"shards": shards, "gateways": order["gateways"]}


def scale(order: dict[str, Any]) -> dict[str, Any]:
    """Shards and gateways of one node. The first gateway of the head is Serve's and always there."""
    node = Node(**order["node"])
    gateways = range(order["first_gateway"], order["gateways"])
    shards = fleet.place_shards(node, order["shards"], order["remembered"], tell)
    fleet.place_gateways(node, gateways, tell)
    return {"shards": shards, "gateways": order["gateways"]}


def join(order: dict[str, Any]) -> dict[str, Any]:
    """A node's first shards and gateways, once the head has said what to tell them."""
    until_s = time.monotonic() + TEMPLATE_TIMEOUT_S
    while fleet.get_template() is None:
        if time.monotonic() > until_s:
            raise FleetError("the engine at the head is not there yet")
        time.sleep(0.2)
    return scale(order) | {"directory": (fleet.get_template() or {})["directory"]}


def drain(order: dict[str, Any]) -> dict[str, Any]:
    """Empties a node."""
    fleet.drain_node(order["name_of_node"], tell)
    return {"shards": [], "gateways": 0}


def dismiss(order: dict[str, Any]) -> dict[str, Any]:
    """Sends the clients of all other nodes away."""
    fleet.dismiss(order["node"]["name"], tell)
    return {}


ORDERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "deploy": deploy, "scale": scale, "join": join, "drain": drain, "dismiss": dismiss,
}  # fmt: skip


def _values(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples and no Site."""
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return known | ({"site": Site(**values["site"])} if "site" in values else {})


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        return  # the supervisor gave up
    order: dict[str, Any] = json.loads(line)
    ray.init(
        address=order["ray_address"],
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    result: dict[str, Any]
    try:
        result = {"ok": ORDERS[order["order"]](order)}
    except FleetError as wrong:
        result = {"error": str(wrong)}
    print(json.dumps(result), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
