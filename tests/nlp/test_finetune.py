"""Fine-tuning, where torch is installed (make train-extra): it goes on after a kill; ONNX says the same."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nlp.extra import missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=missing() or "the extra is there"),
    pytest.mark.filterwarnings("default"),  # torch's own about itself
]


@pytest.fixture(scope="module")
def parts():
    """What only the extra brings."""
    from nlp import export, finetune  # noqa: PLC0415 - the extra

    return export, finetune


@pytest.fixture
def recipe(parts):
    return parts[1].Recipe(epochs=2)


def weights(training):
    return np.concatenate([value.detach().numpy().ravel() for _, value in training._trained()])


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(parts, recipe, feelings, tmp_path):
    _, finetune = parts
    whole = finetune.Training(*feelings, 7, recipe)
    first, second = whole.run_epoch(), whole.run_epoch()
    broken = finetune.Training(*feelings, 7, recipe)
    assert broken.run_epoch() == first
    broken.keep(tmp_path / "checkpoint.pt")
    again = finetune.Training(*feelings, 7, recipe)
    assert again.resume(tmp_path / "checkpoint.pt")
    assert again.epoch == 1
    assert again.run_epoch() == second
    assert np.array_equal(weights(again), weights(whole))


def test_without_validation_texts_the_last_epoch_is_taken(parts, recipe, feelings, tmp_path):
    _, finetune = parts
    training = finetune.Training(feelings[0], None, 7, recipe)
    assert [training.run_epoch(), training.run_epoch()] == [None, None]
    training.keep(tmp_path / "checkpoint.pt")
    training.use_best()
    average = np.concatenate([training._average[name].numpy().ravel() for name, _ in training._trained()])
    assert np.array_equal(weights(training), average)
    again = finetune.Training(feelings[0], None, 7, recipe)
    assert again.resume(tmp_path / "checkpoint.pt")
    again.use_best()
    assert np.array_equal(weights(again), average)
    assert not finetune.Training(*feelings, 7, recipe).resume(tmp_path / "checkpoint.pt")


def test_a_checkpoint_of_another_training_is_not_taken_up(parts, recipe, feelings, tmp_path):
    _, finetune = parts
    finetune.Training(*feelings, 7, recipe).keep(tmp_path / "checkpoint.pt")
    train, val = feelings
    assert not finetune.Training(train, val, 8, recipe).resume(tmp_path / "checkpoint.pt")
    assert not finetune.Training(train, val, 7, replace(recipe, rate=5e-5)).resume(tmp_path / "checkpoint.pt")
    fewer = train.rows(range(len(train) - 1))
    assert not finetune.Training(fewer, val, 7, recipe).resume(tmp_path / "checkpoint.pt")


def test_two_readings_differ_by_their_divergences(parts, recipe, feelings):
    import torch  # noqa: PLC0415 - the extra

    train, val = feelings
    one, other = torch.randn(5, 2), torch.randn(5, 2)
    first, second = (torch.distributions.Categorical(logits=logits) for logits in (one, other))
    expected = torch.distributions.kl_divergence(first, second) + torch.distributions.kl_divergence(
        second, first
    )
    single = parts[1].Training(train, val, 7, recipe)
    assert torch.allclose(single._difference(one, other), expected.mean() / 2, atol=1e-6)
    targets = train.targets.copy()
    targets[0] = 1
    both = parts[1].Training(replace(train, targets=targets), val, 7, recipe)
    first, second = (torch.distributions.Bernoulli(logits=logits) for logits in (one, other))
    expected = torch.distributions.kl_divergence(first, second) + torch.distributions.kl_divergence(
        second, first
    )
    assert torch.allclose(both._difference(one, other), expected.mean() / 2, atol=1e-6)


def test_onnx_says_what_torch_says(parts, recipe, feelings):
    export, finetune = parts
    training = finetune.Training(*feelings, 7, recipe)
    training.run_epoch()
    training.use_best()
    texts = feelings[1].texts
    pieces = finetune.tokenizer().encode(texts)
    said = np.stack([training._logits([one]).detach().numpy()[0] for one in pieces])
    encoder, about = export.to_onnx(training.encoder, texts, print)
    assert about["int8"]
    assert about["cosine_int8_float32"] > export.LEAST_LIKENESS
    layer = training.layer
    ours = encoder.pooled(texts) @ layer.weight.T.detach().numpy() + layer.bias.detach().numpy()
    assert np.corrcoef(ours.ravel(), said.ravel())[0, 1] > 0.99
    assert np.allclose(encoder.pooled(texts[:6])[:1], encoder.pooled(texts[:1]), atol=1e-3)  # any company


def test_the_command_killed_half_way_goes_on_and_ends(feelings, tmp_path):
    """A whole process, killed after its first epoch; the second one says where it goes on."""
    for name, data in zip(("train", "val"), feelings, strict=True):
        (tmp_path / f"{name}.txt").write_text("".join(f"{text}\n" for text in data.texts), "utf-8")
        (tmp_path / f"{name}.labels").write_text("".join(f"{one}\n" for one in data.single), "utf-8")
    command = [sys.executable, "-m", "nlp.train", "emotion", "--method", "fine-tune", "--threads", "1"]
    for name in ("train", "val"):
        command += [f"--{name}-text", str(tmp_path / f"{name}.txt")]
        command += [f"--{name}-labels", str(tmp_path / f"{name}.labels")]
    command += ["--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        for line in first.stderr:
            if line.startswith("epoch 2"):  # the first epoch is stored
                first.kill()
                break
    assert (tmp_path / "out" / "checkpoint.pt").exists()
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on from checkpoint.pt" in second.stderr
    assert (tmp_path / "out" / "model.zip").exists()
    assert not list((tmp_path / "out").glob("checkpoint*"))
