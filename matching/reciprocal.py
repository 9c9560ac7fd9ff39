"""Two directed probabilities become one score of a pair (MATCH-1)."""

import numpy as np

from matching.arrays import Floats


def harmonic(forward: Floats, backward: Floats) -> Floats:
    """Return the harmonic mean of p(i→j) and p(j→i), in [0, 1]; 0 where both are 0.

    Both must be calibrated probabilities: the mean of two scales says nothing. The harmonic mean stays near
    the less willing side, so one side's enthusiasm cannot carry a pair (Neve and Palomares 2019).
    """
    total = forward + backward
    safe = np.where(total > 0, total, 1.0)
    return np.asarray(2 * forward * backward / safe, dtype=np.float64)


def both(forward: Floats, backward: Floats) -> Floats:
    """Return the probability of a match if the two sides decide independently: what caps and expectations
    add.
    """
    return forward * backward
