"""The gateway's own WebSocket listener, on picows (decision D4): the fast one."""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from typing import cast

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from serve_app.connection import Transport
from serve_app.frames import HEADROOM, MESSAGE_LIMIT_BYTES, Codec, chosen_codec
from serve_app.origins import origin_allowed
from serve_app.session import Session

log = logging.getLogger("hereabouts.picows")

PATH = "/rt"

FRAME_LIMIT_BYTES = 4 * MESSAGE_LIMIT_BYTES
"""A message between this and the protocol's limit is answered (107); a longer one ends the socket (1009)."""

READ_BUFFER_BYTES = 1024
BACKLOG = 1024

CLOSE_GRACE_S = 2.0
"""How long the peer has to answer a close frame."""

CLOSE_GRACE_SLOW_S = 15.0
"""As CLOSE_GRACE_S, for a peer that has not taken yet what stands before it."""

_LOOK_S = 0.05

OpenSession = Callable[[Transport, Codec], Session]

_PROTOCOL_ERROR, _TOO_BIG, _INTERNAL_ERROR = 1002, 1009, 1011
_NO_STATUS = 1005


class _Socket(WSListener):
    """One WebSocket: a session's transport, and what picows calls."""

    open_count = 0
    """Sockets of this process that are not gone yet, those that are closing included."""

    def __init__(self, codec: Codec, open_session: OpenSession) -> None:
        self._codec = codec
        self._open_session = open_session
        self._kind = WSMsgType.BINARY if codec.packed else WSMsgType.TEXT
        self._parts: bytearray | None = None
        self._parts_are_text = False
        self._is_closing = False
        self._is_paused = False
        self._close_code: int | None = None
        self._ws: WSTransport
        self._session: Session

    # -- what picows calls ------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport
        _Socket.open_count += 1
        # With no room in the transport's own buffer, `pause_writing` says at once when the kernel is full.
        transport.underlying_transport.set_write_buffer_limits(high=0)
        self._session = self._open_session(self, self._codec)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            self._received(transport, frame)
        except Exception:
            log.exception("a frame was not handled")
            self.close(_INTERNAL_ERROR, "")

    def _received(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            if self._close_code is None:
                self._close_code = int.from_bytes(frame.get_payload_as_bytes()[:2]) or _NO_STATUS
            if not transport.is_close_frame_sent:
                transport.send_close(_any_code(self._close_code if self._close_code != _NO_STATUS else 1000))
            transport.disconnect()
        elif self._is_closing:
            return
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._violated("reserved bits are set")
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            if self._parts is not None:
                self._violated("a message began inside another")
            elif frame.fin:
                self._session.received(frame.get_payload_as_bytes(), is_text=kind == WSMsgType.TEXT)
            else:
                self._parts, self._parts_are_text = (
                    bytearray(frame.get_payload_as_bytes()),
                    kind == WSMsgType.TEXT,
                )
        elif kind == WSMsgType.CONTINUATION:
            self._continued(frame)

    def _continued(self, frame: WSFrame) -> None:
        if self._parts is None:
            self._violated("nothing to continue")
            return
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > FRAME_LIMIT_BYTES:
            self._parts = None
            self.close(_TOO_BIG, "message too big")
            self._session.closed(_TOO_BIG)
        elif frame.fin:
            payload, self._parts = bytes(self._parts), None
            self._session.received(payload, is_text=self._parts_are_text)

    def _violated(self, reason: str) -> None:
        self.close(_PROTOCOL_ERROR, reason)
        self._session.closed(_PROTOCOL_ERROR)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        _Socket.open_count -= 1
        self._session.closed(self._close_code)

    def pause_writing(self) -> None:
        self._is_paused = True
        self._session.paused()

    def resume_writing(self) -> None:
        self._is_paused = False
        self._session.resumed()

    # -- what a session calls -----------------------------------------------------------------------------

    def send(self, message: bytearray) -> None:
        self._ws.send_reuse_external_bytearray(self._kind, message, HEADROOM)

    def close(self, code: int, reason: str) -> None:
        if not self._is_closing:
            self._is_closing = True
            # Not closed at once: input that nobody reads would make the kernel reset the connection, and
            # the peer would lose the close frame.
            self._ws.send_close(_any_code(code), reason.encode()[:120])
            grace_s = CLOSE_GRACE_SLOW_S if self._is_paused else CLOSE_GRACE_S
            asyncio.get_running_loop().call_later(grace_s, self._ws.disconnect, False)

    def abort(self) -> None:
        self._is_closing = True
        self._ws.disconnect(graceful=False)


async def all_gone(limit_s: float) -> None:
    """Back when every socket of this process is gone, or after `limit_s`: a process that ended with what it
    sent still on its way would take the close frames along.
    """
    for _ in range(int(limit_s / _LOOK_S)):
        if not _Socket.open_count:
            return
        await asyncio.sleep(_LOOK_S)


def _any_code(code: int) -> WSCloseCode:
    """Picows names the codes of RFC 6455 and sends any number."""
    return cast(WSCloseCode, code)


async def listen(
    host: str, port: int, *, allowed_origins: Collection[str], open_session: OpenSession
) -> asyncio.AbstractServer:
    """Accepts WebSockets at ws://host:port/rt. Several processes may listen on the same port."""

    def upgrade(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener | None:
        headers = request.headers
        if request.path.partition(b"?")[0] != PATH.encode():
            return None
        if not origin_allowed(headers.get("origin"), headers.get("host"), allowed_origins):
            response = WSUpgradeResponse.create_error_response(403, b"this origin is not allowed here")
            return WSUpgradeResponseWithListener(response, None)
        # RFC 6455 §4.2.1: a list that contains the token; Firefox sends "keep-alive, Upgrade".
        if "upgrade" in _listed(headers.getall("connection", ())):
            headers["connection"] = "Upgrade"
        codec, subprotocol = chosen_codec(_listed(headers.getall("sec-websocket-protocol", ())))
        chosen = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else None
        response = WSUpgradeResponse.create_101_response(chosen)
        return WSUpgradeResponseWithListener(response, _Socket(codec, open_session))

    server: asyncio.AbstractServer = await ws_create_server(
        upgrade,
        sock=_bound(host, port),
        max_frame_size=FRAME_LIMIT_BYTES,
        read_buffer_init_size=READ_BUFFER_BYTES,
        # An adapter, not a logger: picows makes one logger per socket of a logger.
        logger_name=logging.LoggerAdapter(_quiet_logger()),
        backlog=BACKLOG,
    )
    return server


def _listed(values: Collection[str]) -> list[str]:
    """The members of comma-separated header values, in lower case."""
    return [item.strip().lower() for value in values for item in value.split(",")]


def _bound(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener


def _quiet_logger() -> logging.Logger:
    """Picows reports what clients do wrong it as errors of the server."""
    quiet = logging.getLogger("hereabouts.picows.sockets")
    quiet.setLevel(logging.CRITICAL)
    return quiet
