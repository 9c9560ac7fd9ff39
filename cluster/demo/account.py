"""A person of the replay: an account made through the public port, and the tokens that keep it signed in."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from cluster.demo.ports import PortError, Ports

BORN = "1990-01-01"
DEVICE = "hereabouts-replay"
RENEW_BEFORE_S = 60.0


@dataclass(slots=True)
class Account:
    """Signed in. `last_t_ms` is the time of the newest fix that was sent in this name."""

    ports: Ports
    handle: str
    user: str
    _password: str
    _access: str = ""
    _refresh: str = ""
    _until: float = 0.0
    last_t_ms: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def token(self, fresh: bool = False) -> str:
        """An access token that is good for another minute, renewed if need be."""
        async with self._lock:
            if fresh or time.monotonic() > self._until - RENEW_BEFORE_S:
                self.take(await self._renewed())
            return self._access

    async def _renewed(self) -> Any:
        body = {"refresh_token": self._refresh, "device": DEVICE}
        try:
            return await self.ports.call("POST", "/v1/auth/refresh", body)
        except PortError as refused:
            if refused.status not in (400, 401, 403):
                raise
        body = {"handle": self.handle, "password": self._password, "device": DEVICE}
        return await self.ports.call("POST", "/v1/auth/login", body)

    def take(self, answer: Any) -> None:
        """Keeps the tokens of a sign-in."""
        self._access, self._refresh = answer["access_token"], answer["refresh_token"]
        self._until = time.monotonic() + answer["expires_in"]

    async def doors(self) -> list[str]:
        """Where WebSockets go now: gateways come and go."""
        found = await self.ports.call("GET", "/v1/rt")
        return [found["url"], found["fallback"]]

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """An HTTP request in this person's name."""
        return await self.ports.call(method, path, body, await self.token())


async def register(ports: Ports, name: str) -> Account:
    """Creates a person, under a handle that begins with `name`."""
    handle, password = f"{name}-{secrets.token_hex(2)}", secrets.token_urlsafe(18)
    body = {"handle": handle, "password": password, "birth_date": BORN, "device": DEVICE}
    answer = await ports.call("POST", "/v1/auth/register", body)
    account = Account(ports, handle, answer["user"], password)
    account.take(answer)
    return account


async def show(account: Account, audience: str) -> None:
    """Lets an audience see the person at res 8: everyone, or nobody when the walk is over. The last place
    would else be shown for another quarter of an hour.
    """
    await account.call("PUT", "/v1/me/visibility", {"audience": audience, "precision": "r8"})
