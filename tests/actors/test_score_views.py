"""Live views with scores equal what is worked out anew, whatever happens: moves, scores, blocks, swaps
(MATCH-17, architecture.md §7).
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors import near_people
from actors.effects import NOBODY, Answer, Send
from actors.near import SCORED_LIMIT, near_filter
from actors.near_people import Around
from actors.person import UserState, WantScores
from actors.score_book import ScoreBook
from actors.score_host import wanted
from actors.scores import ScoresState, Suggested
from actors.vicinity import Vicinity
from geo.cells import cell_of
from geo.distance import distance_m
from geo.privacy import Shown, coarse
from geo.proximity import LIMIT_MAX, band_of
from matching.telling import NOTICED
from storage.streams import UserRecord

_NONE = frozenset[str]()
RECORD = UserRecord(
    "everyone", "r8", _NONE, _NONE, _NONE, open_visits={}, visits={}, left_at_ms={}, auto_join=_NONE
)
BERLIN = (52.52, 13.405)
CELLS = [cell_of(BERLIN[0] + step * 0.006, BERLIN[1], 8) for step in range(5)]
ME, RADIUS_M = "me", 2_000.0
FITS = [-1.0, 0.1, 0.52, 0.68, 0.7, 0.74, 0.9]
PEOPLE = [f"p{number}" for number in range(8)]


@dataclass
class World:
    """One viewer with two connections, and people around; the Matcher is a table of chances."""

    vicinity: Vicinity = field(default_factory=Vicinity)
    state: UserState = field(default_factory=lambda: UserState(ME, RECORD))
    model: str = "m1"
    fits: dict[tuple[str, str], float] = field(default_factory=dict)
    """(model, other) → score."""
    expected: dict[str, float] = field(default_factory=dict)
    """What is to be shown of those who were asked about, by the rule of the book, written once more."""
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Connection → what its client holds."""
    models: list[str] = field(default_factory=list)
    stamp: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.state.location.shown = Shown(CELLS[0])

    def subscribe(self, conn: str, **given_: Any) -> None:
        message = wire.Subscribe(0, f"near@{ME}#{conn}", ME, conn, "phone", 1, "map", filter=given_ or None)
        around = Around(self.vicinity, is_complete=True)
        effects = near_people.subscribed(self.state, message, NOBODY, "g", 1, lambda: "e", around)
        answer = next(each for each in effects if isinstance(each, Answer))
        self.shown[conn] = {key: data for key, data, _ in answer.ok["state"]}

    def move(self, user: str, cell: str, *, online: bool = True) -> None:
        self.stamp += 1
        row = wire.RegionRow(user, cell, cell, "everyone", "r8", online=online, stamp=self.stamp)
        self.vicinity.apply(wire.RegionNews("r", "e", self.stamp, [row], [], since=self.stamp - 1), 1)
        self.review()

    def review(self) -> bool:
        """Whether scores are wanted."""
        self.vicinity.take_changes()
        around = Around(self.vicinity, is_complete=True)
        effects = near_people.reviewed(self.state, 1, around)
        for effect in effects:
            if isinstance(effect, Send):
                self.apply(effect.message)
        return any(isinstance(effect, WantScores) for effect in effects)

    def apply(self, push: Any) -> None:
        held = self.shown[push.ch.partition("#")[2]]
        for row in msgspec.json.decode(push.k):
            if row[1] == "-":
                del held[row[0]]
            else:
                assert (row[1] == "~") is (row[0] in held)
                before = held.get(row[0]) or {}
                if "score" in before and "score" not in row[2]:
                    assert self.expected[row[0]] == -1, "a swap leaves no row without a score meanwhile"
                held[row[0]] = row[2]
        models = {row["model"] for row in held.values() if "model" in row}
        assert len(models) <= 1, "no client holds scores of two models"
        self.models += models

    def answers(self) -> None:
        """The Matcher answers all that is wanted now."""
        book = self.state.book
        assert book is not None
        before = book.model
        others, is_all = book.asks(wanted(self.state))
        scores = {user: self.fits.setdefault((self.model, user), self.chance.choice(FITS)) for user in others}
        book.told(self.model, scores, 10**9, is_all=is_all)
        if before != self.model and not is_all:
            return  # everybody is asked again
        if before != self.model:
            self.expected = {}
        for user, score in scores.items():
            rounded = -1.0 if score < 0 else round(score, 2)
            known = self.expected.get(user, -1.0)
            if known < 0 or rounded < 0 or abs(rounded - known) >= NOTICED - 1e-9:
                self.expected[user] = rounded

    def block(self, blocked: frozenset[str]) -> None:
        """Exactly these are blocked from now on."""
        self.state.record = replace(self.state.record, blocked=blocked)
        assert self.state.book is not None
        self.state.book.without(blocked)
        for user in blocked:
            self.expected.pop(user, None)
        self.review()

    def settle(self) -> None:
        while self.review() and wanted(self.state):
            self.answers()

    def brute_force(self, min_score: float | None, *, online: bool = False) -> dict[str, Any]:
        middle, found = coarse(CELLS[0]), []
        for user, row in self.vicinity.people.items():
            there = coarse(row.cell)
            away_m = round(distance_m(middle.lat, middle.lon, there.lat, there.lon), 3)
            if online and not row.online:
                continue
            if away_m <= RADIUS_M and user not in self.state.record.blocked:
                found.append((away_m, user, row.cell))
        rows = {}
        for away_m, user, cell in sorted(found)[: SCORED_LIMIT if min_score is not None else LIMIT_MAX]:
            score, row = self.expected.get(user), {"user": user, "cell": cell, "band": band_of(away_m)}
            if score is not None and score >= 0:
                row |= {"score": score, "model": self.state.book.model}
            if min_score is None or (score is not None and score >= max(min_score, 0)):
                rows[user] = row
        return dict(list(rows.items())[:LIMIT_MAX])


@pytest.mark.parametrize("seed", range(12))
def test_the_live_views_equal_what_is_worked_out_anew(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance=chance)
    world.subscribe("all", radius_m=RADIUS_M, scores=True)
    world.subscribe("good", radius_m=RADIUS_M, min_score=0.7)
    world.subscribe("here", radius_m=RADIUS_M, min_score=0.7, online=True)
    events = ["move", "move", "fit", "fit", "block", "swap", "renew", "answer", "answer", "settle", "settle"]
    compared = 0
    for _ in range(250):
        what, who = chance.choice(events), chance.choice(PEOPLE)
        if what == "move":
            world.move(who, chance.choice(CELLS), online=chance.random() < 0.6)
        elif what == "fit":
            world.fits[world.model, who] = chance.choice(FITS)
        elif what == "block":
            world.block(chance.choice([_NONE, frozenset({who}), frozenset({who, chance.choice(PEOPLE)})]))
            for held in world.shown.values():
                assert not world.state.record.blocked & held.keys()
        elif what == "swap":
            world.model = f"m{int(world.model[1:]) + 1}"
            world.state.book.is_stale |= chance.random() < 0.5  # else nobody told of it
        elif what == "renew":
            world.state.book.is_stale = True
        elif what == "answer":
            world.answers()
            world.review()
        elif world.vicinity.people:
            world.settle()
            compared += len(world.shown["good"]) > 0
            assert world.shown["all"] == world.brute_force(None)
            assert world.shown["good"] == world.brute_force(0.7)
            assert world.shown["here"] == world.brute_force(0.7, online=True)
    assert compared > 10
    assert world.models == sorted(world.models, key=lambda model: int(model[1:])), "no way back"


def test_behind_fifty_who_fit_less_stands_who_fits() -> None:
    world = World()
    for number in range(SCORED_LIMIT + 10):
        world.move(f"q{number:03}", CELLS[0])
        world.fits["m1", f"q{number:03}"] = 0.2
    world.fits["m1", "q150"] = 0.9
    world.fits["m1", f"q{SCORED_LIMIT + 5}"] = 0.9
    world.subscribe("good", radius_m=RADIUS_M, min_score=0.8)
    world.settle()
    assert world.shown["good"].keys() == {"q150"}
    world.subscribe("good", radius_m=RADIUS_M, min_score=0.1)
    world.settle()
    assert len(world.shown["good"]) == LIMIT_MAX


def test_who_asks_for_no_scores_causes_no_question_and_gets_none() -> None:
    world = World()
    world.move("p1", CELLS[0])
    world.subscribe("plain", radius_m=RADIUS_M)
    assert not world.review()
    assert (world.state.book, wanted(world.state)) == (None, [])
    assert world.shown["plain"]["p1"].keys() == {"user", "cell", "band"}


def test_a_view_of_a_lost_activation_keeps_its_rows_until_there_are_scores() -> None:
    world = World()
    world.move("p1", CELLS[0])
    for min_score in (None, 0.5):
        given_ = {"scores": True} if min_score is None else {"min_score": min_score}
        message = wire.Subscribe(0, f"near@{ME}#c", ME, "c", "phone", 1, "map", "e", 7, filter=given_)
        message.shadow = {"p1": 7}
        around = Around(world.vicinity, is_complete=True)
        world.state.book = None
        effects = near_people.subscribed(world.state, message, NOBODY, "g", 1, lambda: "e", around)
        assert not any(isinstance(each, Send) for each in effects)
        assert any(isinstance(each, WantScores) for each in effects)
        world.shown["c"], world.fits["m1", "p1"] = {"p1": None}, 0.5
        world.answers()
        world.review()
        assert world.shown["c"]["p1"]["score"] == 0.5
        del world.state.views["c"]


def test_recommendations_are_shown_with_the_books_scores_and_without_whom_is_blocked() -> None:
    scores, book = ScoresState(), ScoreBook()
    scores.suggests([("a", Suggested(0.811, "m1", "batch")), ("b", Suggested(0.7, "m1", "near"))])
    assert scores.shown(book, frozenset({"b"})) == {
        "a": {"user": "a", "score": 0.81, "model": "m1", "source": "batch"}
    }
    book.asks(["a", "b"])
    book.told("m2", {"a": 0.5, "b": -1.0}, 0, is_all=True)
    assert scores.shown(book, frozenset()) == {
        "a": {"user": "a", "score": 0.5, "model": "m2", "source": "batch"}
    }


@pytest.mark.parametrize(
    ("filter_", "says"),
    [
        ({"min_score": 1.01}, r"must lie in \[0, 1\]"),
        ({"min_score": -0.1}, r"must lie in \[0, 1\]"),
        ({"min_score": "0.7"}, "must be a number"),
        ({"min_score": True}, "must be a number"),
        ({"scores": 1}, "must be true or false"),
    ],
)
def test_a_filter_that_is_wrong_says_what_is_wrong(filter_: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        near_filter(filter_)


def test_min_score_asks_for_scores() -> None:
    assert near_filter({"min_score": 0}) == near_filter({"min_score": 0.0, "scores": False})
    assert near_filter({"min_score": 0}).scores
    assert not near_filter({}).scores
