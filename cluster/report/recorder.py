"""Writes down one walk of a replay as the engine has it: what each fix was answered, what the walker heard,
and what a stranger saw who went beside them.
"""

import asyncio
import contextlib
import random
from typing import Any

import msgspec

from cluster.demo.account import Account
from cluster.demo.client import Client, CommandError
from cluster.report.trail import COUNTED, Stop, Trail, trail
from cluster.report.words import said
from geo.cells import Cell, is_cell
from geo.crossings import Crossing
from geo.fixes import Fix
from geo.places import RADIUS_MIN_M

NEAR_RADIUS_M = 5_000
LAST_S = 10.0
BEHIND_S = 2.0
"""What comes of the last fix is heard by then: a tick, a commit, a push."""

_LOST = "not answered"


class Recorder:
    """Of one walker. Times are those of the recording, in ms after the walk began, as the fixes were due.
    `stranger` is signed in, and follows whoever is near.
    """

    def __init__(self, name: str, walker: str, stranger: Account, chance: random.Random) -> None:
        self._name, self._walker = name, walker
        self.stranger = Client(stranger.doors, stranger.token, self._heard, chance)
        self.stranger.subscribe(
            "near", mode="map", filter={"radius_m": NEAR_RADIUS_M, "audience": "everyone"}
        )
        self._fixes: list[tuple[Fix, str]] = []
        self._due: dict[int, int] = {}
        """Device time → recorded ms."""
        self._bands: dict[str, str | None] = {}
        self._unanswered = 0
        self._answered = asyncio.Event()
        self._cells: list[tuple[int, Cell]] = []
        self._events: list[tuple[int, str, str]] = []
        self._stops: list[Stop] = []

    @property
    def _now_ms(self) -> int:
        return self._fixes[-1][0].t_ms if self._fixes else 0

    async def send(self, client: Client, fix: list[Any], after_ms: int) -> None:
        """Sends a fix [lat, lon, accuracy, device time] for both, and keeps what the walker was answered."""
        lat, lon, acc_m, t_ms = fix
        number = len(self._fixes)
        self._due[t_ms] = after_ms
        self._fixes.append((Fix(lat, lon, acc_m, after_ms, number), _LOST))
        self._unanswered += 1
        self.stranger.position(fix)
        outcome = _LOST
        try:
            await client.confirmed_position(fix)
        except CommandError as refused:
            outcome = refused.reason
        except TimeoutError:
            pass
        else:
            outcome = COUNTED
        self._fixes[number] = (self._fixes[number][0], outcome)
        self._unanswered -= 1
        if not self._unanswered:
            self._answered.set()

    def _heard(self, channel: str, frame: dict[str, Any]) -> None:
        """What the stranger hears of `near`: the cell that is shown of the walker."""
        if channel != "near" or "k" not in frame or frame["k"][0] != self._walker:
            return
        data = frame["k"][1]
        if data is None:
            return
        cell = str(data["cell"])
        if is_cell(cell) and (not self._cells or self._cells[-1][1] != cell):
            self._cells.append((self._now_ms, Cell(cell)))

    def crossed(self, fence: str, crossing: dict[str, Any]) -> None:
        """An event of the walker's `fences`."""
        at_ms = crossing["at_ms"]
        sent = max((t_ms for t_ms in self._due if t_ms <= at_ms), default=None)
        due_ms = 0 if sent is None else self._due[sent] + at_ms - sent
        text = said(fence, msgspec.convert(crossing, Crossing))
        self._events.append((due_ms, str(crossing["event"]), text))

    def met(self, name: str, band: str | None) -> None:
        """A row of the walker's `near`; the band is None when it goes."""
        if self._bands.get(name) == band:
            return
        self._bands[name] = band
        where = f"is near, {str(band).replace('<', 'within ')} km" if band else "is near no longer"
        self.tell("near" if band else "parted", f"{name} {where}")

    def tell(self, kind: str, text: str) -> None:
        """Something else that the walker heard or did."""
        self._events.append((self._now_ms, kind, text))

    async def ends(self, account: Account) -> None:
        """Waits for the last answers, and asks for the walker's own places."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while self._unanswered:
                    self._answered.clear()
                    await self._answered.wait()
                await asyncio.sleep(BEHIND_S)
        for place in (await account.call("GET", "/v1/me/places"))["items"]:
            ends = (self._due_at(place["first_at"]), self._due_at(place["last_at"]))
            stayed = f"{place['visits']} visit{'s' * (place['visits'] > 1)}, {place['stayed_s'] / 60:.1f} min"
            self._stops.append(
                Stop(
                    ends[0], ends[1], place["lat"], place["lon"], max(RADIUS_MIN_M, place["radius_m"]), stayed
                )
            )
        self._stops.sort(key=lambda stop: stop.from_s)

    def _due_at(self, t_ms: int) -> float:
        sent = max((each for each in self._due if each <= t_ms), default=None)
        return 0.0 if sent is None else self._due[sent] / 1_000

    def trail(self) -> Trail | None:
        """What there is; None if nothing counted."""
        if not any(outcome == COUNTED for _, outcome in self._fixes):
            return None
        return trail(self._name, self._fixes, self._cells, self._events, self._stops)
