"""Outputs and events as the vectors write them: {"snake_name": {fields that are not null}}."""

import dataclasses
import re
from typing import Any

from hereabouts_client.effects import Output, Send


def shown(output: Output) -> dict[str, Any]:
    """An output as the vectors write it."""
    if isinstance(output, Send):
        return {"send": output.frame}
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(output).__name__).lower()
    fields = without_none(dataclasses.asdict(output))
    if str(fields.get("reason", "")).startswith("a frame that makes no sense"):
        fields["reason"] = "a frame that makes no sense"  # what follows is each language's own
    return {name: fields}


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if value is not None}
    if "changes" in kept:
        kept["changes"] = [without_none(change) for change in kept["changes"]]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
