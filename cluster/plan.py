"""From the settings to what `cluster.deploy` puts on Ray: plain values, ready for JSON."""

import hashlib
import hmac
from importlib.metadata import version
from typing import Any

from actors.site import Address
from cluster import layout
from cluster.layout import Layout
from cluster.ray_head import RayPorts
from cluster.settings import Settings

NODE = "head"
RAY_TOKEN_CHARACTERS = 64


def deployment_plan(
    settings: Settings, place: Layout, ports: RayPorts, database_url: str, redis_url: str
) -> dict[str, Any]:
    run_dir = str(place.run)
    secret_key = settings.secret_key or development_key(place)
    site = {
        "node": NODE,
        "host": ports.host,
        "secret": link_secret(layout.secret(place.ray_token, RAY_TOKEN_CHARACTERS)),
        "directory": str(Address(f"{run_dir}/directory.sock", ports.host, ports.directory, NODE)),
    }
    return {
        "ray_address": ports.address,
        "http": {"host": settings.bind, "port": settings.port},
        "directory": {
            "run_dir": run_dir,
            "database_url": database_url,
            "shards": settings.shards,
            "site": site,
        },
        "shards": [
            {
                "run_dir": run_dir,
                "database_url": database_url,
                "redis_url": redis_url,
                "shard": shard,
                "idle_deactivate_s": settings.idle_deactivate_s,
                "privacy_k": settings.privacy_k,
                "site": site,
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
            "site": site,
            "rate_limits": settings.rate_limits,
            "redis_url": redis_url,
            "connections_per_user": settings.connections_per_user,
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
            "site": site,
        },
    }


def link_secret(ray_token: str) -> str:
    """What the ends of links between nodes prove to know: whoever may join Ray may join these."""
    return hmac.new(ray_token.encode(), b"hereabouts link", hashlib.sha256).hexdigest()


def development_key(place: Layout) -> str:
    """The secret key of a development engine, made on first use; production is given one."""
    return layout.secret(place.data / "secrets" / "engine.key")
