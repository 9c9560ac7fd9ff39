"""The protocol of one client without any I/O: what happened goes in with its time, effects and events come
out.

The same core stands in every SDK of ours, and the vectors beside it (sdk/vectors) drive them all.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

from hereabouts_client.commands import Refusal, Wire
from hereabouts_client.effects import Dial, Failed, Frame, HangUp, Kind, Output, Renew, Replied, Send
from hereabouts_client.events import Connecting, Online, Stopped, Waiting, Warned
from hereabouts_client.following import Following
from hereabouts_client.options import Options
from hereabouts_client.publishing import Publishing

CLEAN = 1000
UNCLEAN = 4000
"""Our own code for a connection that we distrust: the engine keeps the session for the resume."""
LOST = 1006
EXPIRED_CODES = (109, 3005)
STOP_CODES = range(3500, 4000)
RENEW_AT = 0.8
"""Of the token's remaining time."""
RENEW_AGAIN_MS = 5_000
RENEW_LEAST_MS = 1_000


class Stage(Enum):
    """The life of a client."""

    IDLE = "idle"
    DIALING = "dialing"
    GREETING = "greeting"
    ONLINE = "online"
    WAITING = "waiting"
    STOPPED = "stopped"


CONNECTED = (Stage.GREETING, Stage.ONLINE)


class Core:
    """One client. `chance` answers numbers from 0 to 1. After each call, `drain` what it has to say, and call
    `tick` at `deadline_ms`. Times are milliseconds of a clock that never goes back.
    """

    def __init__(self, options: Options, chance: Callable[[], float]) -> None:
        self.stage = Stage.IDLE
        self._options = options
        self._chance = chance
        self._wire = Wire(options.command_ms)
        self.following = Following(self._wire, options)
        self.publishing = Publishing(self._wire, options)
        self._resume: dict[str, str] | None = None
        self._fix: Frame | None = None
        self._attempt = 0
        self._fresh = False
        self._bye: Frame | None = None
        self._to: str | None = None
        self._online_since_ms = 0
        self._silence_ms = 0
        self._dial_until_ms: int | None = None
        self._heard_by_ms: int | None = None
        self._renew_at_ms: int | None = None
        self._retry_at_ms: int | None = None

    def drain(self) -> list[Output]:
        """What came of the calls since the last drain, in order."""
        return self._wire.drain()

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` has something to do."""
        times = (
            self._dial_until_ms, self._heard_by_ms, self._renew_at_ms, self._retry_at_ms,
            self._wire.deadline_ms, self.following.deadline_ms, self.publishing.deadline_ms,
        )  # fmt: skip
        return min((time for time in times if time is not None), default=None)

    # -- the connection -----------------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        """Connects, and stays connected until `stop`. While an attempt waits, it comes now."""
        if self.stage in {Stage.IDLE, Stage.STOPPED, Stage.WAITING}:
            self.publishing.is_closed = False
            self._dial(now_ms)

    def stop(self) -> None:
        """Says goodbye. What is not acknowledged fails."""
        if self.stage is not Stage.STOPPED:
            if self.stage in {Stage.DIALING, *CONNECTED}:
                self._wire.tell(HangUp(CLEAN))
            self._end(CLEAN, "closed")

    def opened(self, token: str, now_ms: int) -> None:
        """The socket is open."""
        if self.stage is not Stage.DIALING:
            return
        self.stage, self._dial_until_ms, self._fresh = Stage.GREETING, None, False
        body: Frame = {"token": token, "device": self._options.device, "sdk": self._options.sdk}
        if self._resume is not None:
            body["resume"] = self._resume
        body["subs"] = self.following.greet()
        self._wire.ask("connect", body, self._welcomed, now_ms)

    def failed(self, reason: str, now_ms: int, *, final: bool = False) -> None:
        """No token, or no socket; `final` if there will never be one."""
        if self.stage is Stage.DIALING:
            if final:
                self._end(0, reason)
            else:
                self._lose(LOST, reason, now_ms)

    def closed(self, code: int | None, reason: str, now_ms: int) -> None:
        """The socket is gone; `code` of its close frame."""
        if self.stage in {Stage.DIALING, *CONNECTED}:
            bye = self._bye or {}
            code = bye.get("code") or code or LOST
            self._lose(code, bye.get("reason") or reason, now_ms, bye.get("retry_ms") or 0)

    def _dial(self, now_ms: int) -> None:
        self.stage, self._retry_at_ms = Stage.DIALING, None
        self._dial_until_ms = now_ms + self._options.dial_ms
        to, self._to = self._to, None
        self._wire.tell(Connecting(), Dial(self._fresh, to))

    def _drop(self, reason: str, now_ms: int, retry_ms: int = 0) -> None:
        """Leaves a connection that is not to be trusted."""
        self._wire.tell(HangUp(UNCLEAN))
        self._lose(LOST, reason, now_ms, retry_ms)

    def _lose(self, code: int, reason: str, now_ms: int, retry_ms: int = 0) -> None:
        if code in STOP_CODES:
            self._end(code, reason)
            return
        self._fresh = self._fresh or code in EXPIRED_CODES
        if self.stage is Stage.ONLINE and now_ms - self._online_since_ms >= self._options.stable_ms:
            self._attempt = 0
        self._forget("lost")
        first_ms, last_ms = self._options.backoff_first_ms, self._options.backoff_last_ms
        ceiling_ms = min(last_ms, first_ms * 2 ** min(self._attempt, 30))
        delay_ms = retry_ms + int(self._chance() * ceiling_ms)
        self._attempt += 1
        self.stage, self._retry_at_ms = Stage.WAITING, now_ms + delay_ms
        self._wire.tell(Waiting(delay_ms, code, reason))

    def _end(self, code: int, reason: str) -> None:
        self._forget("closed")
        self.stage, self._resume, self._retry_at_ms, self._attempt = Stage.STOPPED, None, None, 0
        self.following.end()
        self.publishing.end()
        self._wire.tell(Stopped(code, reason))

    def _forget(self, kind: Kind) -> None:
        """Lets go of all that belongs to one connection."""
        self._bye = self._dial_until_ms = self._heard_by_ms = self._renew_at_ms = None
        self.following.lost()
        self.publishing.lost()
        self._wire.tell(*(Failed(ref, kind, temporary=kind == "lost") for ref in self._wire.lost()))

    def _welcomed(self, result: Any, refusal: Refusal | None, now_ms: int) -> None:
        if refusal is not None:
            self._unwelcome(refusal, now_ms)
            return
        self.stage, self._online_since_ms, self._wire.is_online = Stage.ONLINE, now_ms, True
        self._resume = {"sid": result["sid"], "key": result["key"]}
        self._silence_ms = int(1000 * (result["ping"] + result["pong"]))
        self._heard_by_ms = now_ms + self._silence_ms
        self._renew_in(result.get("exp"), now_ms)
        self._wire.tell(Online(result["user"], result["sid"], bool(result["resumed"])))
        self.following.welcomed(result.get("subs") or {}, now_ms)
        if self._fix is not None:
            self._wire.tell(Send(self._fix))
        self.publishing.welcomed((result.get("limits") or {}).get("pub_per_s"), now_ms)

    def _unwelcome(self, refusal: Refusal, now_ms: int) -> None:
        if refusal.code in EXPIRED_CODES:
            self._fresh = True
        elif not refusal.temporary:
            self._wire.tell(HangUp(CLEAN))
            self._end(refusal.code, refusal.reason)
            return
        self._drop(refusal.reason, now_ms, refusal.retry_ms or 0)

    # -- what arrives -------------------------------------------------------------------------------------

    def received(self, frames: list[Any], now_ms: int) -> None:
        """The frames of a message."""
        try:
            for frame in frames:
                if self.stage not in CONNECTED:
                    return
                if self._heard_by_ms is not None:
                    self._heard_by_ms = now_ms + self._silence_ms
                self._frame(frame, now_ms)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as wrong:
            self._drop(f"a frame that makes no sense: {wrong!r}", now_ms)

    def _frame(self, frame: Frame, now_ms: int) -> None:
        if not frame:
            self._wire.tell(Send({}))
        elif "id" in frame:
            self._wire.answered(frame, now_ms)
        elif "p" in frame:
            self.following.push(frame, now_ms)
        elif "tops" in frame:
            self.following.promised(frame["tops"], now_ms)
        elif "bye" in frame:
            self._bye, self._to = frame["bye"], frame["bye"].get("to")
        elif "err" in frame:
            self._wire.tell(Warned(frame["err"]["code"], frame["err"].get("msg") or ""))

    # -- what the app sends -------------------------------------------------------------------------------

    def command(self, ref: int, verb: str, body: Any, now_ms: int) -> None:
        """Any other command, such as `hist`: answered, or failed with the connection; never repeated."""
        if self.stage is not Stage.ONLINE:
            ended = self.stage is Stage.STOPPED
            self._wire.tell(Failed(ref, "closed" if ended else "offline", temporary=not ended))
            return

        def settle(result: Any, refusal: Refusal | None, _: int) -> None:
            if refusal is None:
                self._wire.tell(Replied(ref, result))
            else:
                code, reason, temporary = refusal.code, refusal.reason, refusal.temporary
                self._wire.tell(Failed(ref, "refused", code, reason, temporary, refusal.retry_ms))

        self._wire.ask(verb, body, settle, now_ms, ref)

    def position(self, fix: list[Any], ref: int | None, now_ms: int) -> None:
        """Where this device is; answered with `ref`. The last fix is told again after every reconnect."""
        self._fix = {"pos": fix}
        if ref is not None:
            self.command(ref, "pos", fix, now_ms)
        elif self.stage is Stage.ONLINE:
            self._wire.tell(Send(self._fix))

    def ephemeral(self, name: str, data: Any) -> bool:
        """Tells whoever is in a channel right now; False if it was dropped."""
        channel = self.following.channels.get(name)
        if channel is None or channel.n is None:
            return False
        self._wire.tell(Send({"e": channel.n, "d": data}))
        return True

    # -- the token ----------------------------------------------------------------------------------------

    def renewed(self, token: str | None, now_ms: int, *, final: bool = False) -> None:
        """A new token for this connection; None if there is none now (`final`: nor later)."""
        if self.stage is not Stage.ONLINE:
            return
        if token is None:
            self._renew_at_ms = None if final else now_ms + RENEW_AGAIN_MS
            return

        def settle(result: Any, refusal: Refusal | None, now_ms: int) -> None:
            if refusal is None:
                self._renew_in(result.get("exp"), now_ms)
            else:
                self._wire.tell(Warned(refusal.code, refusal.reason))
                self._renew_at_ms = now_ms + RENEW_AGAIN_MS

        self._renew_at_ms = None
        self._wire.ask("refresh", {"token": token}, settle, now_ms)

    def _renew_in(self, left_s: float | None, now_ms: int) -> None:
        wait_ms = None if left_s is None else max(int(left_s * 1000 * RENEW_AT), RENEW_LEAST_MS)
        self._renew_at_ms = None if wait_ms is None else now_ms + wait_ms

    # -- time ---------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Does what is due."""
        if _due(self._dial_until_ms, now_ms):
            self._drop("no socket in time", now_ms)
        elif _due(self._wire.deadline_ms, now_ms):
            self._drop("a command was not answered in time", now_ms)
        elif _due(self._heard_by_ms, now_ms):
            self._drop("the engine is silent", now_ms)
        elif _due(self._retry_at_ms, now_ms):
            self._dial(now_ms)
        if self.stage is Stage.ONLINE:
            if _due(self._renew_at_ms, now_ms):
                self._renew_at_ms = None
                self._wire.tell(Renew())
            self.following.tick(now_ms)
            self.publishing.pump(now_ms)


def _due(time_ms: int | None, now_ms: int) -> bool:
    return time_ms is not None and now_ms >= time_ms
