"""Puts the engine's actors and Serve applications on a running Ray head, then ends.

The supervisor starts it early, so that its imports (seconds) overlap with the start of Ray and the databases,
and sends one JSON line on standard input when those are there. Progress goes out as lines on standard output.
"""

import json
import logging
import sys
from typing import Any

import ray
from ray import serve

from actors.directory import DirectoryActor, DirectoryConfig
from actors.shard import ShardConfig
from actors.shard_actor import ShardActor
from actors.site import Site
from cluster.ray_head import NAMESPACE
from serve_app.app import ApiConfig, build_api
from serve_app.gateway import GatewayActor, GatewayConfig, build_gateway

# Detached: they outlive this process. No retries of calls: idempotency is ours (architecture.md, §8).
ACTOR_OPTIONS = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 1000,
}


def titled(title: str, actor: type) -> Any:
    """A Ray actor class whose processes are titled `ray::<title>`, as Ray takes it from the class name."""
    return ray.remote(type(title, (actor,), {"__module__": __name__}))


def start_actors(plan: dict[str, Any]) -> None:
    directory = (
        titled("hereabouts-directory", DirectoryActor)
        .options(name="directory", **ACTOR_OPTIONS)
        .remote(DirectoryConfig(**_values(plan["directory"])))
    )
    shard_class = titled("hereabouts-shard", ShardActor)
    shards = [
        shard_class.options(name=f"shard-{each['shard']}", **ACTOR_OPTIONS).remote(
            ShardConfig(**_values(each))
        )
        for each in plan["shards"]
    ]
    ray.get([actor.ready.remote() for actor in (directory, *shards)])


def start_applications(plan: dict[str, Any]) -> None:
    serve.start(
        http_options=plan["http"], proxy_location="HeadOnly", logging_config={"enable_access_log": False}
    )
    common = _values(plan["gateway"])
    gateway_class = titled("hereabouts-gateway", GatewayActor)
    others = [
        gateway_class.options(name=f"gateway-{number}", **ACTOR_OPTIONS).remote(
            GatewayConfig(**common, number=number)
        )
        for number in range(1, plan["gateways"])
    ]
    gateway = build_gateway(GatewayConfig(**common))
    api = build_api(ApiConfig(**_values(plan["api"])))
    serve.run_many(
        [
            serve.RunTarget(gateway, name="hereabouts-gateway", route_prefix="/rt"),
            serve.RunTarget(api, name="hereabouts-api", route_prefix="/"),
        ]
    )
    ray.get([actor.ready.remote() for actor in others])


def _values(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples and no Site."""
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return {**known, "site": Site(**values["site"])}


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        return  # the supervisor gave up
    plan: dict[str, Any] = json.loads(line)
    ray.init(
        address=plan["ray_address"],
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    start_actors(plan)
    print("Directory and shards run", flush=True)
    start_applications(plan)
    print("Api and gateway run", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
