"""Labelled texts from files, and what is said of files that are wrong."""

import numpy as np
import pytest

from nlp.labelled import read


def written(folder, **files):
    paths = {}
    for name, content in files.items():
        paths[name] = folder / f"{name}.txt"
        paths[name].write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


def test_numbers_names_and_mapped_numbers(tmp_path):
    files = written(tmp_path, texts="a\nb\nc\n", numbers="10\n2\n10\n", names="joy\nanger\njoy\n")
    assert read(files["texts"], files["numbers"]).labels == ("2", "10")  # in the order of numbers
    assert read(files["texts"], files["names"]).labels == ("anger", "joy")
    pairs = written(tmp_path, mapping="2\tanger\n10\tjoy\n", short="0\n1\n0\n", order="anger\njoy\n")
    named = read(files["texts"], files["numbers"], pairs["mapping"])
    assert named.labels == ("anger", "joy")
    assert named.single.tolist() == [1, 0, 1]
    assert read(files["texts"], pairs["short"], pairs["order"]).labels == ("anger", "joy")
    assert read(files["texts"], pairs["short"], ["anger", " joy"]).labels == ("anger", "joy")


def test_a_text_may_have_several_labels_and_a_table_both_columns(tmp_path):
    table = tmp_path / "ekman.tsv"
    table.write_text("one text\t3,4\tid1\nanother\t3\tid2\nquiet\t\tid3\n", "utf-8")
    found = read(table)
    assert found.labels == ("3", "4")
    assert found.several
    assert found.targets.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert found.counts() == {"3": 2, "4": 1}


def test_only_line_feeds_end_a_line(tmp_path):
    files = written(tmp_path, texts="one\u2028still one\x85and on\r\ntwo\n", labels="0\r\n1\r\n")
    assert read(files["texts"], files["labels"]).texts == ("one\u2028still one\x85and on", "two")


def test_the_hash_of_each_file_is_kept(tmp_path):
    files = written(tmp_path, texts="a\n", labels="0\n")
    found = read(files["texts"], files["labels"])
    assert found.sha256["texts.txt"] == "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"
    assert np.array_equal(found.rows([0]).targets, found.targets)


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        ("a\nb\n", "0\n", "2 texts in texts.txt but 1 labels in labels.txt"),
        ("", "", "texts.txt is empty"),
        ("a\n", "", "labels.txt is empty"),
        ("a\n", "\n", "no label at all"),
        (b"caf\xe9\n", "0\n", r"texts.txt is not UTF-8 \(byte 3\)"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, texts, labels, said):
    files = written(tmp_path, texts=texts, labels=labels)
    with pytest.raises(ValueError, match=said):
        read(files["texts"], files["labels"])


def test_texts_of_two_files_are_joined_if_their_labels_are_the_same(tmp_path):
    files = written(tmp_path, one="a\nb\n", of_one="joy\nanger\n", two="c\n", of_two="joy\n")
    one = read(files["one"], files["of_one"])
    both = one.joined(read(files["two"], files["of_two"], known=one.labels))
    assert both.texts == ("a", "b", "c")
    assert both.single.tolist() == [1, 0, 1]
    assert set(both.sha256) == {"one.txt", "of_one.txt", "two.txt", "of_two.txt"}
    with pytest.raises(ValueError, match="differ"):
        one.joined(read(files["two"], files["of_two"]))


def test_a_label_that_the_model_does_not_know_is_refused(tmp_path):
    files = written(tmp_path, texts="a\nb\n", labels="joy\nenvy\n")
    with pytest.raises(ValueError, match=r"labels.txt holds envy: labels known here are anger, joy"):
        read(files["texts"], files["labels"], known=("anger", "joy"))
    assert read(files["texts"], files["labels"], known=("anger", "envy", "joy")).labels[0] == "anger"


def test_texts_alone_need_a_table(tmp_path):
    files = written(tmp_path, texts="a\n")
    with pytest.raises(ValueError, match="holds no labels"):
        read(files["texts"])
    table = tmp_path / "one.tsv"
    table.write_text("no tab here\n", "utf-8")
    with pytest.raises(ValueError, match=r"line 1: expected text, a tab, labels"):
        read(table)
    wrong = written(tmp_path, labels="0\n", mapping="0\tanger\tmore\n")
    with pytest.raises(ValueError, match=r"mapping\.txt"):
        read(files["texts"], wrong["labels"], wrong["mapping"])
