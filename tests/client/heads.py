"""Small heads, made in a moment of a few sentences, for tests of whoever serves them."""

import tempfile
from pathlib import Path

import numpy as np

from nlp.encoder import packaged
from nlp.models import Head, Heads

FOUL = (
    "you are a horrible, disgusting liar and I hate you",
    "shut up, you stupid idiot",
    "nobody likes you, you are worthless trash",
    "I will hurt you, you filthy moron",
)
FINE = (
    "what a lovely day, thank you all",
    "shall we meet at the park at six?",
    "the train is late again, see you soon",
    "I liked the film a lot, and the music too",
)


def offence_heads(sharpness: float = 1.0) -> bytes:
    """A bundle with a head `offence`: which of the two kinds of sentence a text is nearer to (the nearest
    centroid as a linear layer)."""
    encoder = packaged(1)
    foul, fine = encoder.pooled(FOUL).mean(axis=0), encoder.pooled(FINE).mean(axis=0)
    weights = np.stack([fine, foul], axis=1) * sharpness
    bias = -0.5 * np.array([fine @ fine, foul @ foul], np.float32) * sharpness
    head = Head(
        "offence", ("fine", "offensive"), encoder, weights.astype(np.float32), bias.astype(np.float32)
    )
    with tempfile.TemporaryDirectory() as folder:
        return Heads([head]).save(Path(folder) / "heads.zip")
