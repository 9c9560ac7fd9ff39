"""What the operator sees: progress on standard error, results on standard output."""

import sys
import time


class Progress:
    """Prints a line for each step with the seconds since the start."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, message: str) -> None:
        print(f"[{time.monotonic() - self._begin:5.1f}s] {message}", file=sys.stderr, flush=True)
