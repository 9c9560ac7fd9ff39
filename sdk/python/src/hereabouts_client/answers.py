"""What callers wait for: replies to commands and acknowledgements of publications."""

import asyncio
from typing import Any

from hereabouts_client.effects import Failed, Published, Replied, Unpublished
from hereabouts_client.errors import DuplicateError, HereaboutsError, failure

Outcome = Published | Unpublished | Replied | Failed


class Answers:
    """Futures by what they wait for: a command's ref, a publication's channel and cid."""

    def __init__(self) -> None:
        self._refs = 0
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._receipts: dict[tuple[str, str], asyncio.Future[Published]] = {}

    def expect_reply(self) -> tuple[int, asyncio.Future[Any]]:
        """A new ref and the future of its reply."""
        self._refs += 1
        waiter = self._replies[self._refs] = _future()
        return self._refs, waiter

    def expect_receipt(self, channel: str, cid: str) -> asyncio.Future[Published]:
        """The future of an acknowledgement. Raises DuplicateError."""
        if (channel, cid) in self._receipts:
            raise DuplicateError("a publication with this cid waits already")
        waiter = self._receipts[channel, cid] = _future()
        return waiter

    def forget_receipt(self, channel: str, cid: str) -> None:
        """None will come."""
        self._receipts.pop((channel, cid), None)

    @property
    def receipts(self) -> list[asyncio.Future[Published]]:
        """All that are still to come."""
        return list(self._receipts.values())

    def take(self, outcome: Outcome) -> None:
        """Gives it to whoever waits for it."""
        match outcome:
            case Published(cid=cid, channel=channel):
                _settle(self._receipts.pop((channel, cid), None), outcome)
            case Unpublished(cid, channel, kind, code, reason):
                _settle(self._receipts.pop((channel, cid), None), failure(kind, code, reason))
            case Replied(ref, result):
                _settle(self._replies.pop(ref, None), result)
            case Failed(ref, kind, code, reason, temporary, retry_ms):
                error = failure(kind, code, reason, temporary=temporary, retry_ms=retry_ms)
                _settle(self._replies.pop(ref, None), error)


def _future() -> asyncio.Future[Any]:
    waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    waiter.add_done_callback(_looked_at)
    return waiter


def _looked_at(waiter: asyncio.Future[Any]) -> None:
    """A caller that was cancelled meanwhile owes nobody a look at the exception."""
    if not waiter.cancelled():
        waiter.exception()


def _settle(waiter: asyncio.Future[Any] | None, outcome: Any) -> None:
    if waiter is not None and not waiter.done():
        if isinstance(outcome, HereaboutsError):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)
