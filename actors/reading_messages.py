"""What a room's owner and members ask of its being read (messages.py has the rest, and the unions)."""

from actors.push_messages import JSON
from actors.slot_messages import Framed


class SetTerms(Framed, tag=190):
    """The owner says on which terms the room is read from now on (JSON of reading_terms.Terms); None: not any
    more. Replied as Publish is, when the event that tells the members is stored.
    """

    rid: int
    ch: str
    user: str
    terms: JSON | None = None


class DynamicsQuery(Framed, tag=191):
    """What is kept of a room that is read. Replied {"reading","room","mine"}, or 108 where it is not read."""

    rid: int
    ch: str
    user: str
