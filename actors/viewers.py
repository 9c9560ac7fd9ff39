"""Who looks around from where, and how far: whom a change may concern. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.activation import Activation
from geo.cells import RES_REGION, Cell, resolution_of
from geo.rings import rings_around


@dataclass(slots=True)
class Viewer:
    """Somebody with views of `near`."""

    activation: Activation
    cell: Cell
    regions: frozenset[str]
    reach_m: float
    """Nothing that strangers see farther than this changes a view: they are full, or reach no farther."""


@dataclass(slots=True)
class Viewers:
    """Of one shard. The cost of a change grows with those who look from cells around it."""

    by_user: dict[str, Viewer] = field(default_factory=dict)
    far_sighted: set[str] = field(default_factory=set)
    """Those who see a whole city, and nothing in it: any change may concern them."""
    _from: dict[Cell, dict[str, Viewer]] = field(default_factory=dict)
    _around: dict[Cell, set[Cell]] = field(default_factory=dict)
    """Cell → those within 5 km from which somebody looks."""

    def put(self, user: str, viewer: Viewer) -> None:
        """Somebody looks, or looks from somewhere else."""
        self.remove(user)
        self.by_user[user] = viewer
        if resolution_of(viewer.cell) <= RES_REGION:
            self.far_sighted.add(user)
        here = self._from.get(viewer.cell)
        if here is None:
            here = self._from[viewer.cell] = {}
            for cell in rings_around(viewer.cell).distance_m:
                self._around.setdefault(cell, set()).add(viewer.cell)
        here[user] = viewer

    def remove(self, user: str) -> None:
        """Somebody does not look any more."""
        viewer = self.by_user.pop(user, None)
        if viewer is None:
            return
        self.far_sighted.discard(user)
        here = self._from[viewer.cell]
        del here[user]
        if not here:
            del self._from[viewer.cell]
            for cell in rings_around(viewer.cell).distance_m:
                around = self._around[cell]
                around.discard(viewer.cell)
                if not around:
                    del self._around[cell]

    def concerned(self, cells: Iterable[Cell]) -> set[str]:
        """Whose views may change when strangers see something else in these cells."""
        changed = set(cells)
        found: set[str] = set()
        for place in set().union(*(self._around[cell] for cell in changed & self._around.keys())):
            distances_m = rings_around(place).distance_m
            nearest_m = min(map(distances_m.__getitem__, distances_m.keys() & changed))
            found.update(user for user, viewer in self._from[place].items() if nearest_m <= viewer.reach_m)
        return found
