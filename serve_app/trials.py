"""Which variant of an experiment somebody gets, and which model serves them for it (ML-7)."""

from typing import Any

from matching.experiment import assign
from storage.experiments import Standing, expose, standing

CHAMPION = "champion"


def variant_of(at: Standing) -> str:
    """Return a person's variant: the one that they have met, else that of their unit."""
    if at.exposed is not None:
        return at.exposed
    return assign(at.experiment.salt, at.unit, at.experiment.shares)


async def alias_for(connection: Any, user: str) -> str:
    """Return the alias that serves a person now, and note that they met their variant."""
    for at in await standing(connection, user):
        if not at.experiment.serves:
            continue
        variant = variant_of(at)
        if at.exposed is None:
            await expose(connection, at.experiment.name, user, at.unit, variant)
        chosen = at.experiment.variants.get(variant)
        return (chosen.alias if chosen else None) or CHAMPION
    return CHAMPION
