"""A process that hangs keeps its link open: silence tells (ACT-9)."""

import asyncio

from actors.activation import Activation
from actors.pulses import Pulses


def beat(pulses: Pulses[str], until_s: int, *alive: str, since_s: int = 0) -> list[str]:
    silent: list[str] = []
    for now_s in range(since_s, until_s):
        for link in alive:
            pulses.heard(link, now_s)
        silent += pulses.silent(now_s)
    return silent


def test_who_falls_silent_is_found_and_nobody_else() -> None:
    pulses: Pulses[str] = Pulses(6.0)
    assert beat(pulses, 5, "a", "b") == []
    assert beat(pulses, 10, "a", since_s=5) == []
    assert set(beat(pulses, 20, "a", since_s=10)) == {"b"}
    pulses.forget("b")
    assert beat(pulses, 40, "a", since_s=20) == []


def test_who_never_sent_a_pulse_is_not_judged() -> None:
    assert beat(Pulses(6.0), 100) == []


def test_after_a_pause_of_ones_own_everybody_gets_time_again() -> None:
    pulses: Pulses[str] = Pulses(6.0)
    beat(pulses, 5, "a")
    assert pulses.silent(50.0) == []
    assert beat(pulses, 57, since_s=51) == []
    assert pulses.silent(57.0) == ["a"]


async def test_the_slots_of_a_shard_that_hangs_go_to_the_others(small) -> None:
    """In the test the shard's own tasks stop, which are what a stopped process has stopped too."""
    ann = await small.person()
    rooms = [await small.room(ann) for _ in range(6)]
    for room in rooms:
        await small.publish(room, ann, "before")
    victim = next(iter(small.shards.values()))
    mine = [key for kind, key in victim.activations if kind == "room"]
    held: list[Activation] = [victim.activations["room", key] for key in mine]
    await small.until(lambda: len(small.directory._pulses._heard_s) == 2)
    for task in [*victim._tasks, *victim.router._tasks]:
        task.cancel()
    await small.until(lambda: victim.number not in small.router.view.owners, 20.0)
    assert held
    for room in mine:
        ack = await asyncio.wait_for(small.publish(room, ann, "after"), 10.0)
        assert ack["o"] == 2
