"""Shapley values of boosted trees by table: the same as the trees' own, without walking them (MATCH-15).

A tree of depth 3 asks at most seven questions, so there are 128 ways to answer it. What each feature adds is
worked out for all of them once, when a model is loaded; a row then costs its answers and a look a tree.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from matching.arrays import Floats, Integers
from matching.boosting import xgboost

QUESTIONS = 7
"""Of one tree at most."""
_WAYS = 2**QUESTIONS
PAUSE_S = 1e-4
"""After each tree: all are 30 ms of Python in a process that answers meanwhile, in another thread."""


class _Tree(msgspec.Struct):
    """As xgboost writes it: by number of a node; a leaf has no children, and its value as its condition."""

    left_children: list[int]
    right_children: list[int]
    split_indices: list[int]
    split_conditions: list[float]
    default_left: list[int]
    sum_hessian: list[float]

    @property
    def questions(self) -> list[int]:
        return [node for node, child in enumerate(self.left_children) if child >= 0]


class _Trees(msgspec.Struct):
    trees: list[_Tree]


class _Boosted(msgspec.Struct):
    model: _Trees


class _Learner(msgspec.Struct):
    gradient_booster: _Boosted


class _Saved(msgspec.Struct):
    learner: _Learner


class _Step(NamedTuple):
    node: int
    is_left: bool
    feature: int
    share: float
    """Of what came to the node in training, how much went this way."""


class TreeTables:
    """What some columns add to the log-odds of a booster."""

    def __init__(self, trees: Sequence[_Tree], columns: Sequence[int]) -> None:
        shape = len(trees), QUESTIONS + 1  # a byte's bits, of which the first stays 0
        self._feature: Integers = np.zeros(shape, np.int64)
        self._threshold: npt.NDArray[np.float32] = np.full(shape, -np.inf, np.float32)
        self._default_left = np.zeros(shape, np.bool_)
        for number, tree in enumerate(trees):
            for place, node in enumerate(tree.questions, start=1):
                self._feature[number, place] = tree.split_indices[node]
                self._threshold[number, place] = tree.split_conditions[node]
                self._default_left[number, place] = tree.default_left[node]
        self._number = np.arange(len(trees))
        self._added = np.stack(list(_tables(trees, columns)))

    @classmethod
    def of(cls, booster: xgboost.Booster, columns: Sequence[int]) -> Self | None:
        """Return the tables, or None where a tree asks more than QUESTIONS."""
        saved = msgspec.json.decode(bytes(booster.save_raw("json")), type=_Saved)
        trees = saved.learner.gradient_booster.model.trees
        if not trees or any(len(tree.questions) > QUESTIONS for tree in trees):
            return None
        return cls(trees, columns)

    def added(self, inputs: Floats) -> Floats:
        """Return rows × columns of Shapley values, in log-odds."""
        asked = inputs.astype(np.float32)[:, self._feature]
        goes_left = (asked < self._threshold) | (np.isnan(asked) & self._default_left)
        way = np.packbits(goes_left, axis=-1)[..., 0]
        return np.asarray(self._added[self._number, way].sum(axis=1, dtype=np.float64))


def _tables(trees: Sequence[_Tree], columns: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
    for tree in trees:
        yield _table(tree, columns).astype(np.float32)
        time.sleep(PAUSE_S)


def _table(tree: _Tree, columns: Sequence[int]) -> Floats:
    """Return ways × columns: what each adds, by how the questions are answered (bits, the first the highest;
    1 is left).
    """
    ways = np.arange(_WAYS)
    went_left = {node: (ways >> (QUESTIONS - 1 - place)) & 1 for place, node in enumerate(tree.questions)}
    found = np.zeros((_WAYS, len(columns)))
    for value, path in _leaves(tree):
        # By feature: whether a row keeps to the path, and how many do of those of whom it is not known.
        keeps: dict[int, Integers] = {}
        share: dict[int, float] = {}
        for step in path:
            kept = went_left[step.node] if step.is_left else 1 - went_left[step.node]
            keeps[step.feature] = keeps.get(step.feature, 1) * kept
            share[step.feature] = share.get(step.feature, 1.0) * step.share
        for column, feature in enumerate(columns):
            if feature in keeps:
                others = [each for each in keeps if each != feature]
                found[:, column] += value * (keeps[feature] - share[feature]) * _weight(others, keeps, share)
    return found


def _weight(others: list[int], keeps: dict[int, Integers], share: dict[int, float]) -> Floats:
    """Return how much of a leaf's value comes in when one more feature is known: the mean over all orders."""
    found = np.zeros(_WAYS)
    for size in range(len(others) + 1):
        for known in combinations(others, size):
            reached = np.ones(_WAYS)
            for each in others:
                reached *= keeps[each] if each in known else share[each]
            found += reached / (comb(len(others), size) * (len(others) + 1))
    return found


def _leaves(tree: _Tree) -> Iterator[tuple[float, tuple[_Step, ...]]]:
    waiting: list[tuple[int, tuple[_Step, ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        if tree.left_children[node] < 0:
            yield tree.split_conditions[node], path
            continue
        for child, is_left in ((tree.left_children[node], True), (tree.right_children[node], False)):
            share = tree.sum_hessian[child] / tree.sum_hessian[node]
            waiting.append((child, (*path, _Step(node, is_left, tree.split_indices[node], share))))
