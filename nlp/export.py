"""A trained encoder out of torch: ONNX, word vectors in int8, the layers in float32 (docs/decisions/0250)."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from nlp.encoder import Encoder, Vectors

LEAST_LIKENESS = 0.995
"""Mean cosine of int8 vectors with those of float32, below which float32 is kept."""


def to_onnx(
    model: Any, texts: Sequence[str], progress: Callable[[str], None]
) -> tuple[Encoder, dict[str, Any]]:
    """Return the encoder of this `BertModel`, and how near its vectors of `texts` are to float32."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / "float32.onnx"
        _export(model, whole)
        exact = Encoder(whole.read_bytes())
        small = folder / "int8.onnx"
        with _quiet():
            quantize_dynamic(
                whole,
                small,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Gather"],
            )
        quantised = Encoder(small.read_bytes())
    likeness = _likeness(exact.pooled(texts), quantised.pooled(texts))
    about = {"cosine_int8_float32": likeness, "int8": likeness >= LEAST_LIKENESS}
    progress(f"int8: {len(quantised.model) >> 20} MB of {len(exact.model) >> 20}, cosine {likeness:.4f}")
    return (quantised if about["int8"] else exact), about


def _export(model: Any, path: Path) -> None:
    model = model.float().eval()
    width = 12
    ids = torch.ones(2, width, dtype=torch.long)
    names = ("input_ids", "attention_mask")
    free = {"batch": torch.export.Dim("batch"), "sequence": torch.export.Dim("sequence")}
    shapes = {name: {0: free["batch"], 1: free["sequence"]} for name in names}
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            model,
            (),
            kwargs={"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            input_names=list(names),
            output_names=["last_hidden_state"],
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    program.save(str(path))
    onnx.checker.check_model(str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' remarks off standard output and error; exceptions pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _likeness(one: Vectors, other: Vectors) -> float:
    products = (one * other).sum(axis=1)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((products / np.maximum(lengths, 1e-9)).mean())
