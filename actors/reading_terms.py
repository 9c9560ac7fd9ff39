"""On which terms a room is read: what its owner may say (docs/protocol.md §7.2)."""

from typing import Annotated, Literal

import msgspec

HOLD_LIMIT_MS = 3_000
"""The longest that a publication may wait: a client gives a command up after 5 s."""


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`threshold` is of the harm that a scorer sees; `marks`: each verdict is told, as an event."""

    scorer: Literal["inline", "model"]
    policy: Literal["pass", "hold", "retract"]
    deadline_ms: Annotated[int, msgspec.Meta(ge=20, le=10_000)]
    heads: tuple[Literal["sentiment", "emotion", "offence"], ...]
    threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    marks: bool = False


def problem_with(terms: Terms) -> str:
    """What is wrong with terms that have the right shape; empty: nothing."""
    if not terms.heads or len(set(terms.heads)) < len(terms.heads):
        return "heads names each head once, and at least one"
    if terms.scorer == "inline" and terms.heads != ("sentiment",):
        return "the inline scorer has one head: sentiment"
    if terms.policy != "pass" and terms.threshold is None:
        return f"policy {terms.policy} needs a threshold"
    if terms.policy == "hold" and terms.deadline_ms > HOLD_LIMIT_MS:
        return f"policy hold waits at most {HOLD_LIMIT_MS} ms: deadline_ms"
    if terms.marks and terms.policy != "pass":
        return "marks are for policy pass"
    return ""


def decoded(terms: str | bytes) -> Terms:
    """Terms as they are stored. Raises msgspec.ValidationError."""
    return msgspec.json.decode(terms, type=Terms)
