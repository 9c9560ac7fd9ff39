"""What a shard counts about itself, read at each export."""

from typing import Any, Protocol

from actors import metrics
from actors.activation import MAILBOX_SOFT, Activation
from actors.fanout import FanOut
from actors.housekeeping import Housekeeping
from actors.router import Router


class Measured(Protocol):
    """A shard, as far as it is measured."""

    received: int
    housekeeping: Housekeeping

    @property
    def score_queue(self) -> int:
        """People whose views wait for scores."""

    @property
    def activations(self) -> dict[tuple[str, str], Activation]:
        """All that is live here."""

    @property
    def router(self) -> Router:
        """The way to others."""

    @property
    def fan_out(self) -> FanOut:
        """The way to gateways."""


KINDS = ("room", "user", "region", "fence")


def measure(shard: Measured) -> None:
    """Registers the shard's numbers with the process's registry."""

    def depths() -> list[int]:
        return [len(each.mailbox) for each in shard.activations.values()]

    def by_kind() -> dict[str, float]:
        counts = dict.fromkeys(KINDS, 0.0)
        for kind, _ in shard.activations:
            counts[kind] = counts.get(kind, 0) + 1
        return counts

    metrics.total("messages", lambda: shard.received)
    metrics.gauges("activations", "kind", by_kind)
    metrics.gauge("mailbox_depth", lambda: sum(depths()))
    metrics.gauge("mailbox_deepest", lambda: max(depths(), default=0))
    metrics.gauge("mailboxes_above_soft_limit", lambda: sum(depth > MAILBOX_SOFT for depth in depths()))
    metrics.gauge("activations_bytes", lambda: shard.housekeeping.memory_bytes)
    metrics.gauge("score_queue", lambda: shard.score_queue)
    metrics.gauge("view_version", lambda: shard.router.view.version)


def counters(shard: Measured) -> dict[str, Any]:
    """What a shard says of itself when it is asked."""
    kinds: dict[str, int] = {}
    for kind, _ in shard.activations:
        kinds[kind] = kinds.get(kind, 0) + 1
    return {
        "messages": shard.received,
        "activations": kinds,
        "memory_mib": round(shard.housekeeping.memory_bytes / 2**20, 1),
        "gateways": len(shard.fan_out.gateways),
        "mailboxes_above_soft_limit": sum(
            len(each.mailbox) > MAILBOX_SOFT for each in shard.activations.values()
        ),
    }
