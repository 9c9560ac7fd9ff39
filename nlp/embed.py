"""Embeddings of short texts: what the interest map and search by meaning stand on (MATCH-7)."""

from collections.abc import Sequence

import numpy as np

from nlp.encoder import WIDTH, Encoder, Vectors, packaged


def embed(texts: Sequence[str], encoder: Encoder | None = None) -> Vectors:
    """Return a vector of length one for each text, (texts, WIDTH); the dot product is the cosine.

    An empty text is the zero vector: like nothing. Never for a text of an encrypted room or of one that has
    not opted in (NLP-4): the caller sees to that.
    """
    found = (encoder or packaged()).pooled(texts)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    found = np.where(length > 0, found / np.maximum(length, 1e-12), 0.0).astype(np.float32)
    found[[row for row, text in enumerate(texts) if not text.strip()]] = 0.0
    return found.reshape(-1, WIDTH)
