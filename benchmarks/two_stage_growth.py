"""How the cost of a recommendation grows with people: tables filled in this process."""

import random
import time
from typing import Any

from benchmarks import results
from benchmarks.two_stage_people import GENDERS, Crowd
from matching.live import People, Profile
from matching.telling import Telling
from matching.two_stage import Wish, recommend
from serve_app.match_models import loaded
from serve_app.match_sources import MatchSources

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
_TODAY = 20_260_101


async def growth(model: bytes, sizes: tuple[int, ...], viewers: int, limit: int) -> dict[str, Any]:
    """CPU of a request by how many people there are."""
    trained, found = loaded("people-0", model), {}
    for count in sizes:
        crowd, table = Crowd.made([], count, seed=1), People()
        for number, user in enumerate(crowd.users):
            table.put(
                Profile(
                    user=user,
                    birth_date=crowd.born[number],
                    gender=GENDERS[number % 2],
                    seeks=[GENDERS[(number + 1) % 2]],
                    interests=crowd.interests[number],
                )
            )
            tally = crowd.tallies[number]
            table.tally[number] = (
                tally.given, tally.given_yes, tally.received, tally.received_yes, tally.surprise
            )  # fmt: skip
        table.decide_all(crowd.rater, crowd.ratee, crowd.likes)
        sources = MatchSources(table, 1)
        named = sources.sources()
        telling = Telling(random.Random(1))
        recommend(table, trained, Wish(crowd.users[0], [], limit, _TODAY, 0.0), named, telling)
        await sources.settled()
        taken_ms = []
        for viewer in range(min(viewers, count)):
            began_s = time.process_time()
            recommend(table, trained, Wish(crowd.users[viewer], [], limit, _TODAY, 0.0), named, telling)
            taken_ms.append((time.process_time() - began_s) * 1e3)
        found[str(count)] = {
            "p50_ms": results.quantile(sorted(taken_ms), 0.5),
            "p99_ms": results.quantile(sorted(taken_ms), 0.99),
            "table_bytes_a_person": round(table.size_bytes() / count),
        }
        print(f"  {count} people: {found[str(count)]['p50_ms']:.2f} ms of CPU", flush=True)
    return found
