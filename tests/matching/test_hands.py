"""Shards by Ray's workers are the shards of one process."""

import numpy as np
import pytest
import ray

from benchmarks import city_world
from benchmarks.city import City
from matching import batch
from matching.jobs import shards
from matching.jobs.hands import Here, OnRay


@pytest.mark.slow
def test_ray_and_one_process_make_the_same_lists(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 200)
    city = City.made(1_000, seed=2)
    world = city_world.world(city.people, city.history, None, seed=0)
    viewers = batch.by_place(world.population)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        hands = OnRay()
        there = shards.scored(hands, hands.share(world), viewers, 0, lambda _: None)
    finally:
        ray.shutdown()
    here = shards.scored(Here(), world, viewers, 0, lambda _: None)
    for name in ("viewer", "shown", "forward", "backward", "source"):
        assert np.array_equal(getattr(there, name), getattr(here, name))
