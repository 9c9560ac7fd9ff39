"""What a person's state holds of where they stay (stay_keeping.py)."""

from dataclasses import dataclass

from geo.stays import Stay


@dataclass(slots=True)
class OwnStay:
    """`stay` is set for a hand-off only: the shard keeps it in columns. `told_ms` is the time of the last fix
    before a silence that was stored.
    """

    stay: Stay | None = None
    told_ms: int = 0
