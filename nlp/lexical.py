"""What single words and pairs of them say, beside the encoder: tf-idf and VADER into logits, in numpy.

Trained by scikit-learn (`nlp.frozen`), read here without it: a message has a few dozen terms.
"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nlp.sentiment import start
from nlp.wording import analyser, plain, words

Logits = npt.NDArray[np.float32]

LETTERS = (3, 4, 5)
LONGEST = 30
VADER_FEATURES = ("neg", "neu", "pos", "compound")


def terms(text: str) -> list[str]:
    """Return the words, the pairs of neighbours and the 3 to 5 letters that follow each other within what
    stands between blanks, all in lower case: hashtags and misspelt words share their letters.
    """
    read = plain(text)
    said = words(read)
    found = [*said, *(f"{one} {two}" for one, two in pairwise(said))]
    for piece in read.lower().split():
        edged = f"<{piece[:LONGEST]}>"
        found += [edged[at : at + n] for n in LETTERS for at in range(len(edged) - n + 1)]
    return found


def vader(text: str) -> npt.NDArray[np.float32]:
    """Return VADER_FEATURES of the start of a text."""
    found = analyser().polarity_scores(start(text))
    return np.array([found[name] for name in VADER_FEATURES], np.float32)


@dataclass(frozen=True)
class Lexical:
    """A linear layer over sublinear tf-idf of `terms`, of length one, and VADER_FEATURES."""

    places: dict[str, int]
    """Term to row of `weights`; the last rows are VADER's."""
    idf: npt.NDArray[np.float32]
    weights: Logits
    """(terms + VADER_FEATURES, labels)."""
    bias: Logits

    def logits(self, text: str) -> Logits:
        """Return (labels,)."""
        counts = Counter(term for term in terms(text) if term in self.places)
        found = self.bias + vader(text) @ self.weights[len(self.places) :]
        if counts:
            rows = [self.places[term] for term in counts]
            amounts = (
                np.array([1 + math.log(count) for count in counts.values()], np.float32) * self.idf[rows]
            )
            found = found + (amounts / np.linalg.norm(amounts)) @ self.weights[rows]
        return np.asarray(found, np.float32)
