"""The Reader behind Ray Serve, as a shard asks it (verdict_queue.py has the port)."""

import asyncio
from collections.abc import Sequence
from typing import Any

from nlp.conversation import Verdict

NAME, APP = "Reader", "hereabouts-reader"


class ServedReader:
    """Finds the deployment when it is first asked for, in a thread: that waits for Serve's controller. Serve
    starts the Reader then, and finds its way to another where one died.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._finding = asyncio.Lock()

    async def score(self, texts: list[str], heads: tuple[str, ...]) -> Sequence[Verdict | None]:
        """See `actors.verdict_queue.Scorer`."""
        if self._handle is None:
            async with self._finding:
                self._handle = self._handle or await asyncio.to_thread(_find)
        return await self._handle.score.remote(texts, heads)  # type: ignore[no-any-return]


def _find() -> Any:
    from ray import serve  # noqa: PLC0415 - a second to import, which nobody pays whose rooms are not read

    return serve.get_deployment_handle(NAME, APP)
