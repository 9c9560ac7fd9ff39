"""What the history checker proves of geofences: crossings alternate, none is lost or told twice, and a bound
room took in and let out exactly whom its fence did (GEO-17, GEO-18, CHAT-19).
"""

from collections import defaultdict
from collections.abc import Callable

from cluster.history import Bound, Crossed, Members, Moved, Walked

Violated = Callable[[str, str, str], None]
"""Takes a kind, a channel and what was found, at the line being judged."""

_BEGINS = ("enter", "inside")
_KNOWN = (*_BEGINS, "dwell", "exit")
_MEMBERSHIP = {"enter": "join", "inside": "join", "exit": "leave"}


class CrossingCheck:
    """Takes the lines in any order between files; what needs them all is judged by `finish`."""

    def __init__(self, violated: Violated) -> None:
        self._violated = violated
        self.crossings = 0
        self._offsets: dict[str, int] = {}
        """User → the newest offset of their stream."""
        self._crossed: dict[tuple[str, str], list[str]] = defaultdict(list)
        """(user, fence) → events, oldest first."""
        self._rooms: dict[str, str] = {}
        """Fence → its room."""
        self._moved: dict[tuple[str, str], list[str]] = defaultdict(list)
        """(room, user) → joins and leaves, in the order of the room's log."""
        self._members: dict[str, set[str]] = {}
        self._walked: dict[tuple[str, str], list[str]] = {}

    def take_crossing(self, line: Crossed) -> None:
        """An entry of a person's `fences` stream."""
        ch, due = f"fences:{line.user}", self._offsets.get(line.user, 0) + 1
        if line.offset != due:
            self._violated("crossing", ch, f"offset {line.offset} where {due} was due")
        self._offsets[line.user] = line.offset
        self.crossings += 1
        if line.event not in _KNOWN:
            self._violated("crossing", ch, f"{line.event!r} is no event of a fence")
            return
        events = self._crossed[line.user, line.fence]
        is_inside = bool(events) and events[-1] != "exit"
        if (line.event in _BEGINS) == is_inside:
            before = events[-1] if events else "nothing"
            self._violated("crossing", ch, f"{line.event} of {line.fence} at {line.offset} after {before}")
        if line.event == "inside" and self._offsets[line.user] > 1:
            self._violated("crossing", ch, f"inside at {line.offset}, which is for a first fix")
        events.append(line.event)

    def take_bound(self, line: Bound) -> None:
        """A fence has a room, which all people of this history let take them in."""
        self._rooms[line.fence] = line.ch

    def take_moved(self, line: Moved) -> None:
        """A room's log says that somebody came or went."""
        self._moved[line.ch, line.user].append(line.event)

    def take_members(self, line: Members) -> None:
        """Who was in a room at the end, of those who walked."""
        self._members[line.ch] = set(line.users)

    def take_walked(self, line: Walked) -> None:
        """What somebody's acknowledged fixes have to give."""
        self._walked[line.user, line.fence] = line.events

    def finish(self) -> None:
        """Holds the walks, the crossings, the rooms' logs and the memberships against each other."""
        for (user, fence), events in self._walked.items():
            told = [event for event in self._crossed.get((user, fence), []) if event != "dwell"]
            if told != events:
                what = f"of {fence}: {_difference(told, events)}"
                self._violated("uncrossed", f"fences:{user}", what)
        expected: dict[tuple[str, str], list[str]] = {}
        for (user, fence), events in self._crossed.items():
            if fence in self._rooms:
                wanted = [_MEMBERSHIP[event] for event in events if event in _MEMBERSHIP]
                expected[self._rooms[fence], user] = wanted
        for room, user in expected.keys() | self._moved.keys():
            if room not in self._rooms.values():
                continue
            wanted, had = expected.get((room, user), []), self._moved.get((room, user), [])
            if wanted != had:
                self._violated("membership", room, f"{user}: {_difference(had, wanted)}")
            members = self._members.get(room)
            if members is not None and (user in members) != (wanted[-1:] == ["join"]):
                is_in = "is in" if user in members else "is not in"
                self._violated("membership", room, f"{user} {is_in} after {wanted[-1:] or 'no crossing'}")


def _difference(had: list[str], wanted: list[str]) -> str:
    """Where two sequences part, and their lengths."""
    part = next(
        (n for n, both in enumerate(zip(had, wanted, strict=False)) if both[0] != both[1]),
        min(len(had), len(wanted)),
    )
    return (
        f"{len(had)} where {len(wanted)} were due, differing at {part + 1}: "
        f"{had[part : part + 3]} and not {wanted[part : part + 3]}"
    )
