"""A model as one file: a ZIP of named parts, the same bytes for the same parts. No code, no pickles.

Named by its SHA-256 in the registry; `nlp.models` says what the parts of text heads are.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = "model.zip"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Return the bundle of these parts."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        for name in sorted(parts):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, parts[name])
    return packed.getvalue()


def unpack(source: Path | str | bytes) -> dict[str, bytes]:
    """Return the parts of a bundle: of its bytes, its file, or the folder that a training wrote."""
    if not isinstance(source, bytes):
        path = Path(source)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"no model at {source}: expected a bundle, or a folder with {FILE}")
        source = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(source)) as bundle:
            return {name: bundle.read(name) for name in bundle.namelist()}
    except zipfile.BadZipFile as broken:
        raise ValueError(f"not a bundle of text heads: {broken}") from broken


def array_bytes(values: npt.NDArray[Any]) -> bytes:
    """Return an array of float32 as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32), allow_pickle=False)
    return buffer.getvalue()


def array(content: bytes) -> npt.NDArray[np.float32]:
    """Return the array of a .npy file."""
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float32)
