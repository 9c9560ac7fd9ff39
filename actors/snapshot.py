"""A virtual actor's state as bytes, for a hand-off between two shards (ACT-5).

States are plain data, so pickle writes whatever fields they have, now and later. It is read back with
nothing but data classes of ours and a few containers: bytes from elsewhere can't name anything else. A
state that holds what can't travel is not handed over; its next owner loads it from the stores.
"""

import io
import logging
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import is_dataclass
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from importlib import import_module
from typing import Any
from uuid import UUID

import msgspec

log = logging.getLogger("hereabouts.shard")

PART_BYTES = 2 * 1024 * 1024
STATE_LIMIT_BYTES = 32 * 1024 * 1024
"""Beyond this a state is loaded from the stores instead: a link's frame must hold it."""

_PACKAGES = ("actors.", "geo.", "nlp.", "storage.")
_CONTAINERS = {
    (each.__module__, each.__qualname__): each
    for each in (Counter, OrderedDict, defaultdict, deque, date, datetime, timedelta, timezone, UUID)
}
_BUILTINS: dict[str, Any] = {
    each.__qualname__: each for each in (set, frozenset, dict, list, tuple, int, float, str, bytes, bytearray)
}
_PICKLING = {("msgspec._core", "rebuild")}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        if module == "builtins" and name in _BUILTINS:
            return _BUILTINS[name]
        if (module, name) in _PICKLING:
            return super().find_class(module, name)
        if module.startswith(_PACKAGES):
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and (
                is_dataclass(found) or issubclass(found, msgspec.Struct | Enum | tuple | str)
            ):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no data of a virtual actor")


def freeze(states: list[tuple[str, str, Any]]) -> list[bytes]:
    """The states, as (kind, key, state), as parts of about PART_BYTES; without those that can't travel."""
    parts: list[list[tuple[str, str, bytes]]] = [[]]
    size = 0
    for kind, key, state in states:
        try:
            frozen = pickle.dumps(state, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            log.warning("the state of a %s can't be handed over: %s", kind, type(error).__name__)
            continue
        if len(frozen) > STATE_LIMIT_BYTES:
            log.warning("the state of a %s is too large to be handed over: %d bytes", kind, len(frozen))
            continue
        if size > PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append((kind, key, frozen))
        size += len(frozen)
    return [msgspec.msgpack.encode(part) for part in parts]


def thaw(frozen: bytes) -> list[tuple[str, str, Any]]:
    """The states again. One that can't be read is left out: the stores have it, when it is wanted."""
    states = []
    for kind, key, state in msgspec.msgpack.decode(frozen, type=list[tuple[str, str, bytes]]):
        try:
            states.append((kind, key, _Reader(io.BytesIO(state)).load()))
        except Exception as error:  # noqa: BLE001 - another release wrote it, or nobody of ours
            log.warning("the state of a %s can't be taken: %s", kind, type(error).__name__)
    return states
