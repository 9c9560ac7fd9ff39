"""Places by graph filters and by least squares, against dense arithmetic."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from matching.evaluate import main
from matching.places import Factors, GraphFilter, list_figures, read, recommend


def visits(seed, persons=30, places=20, share=0.25):
    chance = np.random.default_rng(seed)
    dense = (chance.random((persons, places)) < share).astype(np.float32)
    dense[np.arange(persons), chance.integers(0, places, persons)] = 1
    return dense


@settings(max_examples=20)
@given(st.integers(0, 1_000), st.sampled_from([0.0, 0.7]))
def test_the_filter_is_the_dense_formula(seed, sharpen):
    dense = visits(seed)
    model = GraphFilter.fit(csr_array(dense), seed=0, rank=20, blend=0.3, sharpen=sharpen)
    of_person, of_place = dense.sum(axis=1), np.maximum(dense.sum(axis=0), 1)
    smooth = dense / np.sqrt(np.outer(of_person, of_place))
    low_pass = smooth.T @ smooth
    # With every component the ideal pass is a projection on the row space of the normalised visits.
    ideal = (dense / np.sqrt(of_place)) @ np.linalg.pinv(smooth) @ smooth * np.sqrt(of_place)
    blurred = dense @ low_pass + 0.3 * ideal
    expected = blurred - sharpen * blurred @ low_pass
    assert model.scores(np.arange(30)) == pytest.approx(expected, abs=2e-3)


def test_least_squares_reach_the_point_where_each_side_is_the_best_answer_to_the_other():
    dense = visits(3)
    model = Factors.fit(csr_array(dense), width=3, seed=0, sweeps=300, weight=5.0, ridge=0.1)
    weights = 1 + 5.0 * dense
    for person in range(5):
        others = model.places.astype(np.float64)
        ridge = (0.1 * dense[person].sum() + 1e-3) * np.eye(3)
        system = (others * weights[person][:, None]).T @ others + ridge
        best = np.linalg.solve(system, (others * weights[person][:, None]).T @ dense[person])
        assert model.persons[person] == pytest.approx(best, abs=5e-3)


def test_lists_hold_only_new_places_best_first():
    dense = visits(4)
    dense[0] = 1
    dense[0, 7] = 0
    model = GraphFilter.fit(csr_array(dense), seed=0, rank=8)
    best = recommend(model, csr_array(dense), np.arange(30), 6)
    assert best[0].tolist() == [7, -1, -1, -1, -1, -1]
    scores = model.scores(np.arange(30))
    for person in range(1, 30):
        listed = best[person][best[person] >= 0]
        assert not dense[person, listed].any()
        allowed = np.sort(scores[person][dense[person] == 0])[::-1]
        assert scores[person, listed] == pytest.approx(allowed[: len(listed)])


def test_recall_and_ndcg_by_hand():
    recalls, gains = list_figures(np.array([[3, 1, 2]]), [np.array([1, 2, 9, 8])])
    assert recalls == [0.5]
    discounts = 1 / np.log2(np.arange(2, 5))
    assert gains == [pytest.approx((discounts[1] + discounts[2]) / discounts.sum())]
    assert list_figures(np.array([[5, 0]]), [np.array([5])])[1] == [1.0]


def test_the_graph_filter_finds_a_circle_of_places():
    """At a sharpening below 1: in two circles without anything between, a whole step would leave nothing."""
    chance = np.random.default_rng(0)
    dense = np.zeros((60, 60), dtype=np.float32)
    for person in range(60):
        dense[person, 30 * (person % 2) + chance.permutation(30)[:12]] = 1
    model = GraphFilter.fit(csr_array(dense), seed=0, rank=2, sharpen=0.5)
    best = recommend(model, csr_array(dense), np.arange(60), 18)
    assert (best // 30 == (np.arange(60) % 2)[:, None]).all()


@pytest.mark.parametrize("method", ["als", "implicit"])
def test_the_command_finds_two_circles_of_places(tmp_path, capsys, method):
    """Persons go to places of their own circle only; what is kept back of it comes first."""
    chance = np.random.default_rng(0)
    train, test = [], []
    for person in range(60):
        own = 30 * (person % 2) + chance.permutation(30)[:16]
        train.append(" ".join(map(str, [person, *own[:12]])))
        test.append(" ".join(map(str, [person, *own[12:]])))
    for name, lines in (("train", train), ("test", test)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    arguments = ["gowalla", "--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    assert main([*arguments, "--method", method, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["recall20"] > 0.7
    assert len(found["sha256"]) == 2
    assert read(tmp_path / "train").shape == (60, 60)
