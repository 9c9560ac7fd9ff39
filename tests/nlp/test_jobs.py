"""Training of text heads as a job: registered with what it is made of, gated, gone on with after a kill."""

import pytest

from matching.jobs.command import JobError
from nlp import gate
from nlp.jobs import train
from nlp.models import Heads
from storage import registry


@pytest.fixture
def given(feelings, tmp_path):
    found = ["emotion", "--method", "frozen", "--threads", "1", "--work", str(tmp_path / "work")]
    for name, data in zip(("train", "val"), feelings, strict=True):
        texts, labels = tmp_path / f"{name}.txt", tmp_path / f"{name}.labels"
        texts.write_text("".join(f"{text}\n" for text in data.texts), "utf-8")
        labels.write_text("".join(f"{data.labels[one]}\n" for one in data.single), "utf-8")
        found += [f"--{name}-text", str(texts), f"--{name}-labels", str(labels)]
    return found


async def ran(database_url, given, *more):
    return await train.main(database_url, train.parser().parse_args([*given, *more]))


async def test_a_trained_head_is_registered_serves_and_reads(pool, database_url, given, feelings):
    done = await ran(database_url, given)
    assert (done["version"], done["promoted"], done["verdict"]["against"]) == ("emotion-1", True, "baseline")
    async with pool.acquire() as connection:
        row = await registry.champion(connection, "emotion")
        stored = await registry.blob(connection, row.blob_sha256)
    assert row.lineage["train"]["texts"] == len(feelings[0])
    assert row.lineage["train"]["sha256"].keys() == {"train.txt", "train.labels"}
    assert row.card["not_for"]
    assert row.metrics["macro_f1"] == done["metrics"]["macro_f1"] > 0.7
    (reading,) = Heads.load(stored).score(["I love this, what a happy day"])
    assert reading.label("emotion") == "joy"
    assert await ran(database_url, given) == done  # the same again is the same run: nothing is trained


async def test_what_is_no_better_is_refused_and_what_serves_stays(pool, database_url, given):
    await ran(database_url, given)
    second = await ran(database_url, given, "--seed", "1")
    assert (second["version"], second["promoted"], second["refused"]) == ("emotion-2", False, True)
    assert "standard error" in second["objections"][0]
    third = await ran(database_url, given, "--seed", "2", "--force")
    assert third["promoted"]
    async with pool.acquire() as connection:
        assert (await registry.champion(connection, "emotion")).version == "emotion-3"
        assert [move.why for move in await registry.moves(connection, "emotion")] == ["gate", "forced"]
        assert await registry.rollback(connection, "emotion", moved_by="a test") == "emotion-1"


async def test_texts_that_the_gate_judges_on_are_not_trained_on(
    pool, database_url, given, feelings, tmp_path
):
    """The last training takes the validation texts too only where others are given to judge on."""
    third = feelings[0].rows(range(0, len(feelings[0]), 2))
    texts, labels = tmp_path / "third.txt", tmp_path / "third.labels"
    texts.write_text("".join(f"{text}!\n" for text in third.texts), "utf-8")
    labels.write_text("".join(f"{third.labels[one]}\n" for one in third.single), "utf-8")
    alone = (await ran(database_url, given))["version"]
    judged = await ran(database_url, given, "--judge-text", str(texts), "--judge-labels", str(labels))
    async with pool.acquire() as connection:
        card = {row.version: row.card for row in await registry.versions(connection, "emotion")}
    assert card[alone]["refit"] is None
    assert card[judged["version"]]["refit"]


async def test_a_job_killed_after_training_does_not_train_again(database_url, given, monkeypatch, capsys):
    with monkeypatch.context() as dies:
        dies.setattr(gate, "verdict", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await ran(database_url, given)
    capsys.readouterr()
    done = await ran(database_url, given)
    said = capsys.readouterr().err
    assert "fit: done before" in said
    assert "texts to train on" not in said
    assert done["promoted"]


def test_what_is_missing_is_a_sentence(given, tmp_path):
    class Site:
        database_url = "nowhere"

    asked = train.parser().parse_args([*given, "--judge-text", str(tmp_path / "gone.txt")])
    with pytest.raises(JobError, match=r"gone\.txt"):
        train.job(Site(), asked)
