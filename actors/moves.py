"""A tick's accepted fixes, and who follows them (GEO-4): fences, the snapshot, whatever looks at movement."""

from typing import Protocol

import numpy as np

from actors.activation import Activation
from geo.distance import Floats
from geo.fixes import Fix


class Moves:
    """Fixes that count, in the order in which they were accepted: one index each. Several of one person are
    possible, oldest first.
    """

    __slots__ = ("activations", "fixes", "is_first")

    def __init__(self) -> None:
        self.activations: list[Activation] = []
        self.fixes: list[Fix] = []
        self.is_first: list[bool] = []
        """No fix of the person was accepted before."""

    def __len__(self) -> int:
        return len(self.activations)

    def add(self, activation: Activation, fix: Fix, *, is_first: bool) -> None:
        self.activations.append(activation)
        self.fixes.append(fix)
        self.is_first.append(is_first)

    def has(self, activation: Activation) -> bool:
        """Whether a fix of this person is among them."""
        return any(moving is activation for moving in self.activations)

    def take(self, activation: Activation) -> "Moves":
        """Takes this person's fixes out."""
        own, others = Moves(), Moves()
        for index, moving in enumerate(self.activations):
            into = own if moving is activation else others
            into.add(moving, self.fixes[index], is_first=self.is_first[index])
        self.activations, self.fixes, self.is_first = others.activations, others.fixes, others.is_first
        return own

    def lats(self) -> Floats:
        """WGS84 degrees, one a fix."""
        return np.array([fix.lat for fix in self.fixes], dtype=np.float64)

    def lons(self) -> Floats:
        """WGS84 degrees in [-180, 180), one a fix."""
        return np.array([fix.lon for fix in self.fixes], dtype=np.float64)


class Follower(Protocol):
    """Takes the fixes of a tick."""

    def follow(self, moves: Moves, now_ms: int) -> None:
        """All fixes of the tick, in one batch; no work that awaits is done here."""
