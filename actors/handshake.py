"""What two ends of a TCP link say before the first frame: each proves to know the engine's secret.

    dialler    HBL1, 32 random bytes
    listener   32 random bytes, HMAC-SHA-256(secret, "listener" + both)
    dialler    HMAC-SHA-256(secret, "dialler" + both)

The roles in the proofs keep one end's from being played back to it. Nothing is encrypted: nodes on several
machines need a private network between them (docs/operations.md).
"""

import asyncio
import hashlib
import hmac
import logging
import os
import socket
from collections.abc import Callable
from typing import cast

from actors.metrics import count

log = logging.getLogger("hereabouts.link")

HANDSHAKE_LIMIT_S = 5.0
STRANGERS_LIMIT = 64
"""Peers of one listener that have proven nothing yet; one more is refused."""

_GREETING = b"HBL1"
_NONCE_BYTES = 32
_PROOF_BYTES = 32
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_TRIES = 3, 2, 3
_UNACKNOWLEDGED_LIMIT_MS = 8_000
"""A peer whose machine is gone is noticed within 9 s, whether or not something is on its way to it."""


def proof(secret: str, role: str, nonces: bytes) -> bytes:
    """What only somebody with the secret can say."""
    return hmac.new(secret.encode(), role.encode() + nonces, hashlib.sha256).digest()


class Handshake(asyncio.Protocol):
    """One end before its link: hands the transport to `link` when the peer has proven itself."""

    def __init__(self, secret: str, link: asyncio.Protocol) -> None:
        self._secret = secret
        self._link = link
        self._received = b""
        self._own = os.urandom(_NONCE_BYTES)
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle
        self.is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_LIMIT_S, self.refuse)
        _notice_dead_machines(self._transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if not self.is_over:
            self._received += data
            self.proceed()

    def proceed(self) -> None:
        """More has arrived."""
        raise NotImplementedError

    def take(self, size: int) -> bytes | None:
        """The next bytes of the peer, or None while they are not there."""
        if len(self._received) < size:
            return None
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def refuse(self) -> None:
        """Cuts off a peer that proved nothing."""
        if not self.is_over:
            self.end()
            count("links_refused")
            log.warning("a link's peer did not prove to know this engine's secret")
            self._transport.abort()

    def accept(self) -> None:
        """From here on the transport is the link's."""
        self.end()
        self._transport.set_protocol(self._link)
        self._link.connection_made(self._transport)
        if self._received:
            self._link.data_received(self._received)

    def end(self) -> None:
        """The handshake is over, one way or the other."""
        self.is_over = True
        self._deadline.cancel()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the cause does not matter
        if not self.is_over:
            self.end()


class Listening(Handshake):
    """The listener's end."""

    def __init__(self, secret: str, link: asyncio.Protocol, strangers: set["Listening"]) -> None:
        super().__init__(secret, link)
        self._strangers = strangers
        self._nonces = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._strangers.add(self)
        if len(self._strangers) > STRANGERS_LIMIT:
            self.refuse()

    def proceed(self) -> None:
        if not self._nonces:
            greeting = self.take(len(_GREETING) + _NONCE_BYTES)
            if greeting is None:
                return
            if not greeting.startswith(_GREETING):
                self.refuse()
                return
            self._nonces = greeting[len(_GREETING) :] + self._own
            self._transport.write(self._own + proof(self._secret, "listener", self._nonces))
        shown = self.take(_PROOF_BYTES)
        if shown is None:
            return
        if hmac.compare_digest(shown, proof(self._secret, "dialler", self._nonces)):
            self.accept()
        else:
            self.refuse()

    def end(self) -> None:
        super().end()
        self._strangers.discard(self)


class Dialling(Handshake):
    """The dialler's end; `done` has its outcome."""

    def __init__(self, secret: str, link: asyncio.Protocol) -> None:
        super().__init__(secret, link)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(_GREETING + self._own)

    def proceed(self) -> None:
        answer = self.take(_NONCE_BYTES + _PROOF_BYTES)
        if answer is None:
            return
        nonces = self._own + answer[:_NONCE_BYTES]
        if not hmac.compare_digest(answer[_NONCE_BYTES:], proof(self._secret, "listener", nonces)):
            self.refuse()
            return
        self._transport.write(proof(self._secret, "dialler", nonces))
        self.accept()
        if not self.done.done():
            self.done.set_result(None)

    def end(self) -> None:
        super().end()
        asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionRefusedError("the peer did not prove to know the secret"))


def _notice_dead_machines(found: socket.socket) -> None:
    for option, value in (
        (socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S),
        (socket.TCP_KEEPCNT, _KEEPALIVE_TRIES),
        (socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_LIMIT_MS),
        (socket.TCP_NODELAY, 1),
    ):
        found.setsockopt(socket.IPPROTO_TCP, option, value)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def dial_tcp(host: str, port: int, secret: str, make_link: Callable[[], asyncio.Protocol]) -> None:
    """Opens a TCP link. Raises OSError while nobody listens, or somebody without the secret."""
    _, handshake = await asyncio.get_running_loop().create_connection(
        lambda: Dialling(secret, make_link()), host, port
    )
    await handshake.done


async def listen_tcp(
    host: str, port: int, secret: str, make_link: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    """Accepts TCP links."""
    strangers: set[Listening] = set()
    server: asyncio.Server = await asyncio.get_running_loop().create_server(
        lambda: Listening(secret, make_link(), strangers), host, port, reuse_address=True
    )
    return server
