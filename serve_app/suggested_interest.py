"""The interest that is suggested to a person today, chosen by a bandit that says how likely it was (ML-8)."""

import numpy as np

from matching import content as ways
from matching.answers import InterestMap
from serve_app.services import Services
from storage import content
from storage.content import ChoiceRow
from storage.ids import UserId
from storage.preferences import load_preferences


async def suggested_interest(
    here: Services, me: UserId, found: InterestMap, chance: np.random.Generator | None = None
) -> str | None:
    """A tag that I do not have, the same all day (UTC); None where the map has none, or I took it up."""
    now = here.now
    async with here.pool.acquire() as connection:
        mine = set((await load_preferences(connection, me)).interests)
        chosen = await content.of_day(connection, me, now)
        if chosen is None:
            tags = ways.choices(found, mine)
            if not tags:
                return None
            chance = chance or np.random.default_rng()
            odds = ways.propensities(await content.tallies(connection), list(tags), chance)
            arm = str(chance.choice(list(odds), p=list(odds.values())))
            shown = ChoiceRow(arm, tags[arm], odds, ways.context_of(found, mine), now, is_taken=False)
            chosen = await content.add(connection, me, shown)
    return None if chosen.tag in mine else chosen.tag
