"""What a process counts about itself."""

import pytest

from actors.metrics import Registry, Row
from actors.metrics_export import Exporter


def test_counters_of_other_labels_are_other_counters() -> None:
    registry = Registry()
    registry.count("drops", reason="slow reader")
    registry.count("drops", 2, reason="mailbox full")
    registry.counter("drops", reason="slow reader").n += 3
    assert {row.labels: row.value for row in registry.rows()} == {
        (("reason", "slow reader"),): 4,
        (("reason", "mailbox full"),): 2,
    }


def test_a_metric_that_is_not_in_the_table_is_a_mistake() -> None:
    registry = Registry()
    with pytest.raises(KeyError):
        registry.count("dorps", reason="slow reader")
    with pytest.raises(ValueError, match="labels"):
        registry.count("drops")
    with pytest.raises(ValueError, match="is a gauge"):
        registry.count("sockets")


def test_a_histograms_buckets_are_cumulative_and_end_in_infinity() -> None:
    registry = Registry()
    ticks = registry.histogram("gateway_tick_s")
    for seconds in (0.0005, 0.0011, 0.0019, 99.0):
        ticks.observe(seconds)
    buckets = {dict(row.labels)["le"]: row.value for row in registry.rows() if row.name.endswith("_bucket")}
    assert (buckets["0.0005"], buckets["0.001"], buckets["0.002"], buckets["1.0"], buckets["+Inf"]) == (
        1, 1, 3, 3, 4,
    )  # fmt: skip
    assert Row("gateway_tick_s_count", "counter", (), 4) in registry.rows()


def test_gauges_are_read_at_each_export() -> None:
    registry, sockets = Registry(), [1, 2, 3]
    registry.gauge("sockets", lambda: len(sockets))
    registry.gauges("activations", "kind", lambda: {"room": 7.0, "user": 2.0})
    sockets.pop()
    assert {(row.name, row.labels): row.value for row in registry.rows()} == {
        ("sockets", ()): 2,
        ("activations", (("kind", "room"),)): 7,
        ("activations", (("kind", "user"),)): 2,
    }


def test_a_total_that_somebody_keeps_is_read_at_each_export() -> None:
    registry, kept = Registry(), [3]
    registry.total("messages", lambda: kept[0])
    kept[0] = 8
    assert registry.rows() == [Row("messages", "counter", (), 8)]


class Told:
    def __init__(self) -> None:
        self.values: list[tuple[float, dict[str, str]]] = []

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.values.append((value, tags))


def test_the_exporter_tells_what_was_added_since_the_last_time() -> None:
    registry = Registry()
    exporter, told = Exporter("shard", "3", registry), Told()
    exporter._sinks["messages"] = told
    registry.count("messages", 5)
    exporter.export()
    exporter.export()
    registry.count("messages", 2)
    exporter.export()
    tags = {"process": "shard", "process_name": "3"}
    assert told.values == [(5, tags), (2, tags)]
