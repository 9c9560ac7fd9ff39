"""What an Api process asks the Matcher over their link (messages.py has the rest, and the unions)."""

from actors.slot_messages import Framed
from matching.answers import Recommended


class MatchQuery(Framed, tag=200):
    """Who suits `user`; as `serve_app.matcher.MatcherService.recommend`. Replied with Matched, or Failure."""

    rid: int
    user: str
    near: list[tuple[str, float]]
    limit: int
    alias: str


class Matched(Framed, tag=201):
    """The answer."""

    rid: int
    found: Recommended
