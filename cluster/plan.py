"""From the settings to what `cluster.deploy` puts on Ray: plain values, ready for JSON."""

import hashlib
import hmac
from importlib.metadata import version
from typing import Any

from actors.site import Address
from cluster import layout
from cluster.layout import Layout
from cluster.ray_head import RayPorts, front_host
from cluster.settings import Settings
from identity.secrets import derive

HEAD = "head"
RAY_TOKEN_CHARACTERS = 64


def head_node(settings: Settings, place: Layout, ports: RayPorts) -> dict[str, Any]:
    """What is the head's own in what its shards and gateways are told (fleet.Node)."""
    return {
        "name": HEAD,
        "run_dir": str(place.run),
        "host": ports.host,
        "gateway_host": settings.bind,
        "gateway_port": settings.gateway_port,
    }


def deployment(
    settings: Settings, place: Layout, ports: RayPorts, database_url: str, redis_url: str
) -> dict[str, Any]:
    """The order `deploy`, but for how many shards and gateways there are to be."""
    run_dir = str(place.run)
    secret_key = settings.secret_key or development_key(place)
    directory = directory_address(place, ports)
    secret = link_secret(layout.secret(place.ray_token, RAY_TOKEN_CHARACTERS))
    site = {"node": HEAD, "host": ports.host, "secret": secret, "directory": directory}
    return {
        "order": "deploy",
        "ray_address": ports.address,
        "http": {"host": front_host(settings.bind), "port": settings.port},
        "node": head_node(settings, place, ports),
        "directory": {
            "run_dir": run_dir,
            "database_url": database_url,
            "shards": settings.shards,
            "site": site,
        },
        "template": {
            "secret": secret,
            "directory": directory,
            "http_url": settings.url,
            "shard": {
                "database_url": database_url,
                "redis_url": redis_url,
                "idle_deactivate_s": settings.idle_deactivate_s,
                "memory_budget_mib": settings.memory_budget_mib,
                "region_split_users": settings.region_split_users,
                "position_history_ms": int(settings.position_history_s * 1000),
                "models_kept": settings.models_kept,
                "datasets_kept_ms": int(settings.datasets_kept_s * 1000),
                "position_ttl_ms": int(settings.position_ttl_s * 1000),
                "privacy_k": settings.privacy_k,
                "rate_limits": settings.rate_limits,
                "places_key": derive(secret_key, "places").hex(),
            },
            "gateway": {
                "database_url": database_url,
                "allowed_origins": settings.allowed_origins,
                "rate_limits": settings.rate_limits,
                "redis_url": redis_url,
                "connections_per_user": settings.connections_per_user,
            },
        },
        "matcher": {
            "run_dir": run_dir,
            "database_url": database_url,
            "redis_url": redis_url,
            "privacy_k": settings.privacy_k,
            "site": site,
        },
        "reader": {"database_url": database_url, "site": site},
        "api": {
            "run_dir": run_dir,
            "database_url": database_url,
            "redis_url": redis_url,
            "mode": settings.mode,
            "gateway_url": settings.gateway_url,
            "fallback_url": settings.fallback_url,
            "access_token_s": settings.access_token_s,
            "privacy_k": settings.privacy_k,
            "erase_grace_s": settings.erase_grace_s,
            "allowed_origins": settings.allowed_origins,
            "rate_limits": settings.rate_limits,
            "secret_key": secret_key,
            "version": version("hereabouts"),
            "connections_per_user": settings.connections_per_user,
            "site": site,
        },
    }


def directory_address(place: Layout, ports: RayPorts) -> str:
    """Where the Directory listens, on its node and for others."""
    return str(Address(f"{place.run}/directory.sock", ports.host, ports.directory, HEAD))


def link_secret(ray_token: str) -> str:
    """What the ends of links between nodes prove to know: whoever may join Ray may join these."""
    return hmac.new(ray_token.encode(), b"hereabouts link", hashlib.sha256).hexdigest()


def development_key(place: Layout) -> str:
    """The secret key of a development engine, made on first use; production is given one."""
    return layout.secret(place.data / "secrets" / "engine.key")
