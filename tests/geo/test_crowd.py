"""k-anonymity by the distinct people of a day (GEO-21)."""

import random

from geo.cells import cell_of, parent_of
from geo.crowd import ACTIVE_MS, AGAIN_MS, CELLS_A_PERSON, Crowd

HERE = cell_of(52.52, 13.405, 8)
CITY = parent_of(HERE, 5)


def test_a_cell_opens_with_the_kth_person_and_a_step_away_closes_nothing() -> None:
    crowd = Crowd(3)
    assert [crowd.note(person, HERE, person) for person in (1, 1, 2)] == [[], [], []]
    assert crowd.shown(HERE) is None
    assert set(crowd.note(3, HERE, 3)) == {parent_of(HERE, res) for res in (8, 7, 6, 5)}
    elsewhere = cell_of(52.6, 13.6, 8)
    for person in (1, 2, 3):
        crowd.note(person, elsewhere, 4)
    assert crowd.expire(ACTIVE_MS) == []
    assert crowd.shown(HERE) == HERE
    assert set(crowd.expire(ACTIVE_MS + 2)) >= {HERE}
    assert crowd.shown(HERE) is None


def test_of_a_cell_no_more_than_k_people_are_kept_and_that_is_enough() -> None:
    chance, k = random.Random(1), 4
    crowd, all_of_them = Crowd(k), dict[int, int]()
    for now_ms in range(0, 3 * ACTIVE_MS, AGAIN_MS * 3):
        if chance.random() < 0.1:
            person = chance.randrange(12)
            crowd.note(person, HERE, now_ms)
            all_of_them[person] = now_ms
        crowd.expire(now_ms)
        active = sum(now_ms - at_ms <= ACTIVE_MS for at_ms in all_of_them.values())
        assert (crowd.shown(HERE) is not None) == (active >= k)
        assert all(len(people) <= k for people in crowd.seen.values())


def test_fewer_people_are_shown_coarser() -> None:
    crowd = Crowd(2)
    sister = next(cell for cell in (cell_of(52.52 + n / 300, 13.405, 8) for n in range(9)) if cell != HERE)
    crowd.note(1, HERE, 0)
    crowd.note(2, sister, 0)
    common = next(res for res in (7, 6, 5) if parent_of(HERE, res) == parent_of(sister, res))
    assert crowd.shown(HERE) == crowd.shown(sister) == parent_of(HERE, common)


def test_one_account_opens_few_cells_in_a_day() -> None:
    """Somebody with k - 1 accounts can't walk them through a city to see in which cell another one is."""
    crowd = Crowd(2)
    cells = sorted({cell_of(52.4 + n / 60, 13.405, 8) for n in range(3 * CELLS_A_PERSON)})
    for cell in cells:
        crowd.note(1, cell, 0)
        crowd.note(2, cell, 0)
    assert sum(crowd.shown(cell) == cell for cell in cells) == CELLS_A_PERSON
    crowd.expire(ACTIVE_MS + 1)
    assert crowd.note(1, cells[-1], ACTIVE_MS + 2) == []
    assert cells[-1] in crowd.note(2, cells[-1], ACTIVE_MS + 2)


def test_with_k_one_everybody_is_shown_and_nothing_is_kept() -> None:
    crowd = Crowd(1)
    assert crowd.note(1, HERE, 0) == []
    assert crowd.shown(HERE) == HERE
    assert not crowd.seen


def test_what_two_know_together_is_what_one_would_know() -> None:
    chance = random.Random(2)
    whole, parts = Crowd(3), [Crowd(3), Crowd(3)]
    cells = [cell_of(52.5 + n / 200, 13.4, 8) for n in range(5)]
    for now_ms in range(40):
        person, cell = chance.randrange(6), chance.choice(cells)
        whole.note(person, cell, now_ms)
        parts[now_ms > 20].note(person, cell, now_ms)
    parts[1].join(parts[0].seen)
    assert {cell: set(people) for cell, people in parts[1].seen.items()}.keys() == whole.seen.keys()
    assert all((parts[1].shown(cell) == whole.shown(cell)) for cell in cells)
    again = Crowd(3)
    again.restore(whole.under(CITY) | whole.seen, 40)
    assert [again.shown(cell) for cell in cells] == [whole.shown(cell) for cell in cells]
    assert not again.unsaved
