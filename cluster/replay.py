"""`hereabouts replay FILE…`: people walk recorded traces through the public ports, meet and talk."""

import argparse
import asyncio
import itertools
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from cluster import engine, processes
from cluster.demo.account import Account, register, show
from cluster.demo.client import StoppedError
from cluster.demo.fences import NAMES as PLACE_NAMES
from cluster.demo.fences import Fence, fences_around, fences_in
from cluster.demo.person import Cast, Person
from cluster.demo.places import Place, make_place, opt_in, remove_place
from cluster.demo.ports import PortError, Ports
from cluster.demo.story import Story
from cluster.demo.walks import PAST_MS, Route, Walk, assign, gates
from cluster.errors import OperatorError
from cluster.layout import layout_of
from cluster.report import writing
from cluster.report.recorder import Recorder
from cluster.settings import Settings
from geo.distance import distance_m
from geo.traces import TraceError, read_recording

PEOPLE = (
    "ana", "ben", "cleo", "dan", "eve", "finn", "gia", "hugo", "ida", "jon", "kim", "leo", "mia", "noa",
    "oda", "per", "rae", "sam", "tim", "uma",
)  # fmt: skip
PEOPLE_MOST = 50
SPEED_MOST = 100.0
FENCES_MOST = 50
"""A replay makes them, each with its room, through the public port."""

FILE_MOST_BYTES = 50_000_000
TRACE_WANTED = "give GPX, GeoJSON, or a CSV whose first line names lat, lon and maybe t_ms and acc_m"
ONE_AFTER_ANOTHER_S = 0.3
BETWEEN_ROUNDS_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="recorded traces (GPX, GeoJSON or CSV)")
    parser.add_argument(
        "--url", help="the engine (default: that of the data folder, else http://127.0.0.1:<port>)"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N",
        help="times as fast as recorded (default: 1, real time)",
    )
    parser.add_argument(
        "--people", type=_between(1, PEOPLE_MOST), metavar="N",
        help="how many walk: one on each further file, the others on the first (default: files + 1)",
    )  # fmt: skip
    parser.add_argument(
        "--part", type=float, metavar="MINUTES", help="walk only so many recorded minutes of each file"
    )
    parser.add_argument(
        "--places", type=_between(0, len(PLACE_NAMES)), default=2, metavar="N",
        help="how many fences with a room stand on the first file's way (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--fences", type=Path, metavar="FILE", help="stand these fences there instead (GeoJSON)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="HTML", help="write a page of what became of each file's first walker"
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="with --report: only the engine's kernels judge, no engine runs",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    again.add_argument("--once", dest="loop", action="store_false", help="stop at the end (default)")


async def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Replays to the end of the walks, or for ever with `--loop`; Ctrl-C ends it. Raises OperatorError."""
    routes = [read_route(Path(name)) for name in arguments.files]
    part_ms = round(arguments.part * 60_000) if arguments.part else None
    given = fences_in(arguments.fences) if arguments.fences else None
    if arguments.offline:
        writing.judge_offline(arguments.report, routes, given, arguments.places)
        return 0
    if given and len(given) > FENCES_MOST:
        raise OperatorError(f"{arguments.fences} holds more than {FENCES_MOST} fences")
    walks = assign(routes, max(arguments.people or len(routes) + 1, len(routes)), part_ms)
    ports = Ports(arguments.url or _engine_url(settings, by_port=arguments.port is not None))
    story = Story()
    replay = Replay(ports, story, arguments.speed, walks, records=arguments.report is not None)
    fences = given or fences_around(gates(routes[0], arguments.places, part_ms) if arguments.places else [])
    try:
        await ports.call("GET", "/v1/rt")  # is there an engine at all
        story.note(introduction(routes, walks, arguments.speed, ports.url))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel, asyncio.current_task())
        try:
            await replay.prepare(fences)
            for number in itertools.count(1):
                await replay.round()
                if not arguments.loop:
                    break
                story.note(f"That was round {number}. Others walk the same ways now; Ctrl-C ends it.")
                await asyncio.sleep(BETWEEN_ROUNDS_S)
        except asyncio.CancelledError:
            story.note("Stopping.")
        finally:
            await replay.clear()
            if arguments.report is not None:
                trails = [trail for recorder in replay.recorders if (trail := recorder.trail()) is not None]
                writing.tell(
                    arguments.report, ports.url, writing.notes(arguments.speed, routes), fences, trails
                )
    except PortError as refused:
        if refused.status:
            raise OperatorError(f"the engine refused: {refused}", "see `hereabouts status`") from None
        raise OperatorError(
            str(refused),
            "start one with `hereabouts up`, say which with --url, or use --report with --offline",
        ) from None
    replay.sum_up()
    return 0


def _engine_url(settings: Settings, *, by_port: bool) -> str:
    """The engine that runs on the data folder, as for every command; unless a port was said, or none does."""
    state = engine.read(layout_of(settings.data).state)
    if by_port or state is None or not processes.is_alive(state.supervisor):
        return f"http://127.0.0.1:{settings.port}"
    return state.url


class Replay:
    """The people and places of one run of the command."""

    def __init__(
        self, ports: Ports, story: Story, speed: float, walks: Sequence[Walk], *, records: bool = False
    ) -> None:
        self._ports = ports
        self._story = story
        self._speed = speed
        self._walks = walks
        self._accounts: list[Account] = []
        self._host: Account | None = None
        self._places: list[Place] = []
        self._fixes = self._reconnects = 0
        self._records = records
        self.recorders: list[Recorder] = []
        self._cast = Cast({}, {}, {}, {}, {}, story, random.Random())  # noqa: S311 - which friendly line

    async def prepare(self, fences: Sequence[Fence]) -> None:
        """Makes the places."""
        if not fences:
            return
        self._host = await register(self._ports, "host")
        for fence in fences:
            place = await make_place(self._host, fence)
            self._places.append(place)
            self._cast.places[place.fence] = place
        self._story.note(f"{len(self._places)} fences stand on the way, each with a room of its own.")

    async def round(self) -> None:
        """Everybody walks once."""
        self._story.forget_pairs()
        self._cast.names.clear()
        people = []
        for number, (walk, account) in enumerate(zip(self._walks, await self._rested(), strict=True)):
            name = _name(number)
            self._cast.names[account.user] = name
            recorder = await self._recorder(name, account, walk)
            people.append(Person(name, account, walk, self._cast, recorder))
        try:
            async with asyncio.TaskGroup() as group:
                for person in people:
                    group.create_task(self._walk(person))
                    await asyncio.sleep(ONE_AFTER_ANOTHER_S)
        finally:
            await asyncio.gather(
                *(show(person.account, "nobody") for person in people), return_exceptions=True
            )
            self._fixes += sum(person.fixes for person in people)
            self._reconnects += sum(person.client.reconnects for person in people)

    async def _recorder(self, name: str, account: Account, walk: Walk) -> Recorder | None:
        """Who goes first along each file is written down, in the first round."""
        is_first = next(each for each in self._walks if each.route is walk.route) is walk
        if not (self._records and is_first) or len(self.recorders) == len(
            {w.route.name for w in self._walks}
        ):
            return None
        stranger = await register(self._ports, "stranger")
        await show(stranger, "nobody")
        title = walk.route.name if len(self._walks) == 1 else f"{walk.route.name} ({name})"
        recorder = Recorder(title, account.user, stranger, self._cast.chance)
        self.recorders.append(recorder)
        return recorder

    async def _walk(self, person: Person) -> None:
        try:
            await person.run(self._speed, _now_ms)
        except (StoppedError, PortError) as problem:
            self._story.tell("goes", person.name, f"has to stop: {problem}")

    async def _rested(self) -> list[Account]:
        """An account a walk. A fast walk tells times of the last quarter of an hour, and the engine takes no
        fix that is older than the last: who has walked rests for as long, and others take their turn.
        """
        begins_ms = _now_ms() - (PAST_MS if self._speed > 1 else 0)
        rested = [account for account in self._accounts if account.last_t_ms < begins_ms]
        while len(rested) < len(self._walks):
            account = await register(self._ports, _name(len(rested)))
            for place in self._places:
                await opt_in(account, place)
            self._accounts.append(account)
            rested.append(account)
        out = rested[: len(self._walks)]
        await asyncio.gather(*(show(account, "everyone") for account in out))
        return out

    async def clear(self) -> None:
        """Takes the fences away."""
        for place in self._places:
            assert self._host is not None
            await remove_place(self._host, place)

    def sum_up(self) -> None:
        for message, heard in self._cast.heard_at.items():
            sent = self._cast.said_at.get(message)
            if sent is not None:
                self._story.message_ms += [(at - sent) * 1000 for at in heard]
        self._story.summary(self._fixes, len(self._accounts), self._reconnects)


def read_route(path: Path) -> Route:
    """The trace in a GPX file. Raises OperatorError, which names the file."""
    try:
        if path.stat().st_size > FILE_MOST_BYTES:
            raise OperatorError(f"{path} is larger than {FILE_MOST_BYTES // 1_000_000} MB")
        points, left_out = read_recording(path.read_bytes())
    except FileNotFoundError:
        raise OperatorError(f"there is no file {path}", "`make traces` fetches recorded ones") from None
    except OSError as problem:
        raise OperatorError(f"{path} cannot be read: {problem.strerror}") from None
    except TraceError as problem:
        raise OperatorError(f"{path} is no trace: {problem}", TRACE_WANTED) from None
    if len(points) < 2:
        raise OperatorError(f"{path} holds only one position", TRACE_WANTED)
    return Route(path.stem, tuple(points), left_out)


def introduction(routes: Sequence[Route], walks: Sequence[Walk], speed: float, url: str) -> str:
    """What is replayed, and what was changed about it."""
    lines = [f"Replaying to {url} · watch it there, too"]
    for route in routes:
        on_it = [walk for walk in walks if walk.route is route]
        pairs = itertools.pairwise(route.points)
        length_km = sum(distance_m(a.lat, a.lon, b.lat, b.lon) for a, b in pairs) / 1_000
        lines.append(
            f"  {route.name}: {len(route.points)} recorded fixes, {length_km:.1f} km in "
            f"{route.duration_ms / 60_000:.0f} min; {len(on_it)} walk it, "
            f"{sum(walk.backwards for walk in on_it)} of them backwards"
        )
    lines += [f"  {route.loss}" for route in routes if route.loss]
    pace = "at their own pace" if speed == 1 else f"{speed:g} times as fast"
    lines.append(f"  Places are as recorded. Times are not: they are moved to now and run {pace}.")
    return "\n".join(lines)


def _name(number: int) -> str:
    return PEOPLE[number % len(PEOPLE)] + (str(number // len(PEOPLE) + 1) if number >= len(PEOPLE) else "")


def _cancel(task: "asyncio.Task[int] | None") -> None:
    if task is not None:
        task.cancel()


def _now_ms() -> int:
    return round(time.time() * 1_000)


def _speed(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= SPEED_MOST:
        raise argparse.ArgumentTypeError(f"must lie between 0.1 and {SPEED_MOST:g}")
    return number


def _between(low: int, high: int) -> type[int]:
    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must lie between {low} and {high}")
        return number

    read.__name__ = "number"
    return read  # type: ignore[return-value]
