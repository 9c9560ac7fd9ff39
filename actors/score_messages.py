"""What is told of scores (messages.py has the rest, and the unions)."""

from actors.slot_messages import Framed


class TallyChanged(Framed, tag=180):
    """To a person's actor, if it is live: a decision of theirs, or about them, counts. Replied {}."""

    rid: int
    user: str
