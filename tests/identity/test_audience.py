"""The one policy: who belongs to an audience."""

from hypothesis import given
from hypothesis import strategies as st

from identity.audience import AUDIENCES, SELF, STRANGERS, Relation, allows, visible_fields

relations = st.builds(Relation, blocked=st.booleans(), matched=st.booleans(), shares_group=st.booleans())


@given(audience=st.sampled_from(AUDIENCES), relation=relations)
def test_a_block_admits_to_no_audience(audience, relation):
    blocked = Relation(blocked=True, matched=relation.matched, shares_group=relation.shares_group)
    assert not allows(audience, blocked)
    assert visible_fields(blocked) == frozenset()


@given(relation=relations)
def test_audiences_nest(relation):
    admitted = [allows(audience, relation) for audience in AUDIENCES]
    assert admitted == sorted(admitted)


def test_everybody_sees_themselves():
    assert all(allows(audience, SELF) for audience in AUDIENCES)


def test_strangers_are_everyone_and_nothing_else():
    assert [audience for audience in AUDIENCES if allows(audience, STRANGERS)] == ["everyone"]


def test_sharing_a_group_is_no_match():
    mate = Relation(shares_group=True)
    assert allows("group", mate)
    assert not allows("matches", mate)


def test_age_is_shown_to_matches_only():
    assert visible_fields(STRANGERS) == {"handle"}
    assert visible_fields(Relation(matched=True)) == {"handle", "age"}
