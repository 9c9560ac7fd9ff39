"""The rate limit's arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from serve_app import throttle
from serve_app.throttle import Policy, Throttle

TEN = Policy("ten", per_s=2.0, burst=10)


def test_a_burst_is_admitted_and_the_next_is_told_when_to_come():
    limits = Throttle()
    verdicts = [limits.take(TEN, "a", 100.0) for _ in range(11)]
    assert [verdict.remaining for verdict in verdicts] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert [verdict.admitted for verdict in verdicts] == [True] * 10 + [False]
    assert verdicts[-1].retry_after_s == 0.5
    assert limits.take(TEN, "a", 100.5).admitted
    assert not limits.take(TEN, "a", 100.5).admitted


def test_keys_and_policies_do_not_touch_each_other():
    limits = Throttle()
    for _ in range(11):
        limits.take(TEN, "a", 0.0)
    assert limits.take(TEN, "b", 0.0).admitted
    assert limits.take(Policy("other", 1, 1), "a", 0.0).admitted


def test_off_admits_everything():
    limits = Throttle(off=True)
    assert all(limits.take(TEN, "a", 0.0).admitted for _ in range(100))


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(throttle, "KEYS_LIMIT", 5)
    limits = Throttle()
    for key in range(50):
        limits.take(TEN, str(key), 0.0)
    assert len(limits._empty_at_s) == 5


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_more_than_burst_and_rate_allow(pauses):
    limits, now_s, admitted = Throttle(), 0.0, 0
    for pause_s in pauses:
        now_s += pause_s
        verdict = limits.take(TEN, "a", now_s)
        admitted += verdict.admitted
        assert verdict.admitted == (verdict.retry_after_s == 0)
        assert admitted <= TEN.burst + TEN.per_s * now_s + 1e-6
        if not verdict.admitted:
            assert limits.take(TEN, "a", now_s + verdict.retry_after_s + 1e-6).admitted
            now_s += verdict.retry_after_s + 1e-6
            admitted += 1
