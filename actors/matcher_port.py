"""The Matcher behind Ray Serve, as a shard asks it (scoring.py has the port)."""

import asyncio
from typing import Any

from matching.answers import Recommended, Scores
from storage.decisions import TallyRow

NAME, APP = "Matcher", "hereabouts-matcher"


class ServedMatcher:
    """Finds the deployment when it is first asked for, in a thread: that waits for Serve's controller. What
    fails is looked for anew.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    async def score(self, asks: list[tuple[str, list[str]]], tallies: dict[str, TallyRow]) -> Scores:
        """See `actors.scoring.Matching`."""
        return await self._ask("score", asks, tallies)  # type: ignore[no-any-return]

    async def recommend(self, viewer: str, near: list[tuple[str, float]], limit: int) -> Recommended:
        """See `actors.scoring.Matching`."""
        return await self._ask("recommend", viewer, near, limit)  # type: ignore[no-any-return]

    async def _ask(self, method: str, *arguments: Any) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(_find)
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except Exception:
            self._handle = None
            raise


def _find() -> Any:
    from ray import serve  # noqa: PLC0415 - a second to import, which nobody pays who asks for no scores

    return serve.get_deployment_handle(NAME, APP)
