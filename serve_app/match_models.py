"""The models that the Matcher answers with, and their change while it answers (ML-6)."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from actors import metrics
from matching.answers import BASELINE
from matching.two_stage import Baseline, PairModel
from storage.outbox import notify
from storage.registry import ModelRow, aliased, blob

if TYPE_CHECKING:
    from matching.trained import Trained
    from storage.registry import Alias

log = logging.getLogger("hereabouts.matcher")

NAME = "people"
ALIASES: "tuple[Alias, ...]" = ("champion", "challenger", "shadow")
WARM_ROWS = 64


class BrokenModelError(Exception):
    """An artefact that can't serve; the message says why."""


class Models:
    """By alias, what serves. What an alias names takes its place when it is loaded and has answered; a model
    that can't leaves the old one serving, is reported, and is not tried again until the alias moves.
    """

    def __init__(self) -> None:
        self._serving: dict[str, PairModel] = {"champion": Baseline()}
        self._refused: dict[str, str] = {}
        self._moving = asyncio.Lock()

    @property
    def champion(self) -> PairModel:
        """What answers."""
        return self._serving["champion"]

    @property
    def shadow(self) -> PairModel | None:
        """What is scored beside, and never shown."""
        return self._serving.get("shadow")

    def named(self, alias: str) -> PairModel:
        """What answers an experiment's variant: champion or challenger; without a challenger the champion."""
        return self._serving.get("challenger", self.champion) if alias == "challenger" else self.champion

    def serve(self, alias: str, model: PairModel) -> None:
        """Answers by this from now on."""
        self._serving[alias] = model

    async def follow(self, pool: Any) -> None:
        """Takes over what the aliases name now."""
        async with self._moving:
            async with pool.acquire() as connection:
                wanted = {alias: await aliased(connection, NAME, alias) for alias in ALIASES}
            for alias, row in wanted.items():
                await self._take(pool, alias, row)

    async def _take(self, pool: Any, alias: str, row: ModelRow | None) -> None:
        version = BASELINE if row is None else row.version
        serving = self._serving.get(alias)
        if (
            version == (BASELINE if serving is None else serving.version)
            or self._refused.get(alias) == version
        ):
            return
        self._refused.pop(alias, None)
        try:
            model = await self._load(pool, row)
        except BrokenModelError as wrong:
            self._refused[alias] = version
            metrics.count("match_model_swaps", result="refused")
            log.error(  # noqa: TRY400 - the message says it all
                "%s %s can't serve, %s goes on: %s", alias, version, self.champion.version, wrong
            )
            return
        if model is None and alias != "champion":
            self._serving.pop(alias, None)
        else:
            self.serve(alias, model or Baseline())
        metrics.count("match_model_swaps", result="taken")
        log.info("%s is %s", alias, version)
        if alias == "champion":
            async with pool.acquire() as connection:
                await notify(connection, [("matcher", version)])

    async def _load(self, pool: Any, row: ModelRow | None) -> "Trained | None":
        if row is None:
            return None
        for model in self._serving.values():
            if model.version == row.version:
                return model  # type: ignore[return-value] # the baseline has no row
        async with pool.acquire() as connection:
            stored = await blob(connection, row.blob_sha256)
        if stored is None:
            raise BrokenModelError("its bytes are not there any more")
        return await asyncio.to_thread(loaded, row.version, stored)


def loaded(version: str, stored: bytes) -> "Trained":
    """A model that has answered once; seconds the first time, when libraries are read. Raises
    BrokenModelError.
    """
    from matching import artefact, pair_features  # noqa: PLC0415 - xgboost, for whoever has a model
    from matching.trained import Trained  # noqa: PLC0415

    try:
        model = artefact.read(stored)
        probe = np.random.default_rng(0).random((WARM_ROWS, len(pair_features.FEATURES))) * 0.8 + 0.1
        probe[:, pair_features.FEATURES.index("rater_given")] = np.arange(WARM_ROWS)
        probe[:, pair_features.FEATURES.index("ratee_received")] = np.arange(WARM_ROWS)
        said = model.probabilities(probe)
        trained = Trained(version, model)
        trained.why(probe)
    except artefact.ArtefactError as wrong:
        raise BrokenModelError(str(wrong)) from None
    except Exception as wrong:
        raise BrokenModelError(f"it fails at its first answer: {wrong!r}") from wrong
    if said.shape != (WARM_ROWS,) or not ((said >= 0) & (said <= 1)).all():
        raise BrokenModelError("its answers are no probabilities")
    return trained
