"""The real Directory, links, routers, shards, rooms and hubs in worlds that a seed makes: nothing that may
not be, ever is (ACT-3, ACT-4, FAN-2, RT-2…RT-4, CHAT-3); and what is planted is found.

HEREABOUTS_TEST_SEED=7 pytest tests/simulation -k found_in_no_world    (one world again, the same)
"""

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated.world import Broken, World, live, seeds

from actors.attendance import Attendance
from actors.occupancy import Cooldown
from actors.router import Router
from actors.shard import Shard
from serve_app.births import Births, Telling
from serve_app.channel import StreamChannel
from serve_app.hub import Hub
from storage.slots import Ownership

SEEDS = 200
SEEDS_IN_FULL = 10_000
SEEDS_AT_ONCE = 50
SEEDS_FOR_PLANTED = 60

Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Says what was tried."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")  # noqa: T201

    return say


def told(counts: Counter[str]) -> str:
    """Enough was tried to prove something."""
    assert counts["resumes"] == counts["resumes recovered"] > 0
    assert counts["acked"] > 0
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts))


@pytest.mark.timeout(900)
def test_a_fault_is_found_in_no_world(tell: Tell) -> None:
    if given := os.environ.get("HEREABOUTS_TEST_SEED"):
        tell(told(seeds(int(given), 1)))
        return
    tell(f"{SEEDS} worlds: {told(seeds(0, SEEDS))}")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_fault_is_found_in_none_of_ten_thousand_worlds(tell: Tell) -> None:
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        firsts = range(0, SEEDS_IN_FULL, SEEDS_AT_ONCE)
        for some in pool.map(seeds, firsts, [SEEDS_AT_ONCE] * len(firsts)):
            counts += some
    tell(f"{SEEDS_IN_FULL} worlds: {told(counts)}")


def test_a_seed_is_one_course_of_events_in_every_process() -> None:
    once, again = live(3), live(3)
    assert once.trace.hexdigest() == again.trace.hexdigest()
    assert live(4).trace.hexdigest() != once.trace.hexdigest()
    root = Path(__file__).parent
    code = "from simulated.world import live; print(live(3).trace.hexdigest())"
    for salt in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{root}:{root.parent / 'client'}:{root.parents[1]}",
            "PYTHONHASHSEED": salt,
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.strip() == once.trace.hexdigest()


Plant = Callable[[pytest.MonkeyPatch, World], None]


def is_found(plant: Plant, message: str) -> bool:
    """Whether a world shows it by this failure; others may show first what follows from it."""
    for seed in range(SEEDS_FOR_PLANTED):
        try:
            live(seed, plant)
        except Broken as broken:
            if message in str(broken):
                return True
    return False


def epochs_that_do_not_rise(_: pytest.MonkeyPatch, world: World) -> None:
    """A new process of a shard gets its slots under the epochs of the old one."""
    store = world.database.slots
    admit = store.admit_shard

    async def admit_shard(*given: Any) -> Ownership:
        epochs = store.ownership.epochs
        store.ownership = replace(await admit(*given), epochs=epochs)
        return store.ownership

    store.admit_shard = admit_shard  # type: ignore[method-assign]


def slots_that_move_under_their_old_epochs(_: pytest.MonkeyPatch, world: World) -> None:
    """A slot's next owner gets it under the epoch of the one before."""
    store = world.database.slots
    assign = store.assign

    async def assigned(*given: Any) -> Ownership:
        epochs = store.ownership.epochs
        store.ownership = replace(await assign(*given), epochs=epochs)
        return store.ownership

    store.assign = assigned  # type: ignore[method-assign]


def orphans_that_are_not_told(patch: pytest.MonkeyPatch, _: World) -> None:
    """A process does not learn that another one is its shard now."""
    patch.setattr(Shard, "_replaced", lambda *_: None)


def fences_that_are_not_checked(_: pytest.MonkeyPatch, world: World) -> None:
    """Whoever believes to be the owner may write."""
    world.database.log.checks_fences = False


def a_gateway_forgotten_with_its_first_member(patch: pytest.MonkeyPatch, _: World) -> None:
    """Occupancy: a room sends a gateway nothing more when one of several members left."""
    unsubscribe = Attendance.unsubscribe

    def forgets(attendance: Attendance, gateway: str, *given: object) -> object:
        diff = unsubscribe(attendance, gateway, *given)  # type: ignore[arg-type]
        attendance.hearing.lost(gateway)
        return diff

    patch.setattr(Attendance, "unsubscribe", forgets)


def a_channel_given_up_though_somebody_came_back(patch: pytest.MonkeyPatch, _: World) -> None:
    """Occupancy: the cooldown of a channel goes on when its next member comes."""
    begin = Telling.__init__

    def begun(telling: Telling, router: Router, births: Births, _is_held: object) -> None:
        begin(telling, router, births, lambda _: False)

    patch.setattr(Telling, "__init__", begun)
    patch.setattr(Cooldown, "held", lambda *_: None)


def a_hub_that_subscribes_nobody_again(patch: pytest.MonkeyPatch, _: World) -> None:
    """After a hand-over the new activation has never heard of the members."""
    patch.setattr(Hub, "slots_moved", lambda *_: None)


def a_hub_that_takes_any_offset(patch: pytest.MonkeyPatch, _: World) -> None:
    """A push is handed on whatever came before it."""

    def pushed(hub: Hub, push: object) -> None:
        channel = hub.channels.get(push.ch)  # type: ignore[attr-defined]
        if isinstance(channel, StreamChannel) and channel.users and hasattr(push, "offset"):
            channel.publish(push)  # type: ignore[arg-type]
            hub.tick.soils(channel)

    patch.setattr(Hub, "pushed", pushed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (epochs_that_do_not_rise, "both committed in slot"),
        (slots_that_move_under_their_old_epochs, "both committed in slot"),
        (orphans_that_are_not_told, "both committed in slot"),
        (fences_that_are_not_checked, "committed in slot"),
        (a_gateway_forgotten_with_its_first_member, " is at "),
        (a_channel_given_up_though_somebody_came_back, " is at "),
        (a_hub_that_subscribes_nobody_again, "seed"),
        (a_hub_that_takes_any_offset, "seed"),
    ],
)
def test_what_is_planted_is_found(plant: Plant, message: str) -> None:
    assert is_found(plant, message)
