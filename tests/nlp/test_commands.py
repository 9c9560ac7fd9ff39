"""nlp.train and nlp.evaluate as a person runs them, on small files."""

import json

import numpy as np
import pytest

from nlp import evaluate, frozen, train
from nlp.extra import missing
from nlp.models import Heads


def files(folder, name, data):
    text, labels = folder / f"{name}_text.txt", folder / f"{name}_labels.txt"
    text.write_text("".join(f"{one}\n" for one in data.texts), "utf-8")
    labels.write_text("".join(f"{data.labels[column]}\n" for column in data.single), "utf-8")
    return [f"--{name}-text", str(text), f"--{name}-labels", str(labels)]


@pytest.fixture(scope="module")
def trained(feelings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    given = [*files(folder, "train", feelings[0]), *files(folder, "val", feelings[1])]
    done = train.main(["emotion", *given, "--out", str(folder / "out"), "--method", "frozen", "--seeds", "2"])
    assert done == 0
    return folder, given


def test_a_model_is_trained_and_evaluated_from_files(trained, feelings, capsys):
    folder, _ = trained
    text, labels = folder / "val_text.txt", folder / "val_labels.txt"
    asked = ["--model", str(folder / "out"), "--text", str(text), "--labels", str(labels), "--json"]
    assert evaluate.main(["emotion", *asked]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["macro_f1"] > 0.8
    assert set(found["f1"]) == {"anger", "joy"}
    assert 0 <= found["ece"] <= 1
    assert found["texts"] == len(feelings[1])
    assert found["answered"]["coverage"] <= 1
    assert set(found["sha256"]) == {"val_text.txt", "val_labels.txt", "model"}
    assert set(found["seeds"]["macro_f1"]) == {"0", "1"}
    card = json.loads((folder / "out" / "card.json").read_text("utf-8"))
    assert card["sha256"] == found["sha256"]["model"]
    assert card["heads"]["emotion"]["val"]["abstention"]["risk"] == 0.1


def test_the_same_seed_gives_the_same_model(trained, capsys):
    folder, given = trained
    again = ["emotion", *given, "--method", "frozen", "--out", str(folder / "again")]
    assert train.main(again) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    first = json.loads((folder / "out" / "seed-0" / "card.json").read_text("utf-8"))
    assert found["sha256"]["model"] == first["sha256"]


def test_the_last_training_reads_the_validation_texts_too(trained, feelings, tmp_path, capsys):
    """Figures and thresholds are those of the training before it; without --refit it is left out."""
    folder, given = trained
    asked = ["emotion", *given, "--method", "frozen"]
    assert train.main([*asked, "--no-refit", "--out", str(tmp_path)]) == 0
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])
    first, both = (
        Heads.load(tmp_path).heads["emotion"],
        Heads.load(folder / "out" / "seed-0").heads["emotion"],
    )
    assert first.card["refit"] is None
    assert both.card["refit"]
    assert both.card["val"] == first.card["val"]
    assert both.card["val"]["macro_f1"] == alone["val"]["macro_f1"]
    assert (both.temperature, both.threshold) == (first.temperature, first.threshold)
    data = feelings[0].joined(feelings[1])
    again = frozen.dense(both.encoder.pooled(data.texts), data, 0)
    assert np.allclose(both.weights, again.weights, atol=1e-5)
    assert not np.allclose(first.weights, again.weights, atol=1e-2)


def test_what_cannot_be_is_refused_with_the_reason(trained, capsys):
    folder, given = trained
    out = ["--out", str(folder / "refused")]
    swapped = [*given[:2], "--train-labels", given[7], *given[4:]]
    assert train.main(["emotion", *swapped, *out]) == 2
    assert "texts in train_text.txt but" in capsys.readouterr().err
    one = folder / "one.txt"
    one.write_text("joy\n" * 60, "utf-8")
    assert train.main(["emotion", *given[:2], "--train-labels", str(one), *given[4:], *out]) == 2
    assert "labels known here are joy" in capsys.readouterr().err
    assert (
        evaluate.main(["offence", "--model", str(folder / "out"), "--text", given[1], "--labels", given[3]])
        == 2
    )
    assert "has no head offence; it has emotion" in capsys.readouterr().err
    assert evaluate.main(["emotion", "--model", str(folder), "--text", given[1], "--labels", given[3]]) == 2
    assert "no model at" in capsys.readouterr().err


@pytest.mark.skipif(not missing(), reason="the extra `train` is installed")
def test_without_torch_fine_tuning_says_how_to_install_it(trained, capsys):
    folder, given = trained
    refused = ["emotion", *given, "--out", str(folder / "refused"), "--method", "fine-tune"]
    assert train.main(refused) == 2
    said = capsys.readouterr().err
    assert "torch" in said
    assert "make train-extra" in said


def test_numbered_labels_are_named_and_what_is_harmful_is_on_the_card(feelings, tmp_path, capsys):
    given = [*files(tmp_path, "train", feelings[0]), *files(tmp_path, "val", feelings[1])]
    for name, data in zip(("train", "val"), feelings, strict=True):
        (tmp_path / f"{name}_labels.txt").write_text("".join(f"{one}\n" for one in data.single), "utf-8")
    asked = ["emotion", *given, "--method", "frozen", "--names", "anger,joy", "--out", str(tmp_path / "out")]
    assert train.main([*asked, "--harmful", "rage"]) == 2
    assert "harmful: rage; labels are anger, joy" in capsys.readouterr().err
    assert train.main([*asked, "--harmful", "anger"]) == 0
    head = Heads.load(tmp_path / "out").heads["emotion"]
    assert head.labels == ("anger", "joy")
    assert head.card["harmful"] == ["anger"]
    judged = ["--text", given[5], "--labels", given[7], "--names", "anger,joy", "--json"]
    assert evaluate.main(["emotion", "--model", str(tmp_path / "out"), *judged]) == 0
    assert evaluate.main(["emotion", "--model", str(tmp_path / "out"), *judged[:4]]) == 2
    assert "labels known here are anger, joy" in capsys.readouterr().err


def test_several_labels_a_text_make_a_head_that_says_several(tmp_path, capsys):
    rows = [
        (
            f"{glad} {cross} {place}",
            ",".join(label for label, word in (("joy", glad), ("anger", cross)) if word),
        )
        for place in ("today", "at home", "in town", "by the sea", "on the bus", "with her", "once more")
        for glad in ("so happy", "I love it", "")
        for cross in ("I hate it", "so angry", "")
    ]
    for name in ("train", "val"):
        table = "".join(f"{text}\t{labels}\n" for text, labels in rows)
        (tmp_path / f"{name}.tsv").write_text(table, "utf-8")
    given = ["--train-text", str(tmp_path / "train.tsv"), "--val-text", str(tmp_path / "val.tsv")]
    assert train.main(["emotion", *given, "--method", "frozen", "--out", str(tmp_path / "out")]) == 0
    asked = ["emotion", "--model", str(tmp_path / "out"), "--text", str(tmp_path / "val.tsv"), "--json"]
    assert evaluate.main(asked) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["macro_f1"] > 0.9
    assert found["accuracy"] > 0.8


def test_valence_is_cross_validated_beside_vader(tmp_path, capsys):
    words = {"great": 2.5, "love": 3.0, "fine": 1.0, "bad": -2.0, "awful": -3.0, "hate": -2.8}
    data = tmp_path / "ground.txt"
    lines = [f"{n}\t{words[w]}\tI say {w} to row {n}\n" for n, w in enumerate(list(words) * 6)]
    data.write_text("".join(lines), "utf-8")
    assert evaluate.main(["valence", "--data", str(data), "--json", "--folds", "3"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["pearson_r"] > 0.9
    assert found["files"]["ground.txt"]["methods"]["vader"] == found["baseline"]["vader"]
    data.write_text("no rows\n", "utf-8")
    assert evaluate.main(["valence", "--data", str(data)]) == 2
    assert "line 1: expected id" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "words"), [(train, "checkpoint"), (evaluate, "valence")])
def test_help_says_what_is_done(command, words, capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert words in capsys.readouterr().out
