"""The SDKs, by language and encoding."""

from collections.abc import Callable

from sdk_hands.hand import Hand
from sdk_hands.python_hand import PythonHand
from sdk_hands.typescript_hand import TypescriptHand

KINDS: dict[str, Callable[[], Hand]] = {
    "python-json": lambda: PythonHand("json"),
    "python-msgpack": lambda: PythonHand("msgpack"),
    "typescript": TypescriptHand,
}
QUICK = {"backoff_first_ms": 50, "backoff_last_ms": 500}
"""Loopback comes back at once; the waits themselves are the vectors' to judge."""
