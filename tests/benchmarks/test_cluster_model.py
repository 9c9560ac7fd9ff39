"""The simulated cluster of `benchmarks/capacity.py`: it settles, and what it claims could fail."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import capacity, cluster_model


def simulated(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(capacity, "GATEWAYS", 10)
    run: Any = SimpleNamespace(say=lambda _: None)
    found: dict[str, Any] = cluster_model.run(lambda: capacity.simulate(run, 1, 110, 500))
    return found


def test_shards_come_die_retire_and_return_and_no_publication_misses_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = simulated(monkeypatch)

    assert found["missed"] == 0
    assert found["gateways_needed"] > 10_000
    assert all(phase["moves"] <= 1.1 * phase["fewest_possible"] for phase in found["phases"])


def test_an_owner_that_does_not_flood_while_rows_are_untold_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def only_rows(self: cluster_model.ModelShard, channel: str, slot: int) -> set[str]:
        row = self.rows[slot].get(channel)
        return set(row.gateways) if row else set()

    monkeypatch.setattr(cluster_model.ModelShard, "sends_to", only_rows)

    assert simulated(monkeypatch)["missed"] > 0
