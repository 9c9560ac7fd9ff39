"""What all sessions of a gateway share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from actors.router import Router
from identity.tokens import Claims
from serve_app.hub import Hub
from serve_app.limits import Limits
from serve_app.sessions import Sessions


class Verifier(Protocol):
    """Verifies access tokens."""

    async def verify(self, token: str) -> Claims:
        """Who the token speaks for. Raises TokenExpired or TokenInvalid."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a gateway share."""

    hub: Hub
    router: Router
    verifier: Verifier
    node: str
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    sessions: Sessions | None = None
    """Without it a session ends with its socket."""
