"""A tick's fixes as columns (GEO-4, GEO-5)."""

import numpy as np

from actors.activation import Activation
from actors.moves import Moves
from geo.fixes import Fix
from geo.intake import FIXES


def person(name):
    return Activation("user", name, 0)


def fix(number, **given):
    return Fix(
        **{"lat": 52.0 + number, "lon": 13.0, "acc_m": 5.0 + number, "t_ms": number, "seq": number} | given
    )


def test_fixes_come_out_of_the_columns_as_they_went_in():
    moves, ann = Moves(), person("ann")
    given = [fix(number, speed_mps=1.5, heading_deg=None) for number in range(200)]
    for each in given:
        moves.add(ann, each, is_first=each.seq == 0)
    assert len(moves) == 200
    assert list(moves.fixes) == given
    assert moves.fixes[-1] == given[-1]
    assert moves.fixes[1:3] == given[1:3]
    assert moves.lats().tolist() == [each.lat for each in given]
    assert moves.accs_m().tolist() == [each.acc_m for each in given]
    assert moves.times_ms().tolist() == list(range(200))
    assert moves.is_first.tolist() == [True] + [False] * 199


def test_a_batch_is_the_same_as_one_by_one():
    singly, batch, people = Moves(), Moves(), [person("ann"), person("bob")]
    rows = np.zeros(2, dtype=FIXES)
    for number, who in enumerate(people):
        singly.add(who, fix(number), is_first=False)
        rows[number] = (52.0 + number, 13.0, 5.0 + number, number, number, np.nan, np.nan, False)
    batch.extend(people, rows)
    assert list(batch.fixes) == list(singly.fixes)
    assert batch.activations == singly.activations


def test_one_persons_fixes_are_taken_out_and_the_others_stay_in_order():
    moves, ann, bob = Moves(), person("ann"), person("bob")
    for number in range(6):
        moves.add(bob if number % 2 else ann, fix(number), is_first=False)
    own = moves.take(bob)
    assert [each.seq for each in own.fixes] == [1, 3, 5]
    assert [each.seq for each in moves.fixes] == [0, 2, 4]
    assert (moves.has(ann), moves.has(bob), own.has(bob)) == (True, False, True)
    assert len(moves.take(bob)) == 0
