"""Real models of people, small and quick to train, for tests of what serves them."""

from typing import Any

import numpy as np

from matching import artefact, rank
from matching.artefact import PeopleModel
from matching.pair_features import FEATURES, HISTORY, blanked
from matching.tally import PRIOR
from storage import registry


async def registered(connection: Any, share: float) -> str:
    """The version of a model of people of whom this share is liked."""
    chance = np.random.default_rng(7)
    features = chance.random((400, len(FEATURES)))
    for name in ("rater_given", "ratee_received"):
        features[:, FEATURES.index(name)] = 9
    labels = (chance.random(400) < share).astype(np.float64)
    model = rank.fit(blanked(features), labels, HISTORY, seed=1)
    stored = artefact.write(PeopleModel(model, FEATURES, PRIOR, artefact.references_of(FEATURES, features)))
    return await registry.add_version(connection, "people", stored, lineage={"seed": 7}, metrics={})


async def serves(connection: Any, version: str | None) -> None:
    """This version is the champion from now on; None: the baseline."""
    await registry.set_alias(connection, "people", "champion", version, why="forced", moved_by="test")
