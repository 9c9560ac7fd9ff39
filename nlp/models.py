"""Heads over an encoder: texts to calibrated probabilities, or to abstention (NLP-3, NLP-9).

`Heads.load(path_or_bytes).score(texts)` is all that serving needs: numpy, onnxruntime, tokenizers; no torch.
A bundle holds

    bundle.json               format; of each head: labels, shares, threshold, card, SHA-256 of its encoder
    <head>/weights.npy …      its arrays, and terms.json, the terms of its lexical layer
    encoder-<sha256>.onnx     unless it stands on the packaged encoder
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nlp import bundle
from nlp.encoder import BATCH, Encoder, Vectors, packaged
from nlp.language import has_emoji, is_english
from nlp.lexical import Lexical, Logits

FORMAT = 1
_MANIFEST = "bundle.json"
_PLAIN = ("name", "labels", "lexical_share", "temperature", "threshold", "several", "cuts", "card")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the heads make of one text."""

    probabilities: Mapping[str, Mapping[str, float]]
    """Head to label to probability; empty if the text was not read at all (not English, no words)."""
    abstains: frozenset[str]
    """Heads that do not say: they are less sure than their threshold, or did not read."""

    def label(self, head: str) -> str | None:
        """Return the likeliest label; None if the head abstains."""
        if head in self.abstains:
            return None
        of = self.probabilities[head]
        return max(of, key=of.__getitem__)


@dataclass(frozen=True)
class Head:
    """A linear layer over pooled vectors of its encoder, and one over words, blended and calibrated."""

    name: str
    labels: tuple[str, ...]
    encoder: Encoder
    weights: Logits
    """(WIDTH, labels)."""
    bias: Logits
    lexical: Lexical | None = None
    lexical_share: float = 0.0
    """How much of the blended logits the words have, in [0, 1]."""
    temperature: float = 1.0
    """Logits are divided by it (Guo et al. 2017)."""
    threshold: float = 0.0
    """Below this confidence it abstains."""
    several: bool = False
    """Whether a text may have several labels (a logistic each) or has one (softmax)."""
    cuts: tuple[float, ...] = ()
    """With `several`: from which probability on each label is said."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Data, method, figures, limits: JSON."""

    def logits(self, vectors: Vectors, texts: Sequence[str]) -> Logits:
        """Return blended logits, not yet divided by the temperature: (texts, labels)."""
        found = vectors @ self.weights + self.bias
        if self.lexical is not None and self.lexical_share > 0:
            said = np.stack([self.lexical.logits(text) for text in texts])
            found = (1 - self.lexical_share) * found + self.lexical_share * said
        return np.asarray(found, np.float32)

    def probabilities(self, logits: Logits) -> Logits:
        """Return calibrated probabilities, rows sum to one unless `several`."""
        scaled = logits / self.temperature
        if self.several:
            return np.asarray(0.5 * (1 + np.tanh(0.5 * scaled)), np.float32)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def unsure(self, probabilities: Logits) -> bool:
        """Return whether the head abstains from a text of these probabilities (labels,)."""
        if self.several:
            return bool((probabilities < np.array(self.cuts, np.float32)).all())
        return float(probabilities.max()) < self.threshold


class Heads:
    """Heads that are asked together. Heads of one encoder share its vectors."""

    def __init__(self, heads: Sequence[Head]) -> None:
        if not heads:
            raise ValueError("no heads")
        self.heads = {head.name: head for head in heads}
        if len(self.heads) < len(heads):
            raise ValueError(f"two heads of one name: {', '.join(head.name for head in heads)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.heads)

    @classmethod
    def load(cls, source: Path | str | bytes, threads: int = 1) -> "Heads":
        """Read a bundle: its bytes, its file, or a training's folder; ValueError if it is none."""
        parts = bundle.unpack(source)
        try:
            said = json.loads(parts[_MANIFEST])
            if said["format"] != FORMAT:
                raise ValueError(f"a bundle of format {said['format']}; this version reads format {FORMAT}")
            wanted = {about["encoder"] for about in said["heads"]}
            encoders = {sha256: _encoder(parts, sha256, threads) for sha256 in wanted}
            return cls([_head(parts, about, encoders[about["encoder"]]) for about in said["heads"]])
        except (KeyError, json.JSONDecodeError) as broken:
            raise ValueError(f"not a bundle of text heads: {broken}") from broken

    def save(self, path: Path) -> bytes:
        """Write the bundle and return its bytes: the same heads give the same bytes."""
        packed = bundle.pack(self._parts())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
        return packed

    def joined(self, *others: "Heads") -> "Heads":
        """Return the heads of all of these together."""
        return Heads([head for heads in (self, *others) for head in heads.heads.values()])

    def score(self, texts: Sequence[str], batch: int = BATCH) -> list[Reading]:
        """Return a reading of each text, in their order; batches of at most `batch` texts."""
        read = [row for row, text in enumerate(texts) if readable(text)]
        chosen = [texts[row] for row in read]
        found: dict[str, Logits] = {}
        if read:
            encoders = {head.encoder.sha256: head.encoder for head in self.heads.values()}
            vectors = {sha256: encoder.pooled(chosen, batch) for sha256, encoder in encoders.items()}
            for head in self.heads.values():
                found[head.name] = head.probabilities(head.logits(vectors[head.encoder.sha256], chosen))
        readings = [Reading({}, frozenset(self.heads))] * len(texts)
        for place, row in enumerate(read):
            readings[row] = Reading(
                {
                    name: dict(zip(head.labels, map(float, found[name][place]), strict=True))
                    for name, head in self.heads.items()
                },
                frozenset(name for name, head in self.heads.items() if head.unsure(found[name][place])),
            )
        return readings

    def _parts(self) -> dict[str, bytes]:
        parts: dict[str, bytes] = {}
        heads = []
        for name, head in self.heads.items():
            about = {key: getattr(head, key) for key in _PLAIN}
            heads.append({**about, "encoder": head.encoder.sha256, "lexical": head.lexical is not None})
            if head.encoder.sha256 != packaged().sha256:
                parts[f"encoder-{head.encoder.sha256}.onnx"] = head.encoder.model
            arrays = {"weights": head.weights, "bias": head.bias}
            if head.lexical is not None:
                words = head.lexical
                arrays |= {"idf": words.idf, "lexical_weights": words.weights, "lexical_bias": words.bias}
                parts[f"{name}/terms.json"] = json.dumps(list(words.places)).encode()
            parts |= {f"{name}/{key}.npy": bundle.array_bytes(values) for key, values in arrays.items()}
        parts[_MANIFEST] = json.dumps({"format": FORMAT, "heads": heads}, sort_keys=True).encode()
        return parts


def readable(text: str) -> bool:
    """Return whether heads may read this: English, or no words but emoji."""
    english = is_english(text)
    return english is True or (english is None and has_emoji(text))


def _head(parts: Mapping[str, bytes], about: Mapping[str, Any], encoder: Encoder) -> Head:
    name = about["name"]

    def array(key: str) -> Logits:
        return bundle.array(parts[f"{name}/{key}.npy"])

    lexical = None
    if about["lexical"]:
        places = {term: row for row, term in enumerate(json.loads(parts[f"{name}/terms.json"]))}
        lexical = Lexical(places, array("idf"), array("lexical_weights"), array("lexical_bias"))
    plain = {key: about[key] for key in _PLAIN} | {key: tuple(about[key]) for key in ("labels", "cuts")}
    return Head(encoder=encoder, weights=array("weights"), bias=array("bias"), lexical=lexical, **plain)


def _encoder(parts: Mapping[str, bytes], wanted: str, threads: int) -> Encoder:
    model = parts.get(f"encoder-{wanted}.onnx")
    if model is None:
        found = packaged(threads)
        if found.sha256 != wanted:
            raise ValueError(f"trained on another packaged encoder ({wanted[:12]}…): train it anew")
        return found
    if hashlib.sha256(model).hexdigest() != wanted:
        raise ValueError("the encoder in this bundle is damaged")
    return Encoder(model, threads)
