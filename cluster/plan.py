"""From the settings to what `cluster.deploy` puts on Ray: plain values, ready for JSON."""

from importlib.metadata import version
from typing import Any

from cluster import layout
from cluster.layout import Layout
from cluster.ray_head import RayPorts
from cluster.settings import Settings

NODE = "head"


def deployment_plan(
    settings: Settings, place: Layout, ports: RayPorts, database_url: str, redis_url: str
) -> dict[str, Any]:
    run_dir = str(place.run)
    secret_key = settings.secret_key or development_key(place)
    return {
        "ray_address": ports.address,
        "http": {"host": settings.bind, "port": settings.port},
        "directory": {"run_dir": run_dir, "database_url": database_url, "shards": settings.shards},
        "shards": [
            {
                "run_dir": run_dir,
                "database_url": database_url,
                "redis_url": redis_url,
                "shard": shard,
                "idle_deactivate_s": settings.idle_deactivate_s,
                "privacy_k": settings.privacy_k,
            }
            for shard in range(settings.shards)
        ],
        "gateways": settings.gateways,
        "gateway": {
            "run_dir": run_dir,
            "host": settings.bind,
            "port": settings.gateway_port,
            "database_url": database_url,
            "allowed_origins": settings.allowed_origins,
            "node": NODE,
            "rate_limits": settings.rate_limits,
        },
        "api": {
            "run_dir": run_dir,
            "database_url": database_url,
            "redis_url": redis_url,
            "mode": settings.mode,
            "gateway_url": settings.gateway_url,
            "fallback_url": settings.fallback_url,
            "access_token_s": settings.access_token_s,
            "privacy_k": settings.privacy_k,
            "allowed_origins": settings.allowed_origins,
            "rate_limits": settings.rate_limits,
            "secret_key": secret_key,
            "version": version("hereabouts"),
        },
    }


def development_key(place: Layout) -> str:
    """The secret key of a development engine, made on first use; production is given one."""
    return layout.secret(place.data / "secrets" / "engine.key")
