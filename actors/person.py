"""The live state of a person: what user.py steps, and what its host does for it."""

from dataclasses import dataclass, field

from actors import messages as wire
from actors.effects import Asker, Effect
from actors.episodes import Episodes
from actors.ghosts import Haunt
from actors.matches import MatchesView
from actors.near import KeptViews, NearView
from actors.own_stay import OwnStay
from actors.region import POSITION_TTL_MS
from actors.score_book import ScoreBook
from actors.scores import ScoresState
from actors.shares import Shares
from actors.stream import Stream
from actors.visits import Visiting
from geo.crossings import Standing
from geo.fixes import Fix, Reason, Verdict
from geo.privacy import Shown
from geo.probing import Probing
from geo.table import Location
from storage.streams import UserRecord


@dataclass(frozen=True, slots=True)
class ToRegion:
    """A message to a region."""

    message: wire.RegionEnter | wire.RegionLeave


@dataclass(frozen=True, slots=True)
class Look:
    """The person looks around from this cell, for as long as there is a view; empty: not any more."""

    cell: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The fixes that now count, oldest first: to whoever follows. `asker` is to be told so."""

    fixes: tuple[Fix, ...]
    asker: Asker


@dataclass(frozen=True, slots=True)
class NotLive:
    """A fix that moved nobody."""

    fix: Fix
    verdict: Verdict
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class WantScores:
    """Scores are wanted that the person's book lacks."""


UserEffect = Effect | ToRegion | Look | Moved | NotLive | WantScores


@dataclass(slots=True)
class UserState:
    """One person's live state."""

    user: str
    record: UserRecord
    location: Location = field(default_factory=Location)
    fine: Shown | None = None
    """What matches are shown who are granted res 9."""
    split: frozenset[str] = frozenset()
    position_ttl_ms: int = POSITION_TTL_MS
    announced: dict[str, tuple[str, str, str, bool | None, str]] = field(default_factory=dict)
    """The region that knows of this person, and as what: cell, audience, precision, online, fine cell."""
    announced_at_ms: int = 0
    announced_fix_ms: int = 0
    """The time of the fix that it was told."""
    stamp: int = 0
    """Of the last announcement."""
    probing: Probing = field(default_factory=Probing)
    watching: str = ""
    """The cell that this person looks around from; empty while nobody looks."""
    views: dict[str, NearView] = field(default_factory=dict)
    kept: KeptViews = field(default_factory=KeptViews)
    streams: dict[str, Stream] = field(default_factory=dict)
    listeners: dict[str, dict[str, str]] = field(default_factory=lambda: {"me": {}, "fences": {}})
    """Stream → connection → gateway."""
    fences: dict[str, Standing] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    visiting: Visiting = field(default_factory=Visiting)
    located: bool = False
    """A fix of theirs counted before: a fence then hears of an `enter`, not of an initial `inside`."""
    is_online: bool | None = None
    """As others may know it by now (online_host.py); None: not known yet."""
    matches: MatchesView | None = None
    """Of `presence:matches`, where somebody listens."""
    said: int = 0
    """The number of its last push, as a room's (`actors.attendance.Attendance.said`)."""
    haunt: Haunt = field(default_factory=Haunt)
    """Where this person was last seen, while they are a ghost."""
    shares: Shares = field(default_factory=Shares)
    episodes: Episodes = field(default_factory=Episodes)
    """With matches who are near."""
    own_stay: OwnStay = field(default_factory=OwnStay)
    book: ScoreBook | None = None
    """What they know of how they fit with others, once they asked."""
    scores: ScoresState | None = None
    """Of the channel `scores`, where somebody listens."""
    looks: list[tuple[str, ...]] = field(default_factory=list)
    """Whose scores single looks at who is near wait for."""

    @property
    def last(self) -> Fix | None:
        """The last accepted fix."""
        return self.location.last

    @property
    def shown(self) -> Shown | None:
        """The cell that others may know of."""
        return self.location.shown

    @property
    def is_idle(self) -> bool:
        """No subscription, nobody who looks, and no place that regions would show."""
        listened = self.views or self.matches is not None or any(self.listeners.values())
        listened = listened or (self.scores is not None and bool(self.scores.maps.views))
        return not listened and not self.announced and not self.shares.is_live
