"""Python's collector of cycles, in processes that hold many things for long."""

import gc

THRESHOLD = 50_000
"""Sockets and people stay: looking through all of them for cycles every 700 allocations would cost more than
it finds."""


def spare_the_collector() -> None:
    """What there is by now is never looked through again, and what comes less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD, 20, 20)
