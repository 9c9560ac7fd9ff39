"""What is asked of a person's stays (messages.py has the rest, and the unions)."""

from actors.slot_messages import Framed


class StayQuery(Framed, tag=170):
    """How long the stay of `user` that goes on has lasted. Replied {"since_ms","last_ms"}, its first and last
    fix; {} where none goes on, or nobody is live who knows. No position is told.
    """

    rid: int
    user: str
