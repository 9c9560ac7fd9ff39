"""Who can't be where they say, and who looks too often (GEO-23)."""

from geo.probing import FORGOTTEN, HELD, HOUR_MS, TELEPORT, Probing


def test_the_third_place_that_nobody_could_have_gone_to_is_too_much_for_an_hour() -> None:
    probing = Probing()
    for number in range(3):
        assert not probing.is_limited
        probing.note(HELD, number * 1_000)
        probing.note(TELEPORT, number * 1_000 + 500)
    assert (probing.is_limited, probing.unsaved, probing.until_ms) == (True, True, 2_500 + HOUR_MS)
    probing.expire(2_499 + HOUR_MS)
    assert probing.is_limited
    probing.expire(2_500 + HOUR_MS)
    assert not probing.is_limited


def test_a_flight_and_a_glitch_now_and_then_are_not() -> None:
    probing = Probing()
    for number in range(100):
        probing.note(HELD, number * HOUR_MS // 8)
        assert not probing.is_limited
    flown = Probing()
    for _ in range(2):
        flown.note(HELD, 0)
        flown.note(TELEPORT, 1)
    assert not flown.is_limited


def test_many_glitches_within_an_hour_are() -> None:
    probing = Probing()
    for number in range(10):
        assert not probing.is_limited
        probing.note(HELD, number)
    assert probing.is_limited


def test_the_third_time_that_a_place_is_forgotten_is_too() -> None:
    probing = Probing()
    for number in range(3):
        assert not probing.is_limited
        probing.note(FORGOTTEN, number)
    assert probing.is_limited


def test_looks_are_counted_by_a_bucket() -> None:
    probing = Probing()
    assert [probing.look(0, 2.0, 3) for _ in range(3)] == [0, 0, 0]
    assert probing.look(0, 2.0, 3) == 500
    assert probing.look(400, 2.0, 3) == 100
    assert [probing.look(500, 2.0, 3), probing.look(500, 2.0, 3)] == [0, 500]
    assert [probing.look(60_000, 2.0, 3) for _ in range(4)] == [0, 0, 0, 500]
