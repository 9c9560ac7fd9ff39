"""A page of a stream's history."""

from dataclasses import dataclass
from typing import Any, Self

from hereabouts_client.events import Publication


def publication(channel: str, m: dict[str, Any]) -> Publication:
    """From the wire."""
    return Publication(channel, m["o"], m["t"], m["i"], m.get("u") or "", m.get("d"), m.get("cid"))


@dataclass(frozen=True, slots=True)
class Page:
    """`offset` is the stream's top; `more` lies behind the last of `publications`."""

    publications: tuple[Publication, ...]
    epoch: str
    offset: int
    more: bool

    @classmethod
    def of(cls, channel: str, result: dict[str, Any]) -> Self:
        """From the reply to `hist`."""
        publications = tuple(publication(channel, m) for m in result["pubs"])
        return cls(publications, result["epoch"], result["offset"], bool(result["more"]))
