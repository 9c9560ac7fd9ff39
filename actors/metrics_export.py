"""Hands a process's numbers to Ray's metrics agent, which answers Prometheus' scrapes.

Names are `ray_hereabouts_<name>`, counters with `_total`. Labels are the metric's own and `process`
(gateway, shard, directory) with `process_name` (its number).
"""

import asyncio
import logging
from typing import Any

from actors.metrics import HERE, METRICS, Labels, Registry

log = logging.getLogger("hereabouts.metrics")

EXPORT_S = 5.0
PREFIX = "hereabouts_"


class Exporter:
    """Tells Ray what changed since it was last told."""

    def __init__(self, process: str, name: str, registry: Registry = HERE) -> None:
        self._own = {"process": process, "process_name": name}
        self._registry = registry
        self._sinks: dict[str, Any] = {}
        self._told: dict[tuple[str, Labels], float] = {}

    async def run(self) -> None:
        """Exports until cancelled. A failure is logged once a time and never ends its process."""
        while True:
            await asyncio.sleep(EXPORT_S)
            try:
                self.export()
            except Exception:
                log.exception("metrics were not exported")

    def export(self) -> None:
        """One export."""
        for row in self._registry.rows():
            sink = self._sinks.get(row.name) or self._sink(row.name, row.kind, row.labels)
            tags = {**self._own, **dict(row.labels)}
            if row.kind == "gauge":
                sink.set(row.value, tags)
                continue
            key = (row.name, row.labels)
            more = row.value - self._told.get(key, 0)
            if more > 0:
                sink.inc(more, tags)
                self._told[key] = row.value

    def _sink(self, name: str, kind: str, labels: Labels) -> Any:
        from ray.util import metrics as ray_metrics  # noqa: PLC0415 - tests of shards do without Ray

        metric = METRICS.get(name) or METRICS[name.rpartition("_")[0]]
        tag_keys = (*self._own, *(label for label, _ in labels))
        made = (ray_metrics.Gauge if kind == "gauge" else ray_metrics.Counter)(
            PREFIX + name, description=metric.doc, tag_keys=tag_keys
        )
        self._sinks[name] = made
        return made
