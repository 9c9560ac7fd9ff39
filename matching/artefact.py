"""A model of people as bytes: written once by training, read by whatever serves it (ML-5, ML-6).

Everything that a score needs is in it, so that a version means the same wherever it is loaded. The same model
gives the same bytes. No code is in it: reading one runs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from matching import pair_features
from matching.arrays import Booleans, Floats
from matching.boosting import xgboost
from matching.drift import Reference
from matching.explain import Reason, contributions, reasons
from matching.rank import DirectedModel

FORMAT = 1


class ArtefactError(ValueError):
    """These bytes are no model that this version of the engine can serve; the message says why."""


@dataclass(frozen=True)
class PeopleModel:
    """A directed model p(i→j), and what it was trained on."""

    model: DirectedModel
    names: tuple[str, ...]
    """The columns that it takes, of `pair_features.FEATURES`, in its order."""
    prior: float
    """What rates were shrunk to."""
    references: Mapping[str, Reference]
    """Each feature as it was in training (ML-10)."""
    schema: int = pair_features.SCHEMA

    @cached_property
    def columns(self) -> list[int]:
        """Where its columns stand in FEATURES."""
        return [pair_features.FEATURES.index(name) for name in self.names]

    @cached_property
    def history(self) -> Booleans:
        """Return which of its columns come from earlier decisions."""
        return pair_features.HISTORY[self.columns]

    def inputs(self, features: Floats) -> Floats:
        """Return what the model takes of rows × FEATURES: its columns, cold pairs without a history."""
        return pair_features.blanked(features)[:, self.columns]

    def probabilities(self, features: Floats) -> Floats:
        """Return calibrated p(i→j) of rows × FEATURES, in (0, 1)."""
        return self.model.probabilities(self.inputs(features))

    def reasons(self, features: Floats, count: int) -> list[list[Reason]]:
        """Return each row's `count` largest contributions, in log-odds (MATCH-15)."""
        inputs = self.inputs(features)
        parts = contributions(self.model, inputs)
        return [reasons(self.names, row, part, count) for row, part in zip(inputs, parts, strict=True)]


class _Array(msgspec.Struct, frozen=True, array_like=True):
    shape: tuple[int, ...]
    bytes: bytes


class _Stored(msgspec.Struct, frozen=True):
    format: int
    schema: int
    names: tuple[str, ...]
    prior: float
    trees: bytes
    coefficients: _Array
    among: _Array
    slope: float
    intercept: float
    references: dict[str, tuple[_Array, _Array]]


def write(one: PeopleModel) -> bytes:
    """Return the bytes of a model."""
    return msgspec.msgpack.encode(
        _Stored(
            FORMAT,
            one.schema,
            one.names,
            one.prior,
            bytes(one.model.booster.save_raw("ubj")),
            _packed(one.model.coefficients),
            _packed(one.model.among),
            one.model.slope,
            one.model.intercept,
            {
                name: (_packed(each.edges), _packed(each.shares))
                for name, each in sorted(one.references.items())
            },
        )
    )


def read(stored: bytes) -> PeopleModel:
    """Return the model. Raises ArtefactError for other bytes, and for features of another schema."""
    try:
        found = msgspec.msgpack.decode(stored, type=_Stored)
    except msgspec.DecodeError as wrong:
        raise ArtefactError(f"no model of people: {wrong}") from None
    if found.format != FORMAT:
        raise ArtefactError(f"a model in format {found.format}; this engine reads {FORMAT}")
    unknown = set(found.names) - set(pair_features.FEATURES)
    if found.schema != pair_features.SCHEMA or unknown:
        raise ArtefactError(
            f"a model for features of schema {found.schema} {sorted(unknown)}; this engine makes "
            f"{pair_features.SCHEMA}: train it again"
        )
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(found.trees))
    except xgboost.core.XGBoostError as wrong:
        raise ArtefactError(f"the trees of this model can't be read: {str(wrong).splitlines()[0]}") from None
    booster.set_param({"nthread": 1})  # of few rows more threads are slower
    model = DirectedModel(
        booster, _array(found.coefficients), _array(found.among), found.slope, found.intercept
    )
    references = {
        name: Reference(_array(edges), _array(shares)) for name, (edges, shares) in found.references.items()
    }
    return PeopleModel(model, found.names, found.prior, references, found.schema)


def references_of(names: Sequence[str], inputs: Floats) -> dict[str, Reference]:
    """Return each column of training as it was, to compare later ones with."""
    return {name: Reference.of(inputs[:, place]) for place, name in enumerate(names)}


def _packed(values: Floats) -> _Array:
    return _Array(values.shape, np.ascontiguousarray(values, dtype="<f8").tobytes())


def _array(packed: _Array) -> Floats:
    return np.frombuffer(packed.bytes, dtype="<f8").reshape(packed.shape).astype(np.float64)
