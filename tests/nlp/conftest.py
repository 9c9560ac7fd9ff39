"""A small head, trained once: what its texts say is plain enough to be learnt from sixty of them."""

import numpy as np
import pytest

from nlp import frozen
from nlp.encoder import packaged
from nlp.labelled import Labelled
from nlp.models import Head
from nlp.training import calibrated

GLAD = ("love", "happy day", "great fun", "so excited", "beautiful morning", "best gift")
CROSS = ("hate", "awful traffic", "so angry", "worst service", "disgusting lie", "rude people")
NEITHER = ("the train is at nine", "we meet at the corner", "I am at the door")
SUBJECTS = (
    "the party",
    "my job",
    "this song",
    "that film",
    "our trip",
    "the weather",
    "your dog",
    "this town",
)


def labelled(pairs, labels=("anger", "joy")):
    texts, said = zip(*pairs, strict=True)
    targets = np.zeros((len(texts), len(labels)), np.float32)
    targets[np.arange(len(texts)), [labels.index(label) for label in said]] = 1
    return Labelled(texts, labels, targets, {})


@pytest.fixture(scope="session")
def feelings():
    pairs = [
        (f"{words} about {subject} today" if turn % 2 else f"I think {words} and {subject}!", label)
        for label, all_words in (("joy", GLAD), ("anger", CROSS))
        for turn, words in enumerate(all_words)
        for subject in SUBJECTS
    ]
    pairs += [(text, label) for text in NEITHER for label in ("joy", "anger")] * 2
    data = labelled(pairs)
    dealt = np.random.default_rng(0).permutation(len(data))
    return data.rows(dealt[:60]), data.rows(dealt[60:])


@pytest.fixture(scope="session")
def head(feelings):
    train, val = feelings
    layer = frozen.dense(packaged().pooled(train.texts), train, 0)
    words = frozen.lexical(train, 0)
    untempered = Head("emotion", train.labels, packaged(), layer.weights, layer.bias, words, 0.5)
    return calibrated(untempered, val, 0.2)[0]
