"""Labelled texts from files: whatever labels they hold (TweetEval's numbers, names, several a text).

texts   a text a line, UTF-8; or a .tsv whose first two columns are text and labels (GoEmotions), then without
        a file of labels
labels  a line for each text: a label, or several with commas between; numbers or names
mapping names of numbered labels, a line each: `0<TAB>anger`, or just names in their order; on the command
        line --names anger,joy,… does the same
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Labelled:
    """Texts and what they are labelled with."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    """The label set, in the order of columns of `targets`."""
    targets: npt.NDArray[np.float32]
    """(texts, labels), one or zero."""
    sha256: dict[str, str]
    """Of each file read, by its name."""

    @property
    def several(self) -> bool:
        """Whether some text has more than one label, or none."""
        return bool((self.targets.sum(axis=1) != 1).any())

    @property
    def single(self) -> npt.NDArray[np.int64]:
        """Return the column of each text's label; only where each has one."""
        return np.asarray(self.targets.argmax(axis=1), np.int64)

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: Sequence[int] | npt.NDArray[np.int64]) -> "Labelled":
        return Labelled(
            tuple(self.texts[row] for row in chosen), self.labels, self.targets[list(chosen)], self.sha256
        )

    def joined(self, other: "Labelled") -> "Labelled":
        """Return the texts of both; ValueError if their label sets differ."""
        if self.labels != other.labels:
            raise ValueError(f"labels {self.labels} and {other.labels} differ")
        targets = np.concatenate([self.targets, other.targets])
        return Labelled(self.texts + other.texts, self.labels, targets, {**self.sha256, **other.sha256})

    def counts(self) -> dict[str, int]:
        return dict(zip(self.labels, self.targets.sum(axis=0).astype(int).tolist(), strict=True))


def read(
    texts: Path,
    labels: Path | None = None,
    mapping: Path | Sequence[str] | None = None,
    known: Sequence[str] | None = None,
) -> Labelled:
    """Read labelled texts; ValueError says what is wrong with which file.

    `known` is the label set of a model or of the training texts: then no other label may appear. Without it
    it is what appears, numbers in their order, names in the alphabet's.
    """
    digests: dict[str, str] = {}
    lines = _lines(texts, digests)
    if labels is None:
        if texts.suffix != ".tsv":
            raise ValueError(
                f"{texts.name} holds no labels: give a file of labels, or a .tsv of text and labels"
            )
        columns = [line.split("\t") for line in lines]
        if short := [place for place, row in enumerate(columns, 1) if len(row) < 2]:
            raise ValueError(f"{texts.name}, line {short[0]}: expected text, a tab, labels")
        lines, said = [row[0] for row in columns], [row[1] for row in columns]
    else:
        said = _lines(labels, digests)
        if len(said) != len(lines):
            raise ValueError(f"{len(lines)} texts in {texts.name} but {len(said)} labels in {labels.name}")
    names = _mapping(mapping, digests) if isinstance(mapping, Path) else _numbered(mapping or ())
    each = [tuple(names.get(label.strip(), label.strip()) for label in line.split(",")) for line in said]
    each = [tuple(label for label in found if label) for found in each]
    appearing = {label for found in each for label in found}
    if not appearing:
        raise ValueError(f"{(labels or texts).name} holds no label at all")
    if known is None:
        known = sorted(appearing, key=_place)
    elif unknown := sorted(appearing - set(known)):
        where = (labels or texts).name
        raise ValueError(f"{where} holds {', '.join(unknown)}: labels known here are {', '.join(known)}")
    place = {label: column for column, label in enumerate(known)}
    targets = np.zeros((len(lines), len(known)), np.float32)
    for row, found in enumerate(each):
        targets[row, [place[label] for label in found]] = 1.0
    return Labelled(tuple(lines), tuple(known), targets, digests)


def _place(label: str) -> tuple[bool, int, str]:
    return not label.isdigit(), int(label) if label.isdigit() else 0, label


def _lines(path: Path, digests: dict[str, str]) -> list[str]:
    content = path.read_bytes()
    digests[path.name] = hashlib.sha256(content).hexdigest()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise ValueError(f"{path.name} is not UTF-8 (byte {wrong.start}): convert it") from wrong
    lines = [line.rstrip("\r") for line in text.split("\n")]  # a text may hold other separators
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f"{path.name} is empty")
    return lines


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name.strip() for number, name in enumerate(names)}


def _mapping(path: Path, digests: dict[str, str]) -> dict[str, str]:
    rows = [line.split("\t") for line in _lines(path, digests) if line.strip()]
    if all(len(row) == 1 for row in rows):
        return _numbered([row[0] for row in rows])
    if any(len(row) != 2 for row in rows):
        raise ValueError(f"{path.name}: each line is a name, or a number, a tab and a name")
    return {number.strip(): name.strip() for number, name in rows}
