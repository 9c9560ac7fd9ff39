"""What was read of the logs, put into the Matcher's table (ML-12)."""

from matching.live import People, Profile
from storage.feed import Feed, PersonRow


def take(table: People, found: Feed) -> list[int]:
    """Takes over a part of what there is to know; returns the rows of those who are gone."""
    for person in found.people:
        table.put(_profile(person))
    gone = [row for user in found.gone if (row := table.remove(user)) is not None]
    for user, tally in found.tallies.items():
        table.count(user, (tally.given, tally.given_yes, tally.received, tally.received_yes, tally.surprise))
    if found.log is not None:
        rater, ratee = (table.rows_of(found.log[side]) for side in ("rater", "ratee"))
        table.decide_all(rater, ratee, found.log["likes"])
    for decision in found.decisions:
        table.decide(decision.rater, decision.ratee, decision.likes)
    for pair in found.between:
        table.relate(pair.low, pair.high, blocked=pair.blocked, matched=pair.matched)
    return gone


def _profile(person: PersonRow) -> Profile:
    return Profile(
        user=person.user,
        status=person.status,
        birth_date=person.birth_date,
        is_listed=person.is_listed,
        is_seen=person.is_seen,
        precision=person.precision,
        gender=person.gender,
        seeks=person.seeks,
        goals=person.goals,
        age_from=person.age_from,
        age_to=person.age_to,
        within_m=person.within_m,
        interests=person.interests,
        answers=person.answers,
        values_21=person.values_21,
    )
