"""Heads: probabilities, abstention, bundles."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp import bundle
from nlp.embed import embed
from nlp.encoder import packaged
from nlp.models import Head, Heads
from nlp.training import evaluated


def test_a_head_reads_what_it_was_not_trained_on(head):
    glad, cross = Heads([head]).score(["What a wonderful and happy evening", "I hate this, I am so angry"])
    assert glad.label("emotion") == "joy"
    assert cross.label("emotion") == "anger"
    assert sum(glad.probabilities["emotion"].values()) == pytest.approx(1, abs=1e-5)


def test_it_abstains_from_another_language_without_reading(head):
    for text in ("Das war ein sehr schöner Abend mit euch", "今天真的很开心", "", "12345"):
        (reading,) = Heads([head]).score([text])
        assert reading.abstains == {"emotion"}
        assert not reading.probabilities
        assert reading.label("emotion") is None


def test_it_abstains_below_its_threshold(head):
    texts = ["I love this happy day", "the train is at nine"]
    sure, unsure = Heads([replace(head, threshold=0.8)]).score(texts)
    assert not sure.abstains
    assert unsure.abstains == {"emotion"}
    assert max(unsure.probabilities["emotion"].values()) < 0.8
    assert unsure.label("emotion") is None


def test_an_answer_is_the_same_in_any_company_and_order(head, feelings):
    heads, texts = Heads([head]), list(feelings[1].texts)[:12]
    alone = [heads.score([text])[0].probabilities["emotion"]["joy"] for text in texts]
    together = [reading.probabilities["emotion"]["joy"] for reading in heads.score(texts[::-1])][::-1]
    assert together == pytest.approx(alone, abs=0.01)


def test_a_bundle_comes_back_the_same_and_has_the_same_bytes(head, feelings, tmp_path):
    packed = Heads([head]).save(tmp_path / "model.zip")
    texts = list(feelings[1].texts)
    for source in (packed, tmp_path, tmp_path / "model.zip"):
        again = Heads.load(source)
        assert again.score(texts) == Heads([head]).score(texts)
    assert again.save(tmp_path / "again.zip") == packed


def test_a_head_on_an_encoder_of_its_own_brings_it_along(head, tmp_path):
    own = Head("own", head.labels, packaged(), head.weights, head.bias)
    parts = bundle.unpack(Heads([own]).save(tmp_path / "a.zip"))
    assert not [name for name in parts if name.endswith(".onnx")]  # the packaged one is not repeated
    said = json.loads(parts["bundle.json"])
    said["heads"][0]["encoder"] = "0" * 64
    missing = bundle.pack({**parts, "bundle.json": json.dumps(said).encode()})
    with pytest.raises(ValueError, match="another packaged encoder"):
        Heads.load(missing)
    damaged = bundle.pack({**bundle.unpack(missing), f"encoder-{'0' * 64}.onnx": b"not it"})
    with pytest.raises(ValueError, match="damaged"):
        Heads.load(damaged)


@pytest.mark.parametrize("wrong", [b"", b"PK", b"not a zip at all"])
def test_what_is_no_bundle_is_refused(wrong):
    with pytest.raises(ValueError, match="not a bundle"):
        Heads.load(wrong)


def test_a_bundle_of_another_format_is_refused(head, tmp_path):
    parts = bundle.unpack(Heads([head]).save(tmp_path / "model.zip"))
    said = json.loads(parts["bundle.json"]) | {"format": 99}
    with pytest.raises(ValueError, match="format 99"):
        Heads.load(bundle.pack({**parts, "bundle.json": json.dumps(said).encode()}))
    with pytest.raises(ValueError, match="no model at"):
        Heads.load(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="two heads of one name"):
        Heads([head]).joined(Heads([head]))


def test_joined_heads_answer_as_each_alone(head, feelings):
    other = replace(head, name="other", bias=head.bias + np.array([1, 0], np.float32))
    texts = list(feelings[1].texts)[:6]
    together = Heads([head]).joined(Heads([other])).score(texts)
    for name, one in (("emotion", head), ("other", other)):
        alone = Heads([one]).score(texts)
        assert [reading.probabilities[name] for reading in together] == [
            reading.probabilities[name] for reading in alone
        ]


def test_embeddings_have_length_one_and_know_likeness():
    cat, kitten, tax, nothing = embed(["a small cat", "a little kitten", "income tax law", "  "])
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)
    assert cat @ kitten > 0.7 > 0.3 > cat @ tax
    assert not nothing.any()
    assert embed([]).shape == (0, 384)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_texts_have_readings(head, texts):
    readings = Heads([head]).score(texts)
    assert len(readings) == len(texts)
    for reading in readings:
        for of in reading.probabilities.values():
            assert sum(of.values()) == pytest.approx(1, abs=1e-4)


def test_figures_count_what_is_abstained_from(head, feelings):
    found = evaluated(replace(head, threshold=0.999), feelings[1])
    assert found["abstained"]["unsure"] > 0
    assert found["answered"]["coverage"] == 1 - found["abstained"]["unsure"] / found["texts"]
    assert found["macro_f1"] > 0.8
