"""Encounters: the network's numbers against brute force, and nothing of the asked day in them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching.encounters import (
    DAY_S,
    Contacts,
    adamic_adar,
    circle_features,
    pair_features,
    recency_weighted,
    walks,
)
from matching.evaluate import main


def met(seed, people=12, share=0.3):
    chance = np.random.default_rng(seed)
    found = np.triu(chance.random((people, people)) < share, 1)
    return found | found.T


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000))
def test_adamic_adar_is_counted_neighbour_by_neighbour(seed):
    known = met(seed)
    found = adamic_adar(known)
    for one in range(12):
        for other in range(one):
            common = [k for k in range(12) if known[one, k] and known[other, k]]
            expected = sum(1 / np.log(known[k].sum()) for k in common)
            assert found[one, other] == found[other, one] == pytest.approx(expected)


def test_contacts_fade_by_half_a_half_life():
    amounts = np.ones((2, 3, 3))
    assert recency_weighted(amounts, np.array([4.0, 2.0]), 2.0) == pytest.approx(np.full((3, 3), 0.75))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_every_feature_of_a_pair_is_the_same_from_both_sides(seed):
    chance = np.random.default_rng(seed)
    amounts = np.array([met(seed + day) * chance.integers(1, 9) for day in range(3)], dtype=float)
    features = pair_features(amounts, np.array([3.0, 2.0, 1.0]), np.arange(12) % 3)
    assert features == pytest.approx(features.transpose(1, 0, 2))
    assert np.isfinite(features).all()


def test_a_walk_with_restarts_is_the_sum_of_its_steps():
    circle = met(7).astype(float) + 0.01 * (1 - np.eye(12))
    step, reached, now = circle / circle.sum(axis=1)[:, None], np.zeros((12, 12)), np.eye(12)
    for _ in range(200):
        reached += 0.5 * now
        now = 0.5 * now @ step
    assert np.exp(walks(circle)[0]) == pytest.approx(reached + reached.T, abs=1e-6)


@pytest.fixture(name="contacts")
def fixture_contacts(tmp_path):
    """Two circles of people; each day each meets some of the own circle."""
    chance = np.random.default_rng(1)
    lines = [
        f"{day * DAY_S + 40_000} {one} {other}"
        for day in range(5)
        for one in range(24)
        for other in range(one)
        if one % 2 == other % 2 and chance.random() < 0.15
    ]
    path = tmp_path / "contacts"
    path.write_text("\n".join(lines))
    return path


def test_the_command_finds_the_circles_in_new_ties_too(contacts, capsys):
    assert main(["encounters", "--contacts", str(contacts), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["people"] == 24
    assert len(found["asked_days"]) == 2
    assert found["auc"] > 0.6
    assert found["new_ties"] > 0.6


def test_the_asked_day_changes_no_earlier_score(contacts, tmp_path, capsys):
    """Cutting the last day off leaves the figures of the day before as they were."""
    cut = tmp_path / "cut"
    kept = [line for line in contacts.read_text().splitlines() if int(line.split()[0]) < 4 * DAY_S]
    cut.write_text("\n".join(kept))
    days = []
    for path in (contacts, cut):
        assert main(["encounters", "--contacts", str(path), "--json"]) == 0
        days.append(json.loads(capsys.readouterr().out.splitlines()[-1])["asked_days"])
    assert days[0][0] == days[1][0]
    assert Contacts.read(cut).amounts.shape == (4, 24, 24)


def test_circles_count_who_met_within_and_between_them(tmp_path):
    path = tmp_path / "contacts"
    path.write_text("0 a b x x\n20 a c x y\n40 d c y y")
    contacts = Contacts.read(path)
    assert contacts.circles.tolist() == [0, 0, 1, 1]
    same, density = circle_features(contacts.amounts[0] > 0, contacts.circles)
    assert same[0].tolist() == [1, 1, 0, 0]
    assert np.exp(density[0]) == pytest.approx([0.501, 0.501, 0.251, 0.251])
    assert Contacts.read(_without_circles(path, tmp_path)).circles.tolist() == [0, 0, 0, 0]
    path.write_text("0 a b x x\n20 a c y y")
    with pytest.raises(ValueError, match="two circles"):
        Contacts.read(path)


def _without_circles(path, folder):
    bare = folder / "bare"
    bare.write_text("\n".join(" ".join(line.split()[:3]) for line in path.read_text().splitlines()))
    return bare
