"""The engine that a job runs on: found through Ray, which the job was submitted to (ML-3)."""

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import ray
from ray.experimental.internal_kv import _internal_kv_get as kv_get

NAMESPACE = "hereabouts"
_TEMPLATE = "template"


class NoEngineError(Exception):
    """There is no engine under this process; the message says how to run on one."""


@dataclass(frozen=True, slots=True)
class EngineSite:
    """What a job needs of its engine. Printing it shows no secret."""

    database_url: str
    redis_url: str
    privacy_k: int

    def __repr__(self) -> str:
        return "EngineSite(…)"


def site() -> EngineSite:
    """Connect to Ray, if this process is not yet, and return the engine on it. Raises NoEngineError."""
    if not ray.is_initialized():
        try:
            ray.init(address="auto", namespace=NAMESPACE, logging_level=logging.WARNING)
        except ConnectionError:
            raise NoEngineError(
                "no Ray to run on: have the job submitted, as `hereabouts status` says"
            ) from None
    found = kv_get(_TEMPLATE, namespace=NAMESPACE)
    if found is None:
        raise NoEngineError("no engine runs on this Ray (yet); wait until `hereabouts status` says ready")
    shard = json.loads(found)["shard"]
    return EngineSite(shard["database_url"], shard["redis_url"], shard["privacy_k"])


async def connect(database_url: str, job: str) -> Any:
    """Return a connection of a job's own: without a limit on how long a statement takes."""
    return await asyncpg.connect(
        database_url, server_settings={"application_name": f"hereabouts-{job}", "timezone": "UTC"}
    )


@cache
def code_version(folder: Path = Path(__file__).parent.parent) -> str:
    """Return the engine's version and a digest of the code that makes features and models of them."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.py"), *folder.glob("jobs/*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{version('hereabouts')}+{digest.hexdigest()[:12]}"
