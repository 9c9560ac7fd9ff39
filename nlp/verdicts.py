"""From what heads make of a text to what a policy acts on: one number for harm, one for sentiment (NLP-4)."""

from collections.abc import Collection, Mapping

from nlp.conversation import Verdict
from nlp.models import Head, Reading

HARMFUL: Mapping[str, frozenset[str]] = {
    "sentiment": frozenset({"negative"}),
    "emotion": frozenset({"anger"}),
    "offence": frozenset({"offensive", "offence", "hateful", "hate", "toxic", "insult", "abusive"}),
}
"""Head to the labels that count as harm, unless its model's card lists its own as `harmful`."""

POSITIVE, NEGATIVE = "positive", "negative"


def verdict_of(
    reading: Reading, heads: Collection[Head], wanted: Collection[str], versions: Mapping[str, str]
) -> Verdict | None:
    """The verdict of the wanted heads; None where none of them has a model. An abstaining head says nothing.

    Harm is the greatest over heads of the summed probability of its harmful labels; sentiment is the
    probability of positive less that of negative.
    """
    asked = [head for head in heads if head.name in wanted]
    if not asked:
        return None
    harm: float | None = None
    sentiment: float | None = None
    labels: dict[str, float] = {}
    for head in asked:
        if head.name in reading.abstains:
            continue
        said = {label.lower(): share for label, share in reading.probabilities[head.name].items()}
        labels |= {f"{head.name}.{label}": share for label, share in said.items()}
        harmful = {str(label).lower() for label in head.card.get("harmful", HARMFUL.get(head.name, ()))}
        if harmful & said.keys():
            found = min(1.0, sum(said[label] for label in harmful & said.keys()))
            harm = found if harm is None else max(harm, found)
        if head.name == "sentiment" and {POSITIVE, NEGATIVE} <= said.keys():
            sentiment = said[POSITIVE] - said[NEGATIVE]
    return Verdict(harm, sentiment, labels, {head.name: versions.get(head.name, "") for head in asked})
