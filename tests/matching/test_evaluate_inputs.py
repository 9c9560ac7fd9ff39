"""`matching.evaluate` on files and options that are not what they should be: one sentence says why."""

import json
import math

import polars as pl
import pytest

from matching.evaluate import main
from matching.speed_dating import read


@pytest.fixture(name="data")
def fixture_data(make_decisions, write_events, tmp_path):
    return write_events(tmp_path / "events.csv", make_decisions(5, people=16, cohorts=3), 5)


@pytest.fixture(name="refused")
def fixture_refused(capsys):
    def refused(*arguments):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as ended:  # argparse's own
            code = ended.code
        said = capsys.readouterr().err.splitlines()[-1]
        assert code == 2
        assert "Traceback" not in said
        return said

    return refused


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--protocols", "A,X"), "no protocol X"),
        (("--runs", "0"), "whole number from 1 on"),
        (("--seed", "-1"), "whole number from 0 on"),
        (("--test-waves", "1-3"), "no number of an evening"),
        (("--test-waves", "99"), "no evening"),
    ],
)
def test_options_that_mean_nothing_are_refused(data, refused, options, word):
    assert word in refused("speed-dating", "--data", data, *options, "--json")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no table"),
        (b"a;b\n1;2\n", "none of the columns"),
        (b"\xff\xfe\x00\x01", "none of the columns"),
    ],
)
def test_another_file_than_the_evenings_is_refused(tmp_path, refused, content, word):
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    assert word in refused("speed-dating", "--data", path)


def test_one_half_of_each_date_is_refused(data, refused):
    pl.read_csv(data).filter(pl.col("gender") == 0).write_csv(data)
    assert "both people" in refused("speed-dating", "--data", data)


def test_nan_is_no_answer_and_a_row_that_is_there_twice_counts_once(data, tmp_path):
    frame = pl.read_csv(data, infer_schema=False)
    some = pl.int_range(pl.len()) % 7 == 0
    for name, word in (("holes", None), ("words", "NaN")):
        frame.with_columns(
            pl.when(some).then(pl.lit(word)).otherwise(pl.col(column)).alias(column)
            for column in ("age", "tv", "pid")
        ).write_csv(tmp_path / name)
    holes, words = read(tmp_path / "holes"), read(tmp_path / "words")
    assert holes.dropped == words.dropped > 0
    assert holes.answers.keys() == words.answers.keys()
    for name in holes.answers:
        assert holes.answers[name].tolist() == pytest.approx(words.answers[name].tolist(), nan_ok=True)
    pl.concat([frame, frame[:9]]).write_csv(tmp_path / "twice")
    assert read(tmp_path / "twice").decisions.label.tolist() == read(data).decisions.label.tolist()
    assert read(tmp_path / "twice").dropped == 9


def test_a_figure_that_cannot_be_counted_is_null(write_events, make_decisions, tmp_path, capsys):
    """Nobody says yes on the kept evening."""
    decisions = make_decisions(5, people=16, cohorts=3)
    label = (decisions.label * (decisions.cohort != 2)).astype(int)
    path = write_events(tmp_path / "events.csv", decisions, 5, dec=label)
    assert main(["speed-dating", "--data", str(path), "--test-waves", "3", "--json"]) == 0

    def constant(word):
        raise AssertionError(word)

    found = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=constant)
    assert found["decision_auc"] is found["match_auc"] is found["ndcg5"] is None
    assert found["baseline"]["decision_auc"] is None
    assert math.isfinite(found["ece"])


@pytest.mark.parametrize("content", ["", "0\n1\n", "0 1 x", "0 -1", "0,1,2", "0 1.5"])
def test_visits_that_are_none_are_refused_with_their_line(tmp_path, refused, content):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("0 1 2\n1 2 3\n")
    bad.write_text(content)
    for train, test in ((good, bad), (bad, good)):
        assert "bad.txt" in refused("gowalla", "--train", train, "--test", test)


@pytest.mark.parametrize("content", ["", "x a b", "100 a", "100 a b"])
def test_contacts_that_are_none_or_too_few_are_refused(tmp_path, refused, content):
    path = tmp_path / "contacts.txt"
    path.write_text(content)
    assert "contacts.txt" in refused("encounters", "--data", path)
