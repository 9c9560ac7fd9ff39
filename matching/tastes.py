"""What people like, want and answer, by row of the live table: for features, and to find who shares what."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from sys import getsizeof
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from matching.arrays import Floats, Integers
from matching.pair_features import VALUES, Person, Profiles, profiles

Rows = npt.NDArray[np.int64]
Numbers: TypeAlias = "array[int]"
"""Four bytes each."""

MOST_TAGS = 50
"""Of one person, in one kind."""


class Answers(NamedTuple):
    """One person's, sorted by question: numbers of questions, what was given, what is welcome, points."""

    questions: Integers
    given: Integers
    welcome: npt.NDArray[np.uint64]
    points: Floats


class Vocabulary:
    """Numbers from 1 for words that somebody uses. A word that nobody uses any more is forgotten."""

    def __init__(self) -> None:
        self.words: list[str] = [""]
        self.uses: list[int] = [0]
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """Return the highest number that was given out."""
        return len(self.words) - 1

    def take(self, words: Iterable[str]) -> list[int]:
        """Return the numbers of words, ascending, each once and used once more."""
        found = []
        for word in dict.fromkeys(words):
            at = self._numbers.get(word)
            if at is None:
                at = self._free.pop() if self._free else len(self.words)
                if at == len(self.words):
                    self.words.append(word)
                    self.uses.append(0)
                self.words[at] = word
                self._numbers[word] = at
            self.uses[at] += 1
            found.append(at)
        return sorted(found)

    def give_back(self, numbers: Iterable[int]) -> None:
        """Count one use less of each."""
        for at in numbers:
            self.uses[at] -= 1
            if not self.uses[at]:
                del self._numbers[self.words[at]]
                self.words[at] = ""
                self._free.append(at)


class Tags:
    """Tags by row as a rectangle of numbers, 0 where a row is short, and rows by tag."""

    def __init__(self) -> None:
        self.vocabulary = Vocabulary()
        self.table: npt.NDArray[np.int32] = np.zeros((0, 1), np.int32)
        self._holders: dict[int, Numbers] = {}

    def grow(self, capacity: int) -> None:
        """Make room for rows."""
        self._shape(capacity, self.table.shape[1])

    def put(self, row: int, tags: Iterable[str]) -> None:
        """Take over a row's tags; those beyond MOST_TAGS are left out."""
        before = self.of(row)
        now = self.vocabulary.take(list(dict.fromkeys(tags))[:MOST_TAGS])
        self.vocabulary.give_back(before)
        if len(now) > self.table.shape[1]:
            self._shape(len(self.table), min(MOST_TAGS, 2 * len(now)))
        self.table[row] = 0
        self.table[row, : len(now)] = now
        for tag in set(now) - set(before):
            self._holders.setdefault(tag, array("i")).append(row)
        for tag in before:
            if not self.vocabulary.uses[tag]:
                self._holders.pop(tag, None)

    def of(self, row: int) -> list[int]:
        """Return the numbers of a row's tags."""
        return [tag for tag in self.table[row].tolist() if tag]

    def holders(self, tag: int, most: int) -> Rows:
        """Return up to `most` rows that have the tag, the newest of them last."""
        kept = self._holders.get(tag)
        if kept is None:
            return np.zeros(0, np.int64)
        if len(kept) == self.vocabulary.uses[tag]:  # nobody gave it up
            return np.frombuffer(kept, np.int32)[-most:].astype(np.int64)
        if len(kept) > 2 * self.vocabulary.uses[tag] + 8:
            newest_first = [row for row in dict.fromkeys(reversed(kept)) if tag in self.table[row]]
            kept = self._holders[tag] = array("i", reversed(newest_first))
        rows = np.frombuffer(kept, np.int32)[-most:].astype(np.int64)
        found: Rows = rows[(self.table[rows] == tag).any(axis=1)]
        return found

    def size_bytes(self) -> int:
        """Return what is held, about."""
        return self.table.nbytes + sum(map(getsizeof, self._holders.values()))

    def _shape(self, capacity: int, width: int) -> None:
        grown = np.zeros((capacity, width), np.int32)
        grown[: len(self.table), : self.table.shape[1]] = self.table
        self.table = grown


class Tastes:
    """Interests, goals, answers and values by row."""

    def __init__(self) -> None:
        self.interests, self.goals = Tags(), Tags()
        self.values: Floats = np.zeros((0, VALUES))
        self._answers: dict[int, Answers] = {}

    def grow(self, capacity: int) -> None:
        """Make room for rows."""
        self.interests.grow(capacity)
        self.goals.grow(capacity)
        grown = np.full((capacity, VALUES), np.nan)
        grown[: len(self.values)] = self.values
        self.values = grown

    def put(
        self,
        row: int,
        interests: Iterable[str] = (),
        goals: Iterable[str] = (),
        answers: Mapping[str, Mapping[str, Any]] | None = None,
        values: Sequence[float] | None = None,
    ) -> None:
        """Take over all of a row; nothing given: nothing stays."""
        self.interests.put(row, interests)
        self.goals.put(row, goals)
        if values is None:
            self.values[row] = np.nan
        if answers or values is not None:
            one = profiles([Person(answers=answers or {}, values=values)])
            self.values[row] = one.values[0]
            if answers:
                self._answers[row] = Answers(one.questions[0], one.given[0], one.welcome[0], one.points[0])
        if not answers:
            self._answers.pop(row, None)

    def profiles(self, viewer: int, rows: Rows, ages: Floats) -> Profiles:
        """Return the columns of `rows`, of their answers those to questions that the viewer answered too."""
        return Profiles(
            ages,
            self.interests.table[rows].astype(np.int64),
            self.goals.table[rows].astype(np.int64),
            *self._common(viewer, rows),
            self.values[rows],
        )

    def size_bytes(self) -> int:
        """Return what is held, about."""
        answers = sum(column.nbytes for said in self._answers.values() for column in said)
        return self.values.nbytes + answers + self.interests.size_bytes() + self.goals.size_bytes()

    def _common(self, viewer: int, rows: Rows) -> Answers:
        asked = self._answers.get(viewer)
        said = [] if asked is None else [self._answers.get(row) for row in rows.tolist()]
        kept = [(place, one) for place, one in enumerate(said) if one is not None]
        if asked is None or not kept:
            return _blank(len(rows), 1)
        owner = np.repeat([place for place, _ in kept], [len(one.questions) for _, one in kept])
        flat = [np.concatenate(column) for column in zip(*(one for _, one in kept), strict=True)]
        same = np.isin(flat[0], asked.questions)
        owner = owner[same]
        column = np.arange(len(owner)) - np.searchsorted(owner, owner)
        found = _blank(len(rows), int(column.max(initial=0)) + 1)
        for into, values in zip(found, flat, strict=True):
            into[owner, column] = values[same]
        return found


def _blank(rows: int, width: int) -> Answers:
    return Answers(
        np.zeros((rows, width), np.int64),
        np.zeros((rows, width), np.int64),
        np.zeros((rows, width), np.uint64),
        np.zeros((rows, width)),
    )
