"""A subscription's filter: which publications it wants, by top-level fields of their `d`. Pure.

{"type": "edit", "of": [3, 4]}: `type` equals "edit" and `of` is 3 or 4. null also fits a missing field.
"""

from collections.abc import Mapping
from typing import Any

FIELDS_LIMIT = 8
VALUES_LIMIT = 16
TEXT_LIMIT = 256


def check_filter(given: Mapping[str, Any]) -> None:
    """Raises ValueError with what is wrong."""
    if len(given) > FIELDS_LIMIT:
        raise ValueError(f"a filter has at most {FIELDS_LIMIT} fields")
    for name, wanted in given.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if not 0 < len(values) <= VALUES_LIMIT:
            raise ValueError(f"filter.{name[:32]} has from 1 to {VALUES_LIMIT} values")
        if max(map(len, (name, *(value for value in values if isinstance(value, str))))) > TEXT_LIMIT:
            raise ValueError(f"a text in a filter has at most {TEXT_LIMIT} characters")


def fits(given: Mapping[str, Any], d: Any) -> bool:
    """Whether a publication's body is wanted."""
    if not isinstance(d, dict):
        return False
    return all(
        any(_same(d.get(name), value) for value in (wanted if isinstance(wanted, list) else (wanted,)))
        for name, wanted in given.items()
    )


def _same(one: Any, other: Any) -> bool:
    """As JSON has it: 1 is 1.0, and true is not 1."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)
