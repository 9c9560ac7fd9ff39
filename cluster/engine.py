"""The state file of a running engine: what `status`, `down` and the next `up` need to know of it."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.processes import Identity

FORMAT = 4


@dataclass(slots=True)
class EngineState:
    """`mark` is what the engine's Ray processes carry in their environment (leftovers.MARK)."""

    supervisor: Identity
    url: str
    gateway_url: str
    mode: str
    privacy_k: int
    run_dir: str
    started_at: str
    mark: str
    node: str
    host: str
    """The node's own address."""
    directory: str
    """The Directory's link address."""
    ready_at: str | None = None
    ray_address: str | None = None
    ray_dashboard_url: str | None = None
    ray_token_path: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Identity] = field(default_factory=dict)
    shards: list[int] = field(default_factory=list)
    gateways: int = 0


def write(path: Path, state: EngineState) -> None:
    """Replace the file in one step, readable by its owner only."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **asdict(state)}, file, indent=2)
    fresh.rename(path)


def read(path: Path) -> EngineState | None:
    """The state; None if there is none, or none that this version understands."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if content.pop("format", None) != FORMAT:
        return None
    content["supervisor"] = Identity(**content["supervisor"])
    content["processes"] = {name: Identity(**each) for name, each in content["processes"].items()}
    return EngineState(**content)
