"""Who speaks with whom in a group: participation, centrality, dominance, reciprocity, turn balance, how
newcomers are received (NLP-5, NLP-6).

A turn is what one person says until somebody else speaks or REPLY_LIMIT_MS pass. A reply is the beginning of
a turn at most REPLY_LIMIT_MS after somebody else's message, and is to that person. The first PEOPLE_LIMIT
people who speak are told apart; of others only that somebody spoke.
"""

from math import log

import msgspec

from nlp.quality import REPLY_LIMIT_MS

PEOPLE_LIMIT = 64
NEWCOMERS_LIMIT = 64
"""Who joined and has not spoken; the one who has been silent longest is forgotten."""

NOBODY = -1


class Person(msgspec.Struct, array_like=True):
    """One of those who are told apart. An erased person has no name, and their counts stay."""

    user: str
    messages: int = 0
    turns: int = 0


class Spoken(msgspec.Struct, array_like=True):
    """The message before: by whom and when. `index` is NOBODY where they are not told apart."""

    user: str
    index: int
    at_ms: int


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """How a message stands to the one before. `latency_ms` is None where it is no reply."""

    index: int
    target: int
    latency_ms: int | None


class Dynamics(msgspec.Struct):
    """Counts since reading began; every update is O(1)."""

    people: list[Person] = msgspec.field(default_factory=list)
    others: int = 0
    """Messages of people who are not told apart."""
    replies: dict[int, int] = msgspec.field(default_factory=dict)
    """replier × PEOPLE_LIMIT + target → replies."""
    last: Spoken | None = None
    joined: dict[str, None] = msgspec.field(default_factory=dict)
    """Who came and has not spoken yet, the earliest first."""
    unanswered: dict[str, int] = msgspec.field(default_factory=dict)
    """Newcomer whose first message nobody else's has followed → when it was."""
    newcomers: int = 0
    """Newcomers whose first message was followed by somebody else's, sooner or later."""
    welcomed: int = 0
    """…within REPLY_LIMIT_MS."""
    welcome_ms: int = 0
    """How long that took, of all together."""

    def came(self, user: str) -> None:
        """Somebody joined the room."""
        if self.index_of(user) == NOBODY:
            self.joined.pop(user, None)
            self.joined[user] = None
            if len(self.joined) > NEWCOMERS_LIMIT:
                del self.joined[next(iter(self.joined))]

    def said(self, user: str, at_ms: int) -> Turn:
        """A message; how it stands to the one before."""
        index = self._index(user)
        last, self.last = self.last, Spoken(user, index, at_ms)
        self._answer(user, at_ms)
        if user in self.joined:
            del self.joined[user]
            if index != NOBODY:
                self.unanswered[user] = at_ms
        passed_ms = REPLY_LIMIT_MS + 1 if last is None else max(0, at_ms - last.at_ms)
        is_other = last is None or last.user != user
        if index != NOBODY:
            person = self.people[index]
            person.messages += 1
            person.turns += is_other or passed_ms > REPLY_LIMIT_MS
        else:
            self.others += 1
        if last is None or not is_other or passed_ms > REPLY_LIMIT_MS:
            return Turn(index, NOBODY, None)
        if NOBODY not in {index, last.index}:
            pair = index * PEOPLE_LIMIT + last.index
            self.replies[pair] = self.replies.get(pair, 0) + 1
        return Turn(index, last.index, passed_ms)

    def index_of(self, user: str) -> int:
        """Which of `people` somebody is, or NOBODY."""
        return next((index for index, each in enumerate(self.people) if each.user == user), NOBODY)

    def _index(self, user: str) -> int:
        index = self.index_of(user)
        if index == NOBODY and len(self.people) < PEOPLE_LIMIT:
            self.people.append(Person(user))
            return len(self.people) - 1
        return index

    def _answer(self, user: str, at_ms: int) -> None:
        for newcomer, first_ms in list(self.unanswered.items()):  # two at most
            if newcomer != user:
                del self.unanswered[newcomer]
                self.newcomers += 1
                waited_ms = max(0, at_ms - first_ms)
                if waited_ms <= REPLY_LIMIT_MS:
                    self.welcomed += 1
                    self.welcome_ms += waited_ms

    def forget(self, user: str) -> None:
        """Nothing here names this person any more."""
        for each in self.people:
            if each.user == user:
                each.user = ""
        self.joined.pop(user, None)
        self.unanswered.pop(user, None)
        if self.last is not None and self.last.user == user:
            self.last = Spoken("", self.last.index, self.last.at_ms)

    # -- figures, of those who are told apart --------------------------------------------------------

    def turn_balance(self) -> float | None:
        """1 − Gini of turns: 1 where all have as many. None of fewer than two people."""
        turns = sorted(each.turns for each in self.people)
        if len(turns) < 2 or not sum(turns):
            return None
        ranked = sum(rank * each for rank, each in enumerate(turns, 1))
        n, total = len(turns), sum(turns)
        return 1 - (2 * ranked / (n * total) - (n + 1) / n)

    def participation_entropy(self) -> float | None:
        """Shannon's entropy of who says how much, divided by its most, log n. None of fewer than two."""
        counts = [each.messages for each in self.people if each.messages]
        if len(self.people) < 2:
            return None
        total = sum(counts)
        return -sum(each / total * log(each / total) for each in counts) / log(len(self.people))

    def dominance(self) -> float | None:
        """The share of all turns of whoever has most. None of fewer than two people."""
        total = sum(each.turns for each in self.people)
        if len(self.people) < 2 or not total:
            return None
        return max(each.turns for each in self.people) / total

    def reciprocity(self) -> float | None:
        """The share of replies that are returned (Squartini et al., Sci. Rep. 3, 2013)."""
        total = sum(self.replies.values())
        if not total:
            return None
        returned = 0
        for pair, count in self.replies.items():
            one, other = divmod(pair, PEOPLE_LIMIT)
            returned += min(count, self.replies.get(other * PEOPLE_LIMIT + one, 0))
        return returned / total

    def degrees(self) -> list[int]:
        """With how many others each has exchanged replies, whoever began."""
        met: list[set[int]] = [set() for _ in self.people]
        for pair in self.replies:
            one, other = divmod(pair, PEOPLE_LIMIT)
            met[one].add(other)
            met[other].add(one)
        return [len(each) for each in met]

    def centralization(self) -> float | None:
        """Freeman's, of degree (1978): 1 where all speak with one alone, 0 where nobody is more central than
        others. None of fewer than three people.
        """
        degrees = self.degrees()
        n = len(degrees)
        if n < 3:
            return None
        return sum(max(degrees) - each for each in degrees) / ((n - 1) * (n - 2))
