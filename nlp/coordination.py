"""Linguistic coordination: whether replies take up the function words of what they reply to (NLP-7).

Danescu-Niculescu-Mizil, Lee, Pang, Kleinberg, "Echoes of power" (WWW 2012): for each class m of function
words, C(m) = P(reply has m | what it replies to has m) − P(reply has m), over a set of exchanges; the figure
is the mean over the classes for which it is defined. Here over the newest `WINDOW` exchanges of a room.
"""

from collections.abc import Iterable

import msgspec

WINDOW = 512
"""Exchanges that count; the oldest makes room for the newest."""

CLASSES: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "article": "a an the",
        "auxiliary": "am are be been being can could did do does had has have is may might must shall should"
        " was were will would i'm i've i'll i'd you're you've you'll you'd he's she's it's we're we've we'll"
        " they're they've they'll isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't"
        " wouldn't shouldn't haven't hasn't hadn't",
        "conjunction": "although and as because but if nor or since so than though unless until when whereas"
        " whether while",
        "adverb": "again already also always even ever here how just maybe never now often only perhaps quite"
        " rather really still then there too very well where why yet",
        "impersonal": "anybody anyone anything everybody everyone everything it its itself nobody nothing"
        " other others somebody someone something that these this those what which who whose it's that's",
        "personal": "he her hers him his i me mine my myself our ours she their them they us we you your"
        " yours i'm i've i'll i'd you're you've you'll you'd he's she's we're we've we'll they're they've"
        " they'll",
        "preposition": "about above across after against along among around at before behind below between"
        " by down during for from in inside into near of off on onto out over through to toward under up"
        " upon with within without",
        "quantifier": "all another any both each either enough every few fewer less lots many more most much"
        " neither none plenty several some",
    }.items()
}
"""Closed classes of English, as in the paper (there from LIWC, which is not free; these lists are ours)."""

_BITS = {
    word: sum(1 << bit for bit, words in enumerate(CLASSES.values()) if word in words)
    for words in CLASSES.values()
    for word in words
}


def classes_of(words: Iterable[str]) -> int:
    """The classes that occur among lower-case words: bit i stands for the i-th of CLASSES."""
    found = 0
    for word in words:
        found |= _BITS.get(word, 0)
    return found


class Exchange(msgspec.Struct, frozen=True, array_like=True):
    """A reply: who replied to whom (indices of people; −1: not told apart), and the classes of both."""

    replier: int
    target: int
    target_classes: int
    reply_classes: int


class Coordination(msgspec.Struct):
    """The newest exchanges and their counts; an update is O(1)."""

    exchanges: list[Exchange] = msgspec.field(default_factory=list)
    oldest: int = 0
    """Where in `exchanges` the next one goes, once they are WINDOW."""
    target: list[int] = msgspec.field(default_factory=lambda: [0] * len(CLASSES))
    reply: list[int] = msgspec.field(default_factory=lambda: [0] * len(CLASSES))
    both: list[int] = msgspec.field(default_factory=lambda: [0] * len(CLASSES))

    def add(self, exchange: Exchange) -> None:
        """The next reply."""
        if len(self.exchanges) < WINDOW:
            self.exchanges.append(exchange)
        else:
            self._count(self.exchanges[self.oldest], -1)
            self.exchanges[self.oldest] = exchange
            self.oldest = (self.oldest + 1) % WINDOW
        self._count(exchange, 1)

    def _count(self, exchange: Exchange, by: int) -> None:
        for bit in range(len(CLASSES)):
            in_target = exchange.target_classes >> bit & 1
            in_reply = exchange.reply_classes >> bit & 1
            self.target[bit] += by * in_target
            self.reply[bit] += by * in_reply
            self.both[bit] += by * (in_target & in_reply)

    def by_class(self) -> dict[str, float]:
        """C(m) of each class that occurred in what was replied to."""
        replies = len(self.exchanges)
        return {
            name: self.both[bit] / self.target[bit] - self.reply[bit] / replies
            for bit, name in enumerate(CLASSES)
            if self.target[bit]
        }

    def value(self) -> float | None:
        """The mean over classes; None before there is anything to compare."""
        found = self.by_class()
        return sum(found.values()) / len(found) if found else None

    def of(self, replier: int) -> "Coordination":
        """That of one person towards all others, in the window. O(WINDOW)."""
        own = Coordination()
        for exchange in self.exchanges:
            if exchange.replier == replier:
                own.add(exchange)
        return own
