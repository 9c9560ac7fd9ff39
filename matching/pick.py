"""One pick a day that holds for both: stable matching on short lists (MATCH-10; Gale and Shapley 1962)."""

from collections.abc import Mapping, Sequence

LIST = 50

Lists = Mapping[str, Sequence[str]]
"""By person, whom they would take, best first; who is not listed is not acceptable."""


def stable_pairs(proposers: Lists, receivers: Lists) -> dict[str, str]:
    """Return proposer → receiver: stable, and the best for every proposer among all stable ones. O(list
    lengths).

    Somebody without an acceptable partner stays alone.
    """
    places = {
        person: {one: place for place, one in enumerate(listed)} for person, listed in receivers.items()
    }
    asked = dict.fromkeys(proposers, 0)
    held: dict[str, str] = {}
    waiting = list(proposers)
    while waiting:
        proposer = waiting.pop()
        listed = proposers[proposer]
        while asked[proposer] < len(listed):
            receiver = listed[asked[proposer]]
            asked[proposer] += 1
            place = places.get(receiver, {})
            if proposer not in place:
                continue
            other = held.get(receiver)
            if other is None or place[proposer] < place[other]:
                held[receiver] = proposer
                if other is not None:
                    waiting.append(other)
                break
    return {proposer: receiver for receiver, proposer in held.items()}


def blocking_pairs(pairs: Mapping[str, str], proposers: Lists, receivers: Lists) -> list[tuple[str, str]]:
    """Return who would leave for each other: empty means stable. Each must list the other."""
    of_receiver = {receiver: proposer for proposer, receiver in pairs.items()}
    return [
        (proposer, receiver)
        for proposer, listed in proposers.items()
        for receiver in listed
        if proposer in receivers.get(receiver, ())
        and _prefers(listed, receiver, pairs.get(proposer))
        and _prefers(receivers[receiver], proposer, of_receiver.get(receiver))
    ]


def _prefers(listed: Sequence[str], one: str, current: str | None) -> bool:
    return current is None or current not in listed or listed.index(one) < listed.index(current)


def shortlists(scores: Mapping[str, Mapping[str, float]], length: int = LIST) -> dict[str, list[str]]:
    """Return each person's best by score, ties by id."""
    return {
        person: sorted(scored, key=lambda one: (-scored[one], one))[:length]
        for person, scored in scores.items()
    }
