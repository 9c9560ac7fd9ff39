// The protocol of one client without any I/O: what happened goes in with its time, effects and events come out.
// The same core stands in every SDK of ours, and the vectors beside it (sdk/vectors) drive them all.

import type { Frame, Kind, Output } from "./effects.js";
import { Following } from "./following.js";
import type { Options } from "./options.js";
import { Publishing } from "./publishing.js";
import { refusalOf, text, Wire, type Refusal } from "./wire.js";

const CLEAN = 1000;
/** Our own code for a connection that we distrust: the engine keeps the session for the resume. */
const UNCLEAN = 4000;
const LOST = 1006;
const EXPIRED_CODES = [109, 3005];
/** Of the token's remaining time. */
const RENEW_AT = 0.8;
const RENEW_AGAIN_MS = 5_000;
const RENEW_LEAST_MS = 1_000;

export type Stage = "idle" | "dialing" | "greeting" | "online" | "waiting" | "stopped";

/**
 * One client. `chance` answers numbers from 0 to 1. After each call, `drain` what it has to say, and call `tick` at
 * `deadlineMs`. Times are milliseconds of a clock that never goes back.
 */
export class Core {
  stage: Stage = "idle";
  readonly following: Following;
  readonly publishing: Publishing;
  private readonly options: Options;
  private readonly chance: () => number;
  private readonly wire: Wire;
  private resume: { sid: string; key: string } | null = null;
  private fix: Frame | null = null;
  private attempt = 0;
  private fresh = false;
  private bye: Frame | null = null;
  private to: string | null = null;
  private onlineSinceMs = 0;
  private silenceMs = 0;
  private dialUntilMs: number | null = null;
  private heardByMs: number | null = null;
  private renewAtMs: number | null = null;
  private retryAtMs: number | null = null;

  constructor(options: Options, chance: () => number) {
    this.options = options;
    this.chance = chance;
    this.wire = new Wire(options.commandMs);
    this.following = new Following(this.wire, options);
    this.publishing = new Publishing(this.wire, options);
  }

  /** What came of the calls since the last drain, in order. */
  drain(): Output[] {
    return this.wire.drain();
  }

  /** When `tick` has something to do. */
  get deadlineMs(): number | null {
    const times = [
      this.dialUntilMs, this.heardByMs, this.renewAtMs, this.retryAtMs,
      this.wire.deadlineMs, this.following.deadlineMs, this.publishing.deadlineMs,
    ].filter((time) => time !== null);
    return times.length > 0 ? Math.min(...times) : null;
  }

  // -- the connection ---------------------------------------------------------------------------------------------

  private get isConnected(): boolean {
    return this.stage === "greeting" || this.stage === "online";
  }

  /** Connects, and stays connected until `stop`. While an attempt waits, it comes now. */
  start(nowMs: number): void {
    if (this.stage === "idle" || this.stage === "stopped" || this.stage === "waiting") {
      this.publishing.isClosed = false;
      this.dial(nowMs);
    }
  }

  /** Says goodbye. What is not acknowledged fails. */
  stop(): void {
    if (this.stage === "stopped") return;
    if (this.stage === "dialing" || this.isConnected) this.wire.tell({ type: "hangUp", code: CLEAN });
    this.end(CLEAN, "closed");
  }

  /** The socket is open. */
  opened(token: string, nowMs: number): void {
    if (this.stage !== "dialing") return;
    this.stage = "greeting";
    this.dialUntilMs = null;
    this.fresh = false;
    const body: Frame = { token, device: this.options.device, sdk: this.options.sdk };
    if (this.resume !== null) body.resume = this.resume;
    body.subs = this.following.greet();
    this.wire.ask("connect", body, (result, refusal, at) => this.welcomed(result, refusal, at), nowMs);
  }

  /** No token, or no socket; `final` if there will never be one. */
  failed(reason: string, nowMs: number, final = false): void {
    if (this.stage !== "dialing") return;
    if (final) this.end(0, reason);
    else this.lose(LOST, reason, nowMs);
  }

  /** The socket is gone; `code` of its close frame. */
  closed(code: number | null, reason: string, nowMs: number): void {
    if (this.stage !== "dialing" && !this.isConnected) return;
    const bye = this.bye ?? {};
    this.lose(bye.code || code || LOST, bye.reason || reason, nowMs, bye.retry_ms || 0);
  }

  private dial(nowMs: number): void {
    this.stage = "dialing";
    this.retryAtMs = null;
    this.dialUntilMs = nowMs + this.options.dialMs;
    const to = this.to;
    this.to = null;
    this.wire.tell({ type: "connecting" }, { type: "dial", fresh: this.fresh, to });
  }

  /** Leaves a connection that is not to be trusted. */
  private drop(reason: string, nowMs: number, retryMs = 0): void {
    this.wire.tell({ type: "hangUp", code: UNCLEAN });
    this.lose(LOST, reason, nowMs, retryMs);
  }

  private lose(code: number, reason: string, nowMs: number, retryMs = 0): void {
    if (code >= 3500 && code < 4000) return this.end(code, reason);
    this.fresh ||= EXPIRED_CODES.includes(code);
    if (this.stage === "online" && nowMs - this.onlineSinceMs >= this.options.stableMs) this.attempt = 0;
    this.forget("lost");
    const { backoffFirstMs, backoffLastMs } = this.options;
    const ceilingMs = Math.min(backoffLastMs, backoffFirstMs * 2 ** Math.min(this.attempt, 30));
    const delayMs = retryMs + Math.floor(this.chance() * ceilingMs);
    this.attempt += 1;
    this.stage = "waiting";
    this.retryAtMs = nowMs + delayMs;
    this.wire.tell({ type: "waiting", delayMs, code, reason });
  }

  private end(code: number, reason: string): void {
    this.forget("closed");
    this.stage = "stopped";
    this.resume = this.retryAtMs = null;
    this.attempt = 0;
    this.following.end();
    this.publishing.end();
    this.wire.tell({ type: "stopped", code, reason });
  }

  /** Lets go of all that belongs to one connection. */
  private forget(kind: Kind): void {
    this.bye = this.dialUntilMs = this.heardByMs = this.renewAtMs = null;
    this.following.lost();
    this.publishing.lost();
    for (const ref of this.wire.lost()) {
      this.wire.tell({ type: "failed", ref, kind, code: null, reason: null, temporary: kind === "lost", retryMs: null });
    }
  }

  private welcomed(result: any, refusal: Refusal | null, nowMs: number): void {
    if (refusal !== null) return this.unwelcome(refusal, nowMs);
    const session = text(result.sid);
    this.stage = "online";
    this.wire.isOnline = true;
    this.onlineSinceMs = nowMs;
    this.resume = { sid: session, key: text(result.key) };
    this.silenceMs = Math.floor(1000 * (result.ping + result.pong));
    this.heardByMs = nowMs + this.silenceMs;
    this.renewIn(result.exp, nowMs);
    this.wire.tell({ type: "online", user: text(result.user), session, resumed: Boolean(result.resumed) });
    this.following.welcomed(result.subs ?? {}, nowMs);
    if (this.fix !== null) this.wire.tell({ type: "send", frame: this.fix });
    this.publishing.welcomed(result.limits?.pub_per_s ?? null, nowMs);
  }

  private unwelcome(refusal: Refusal, nowMs: number): void {
    if (EXPIRED_CODES.includes(refusal.code)) {
      this.fresh = true;
    } else if (!refusal.temporary) {
      this.wire.tell({ type: "hangUp", code: CLEAN });
      return this.end(refusal.code, refusal.reason);
    }
    this.drop(refusal.reason, nowMs, refusal.retryMs ?? 0);
  }

  // -- what arrives -------------------------------------------------------------------------------------------------

  /** The frames of a message. */
  received(frames: readonly any[], nowMs: number): void {
    try {
      for (const frame of frames) {
        if (!this.isConnected) return;
        if (this.heardByMs !== null) this.heardByMs = nowMs + this.silenceMs;
        this.frame(frame, nowMs);
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.drop(`a frame that makes no sense: ${error.message}`, nowMs);
    }
  }

  private frame(frame: Frame, nowMs: number): void {
    if (Object.keys(frame).length === 0) this.wire.tell({ type: "send", frame: {} });
    else if (frame.id !== undefined) this.wire.answered(frame, nowMs);
    else if (frame.p !== undefined) this.following.push(frame, nowMs);
    else if (frame.tops !== undefined) this.following.promised(frame.tops, nowMs);
    else if (frame.bye !== undefined) {
      this.bye = frame.bye;
      this.to = frame.bye.to ?? null;
    } else if (frame.err !== undefined) {
      const { code, reason } = refusalOf(frame.err);
      this.wire.tell({ type: "warned", code, reason });
    }
  }

  // -- what the app sends -------------------------------------------------------------------------------------------

  /** Any other command, such as `hist`: answered, or failed with the connection; never repeated. */
  command(ref: number, verb: string, body: unknown, nowMs: number): void {
    if (this.stage !== "online") {
      const isEnded = this.stage === "stopped";
      const kind = isEnded ? "closed" : "offline";
      this.wire.tell({ type: "failed", ref, kind, code: null, reason: null, temporary: !isEnded, retryMs: null });
      return;
    }
    this.wire.ask(verb, body, (result, refusal) => {
      if (refusal === null) this.wire.tell({ type: "replied", ref, result });
      else this.wire.tell({ type: "failed", ref, kind: "refused", ...refusal });
    }, nowMs, ref);
  }

  /** Where this device is; answered with `ref`. The last fix is told again after every reconnect. */
  position(fix: readonly unknown[], ref: number | null, nowMs: number): void {
    this.fix = { pos: fix };
    if (ref !== null) this.command(ref, "pos", fix, nowMs);
    else if (this.stage === "online") this.wire.tell({ type: "send", frame: this.fix });
  }

  /** Tells whoever is in a channel right now; false if it was dropped. */
  ephemeral(name: string, data: unknown): boolean {
    const n = this.following.channels.get(name)?.n ?? null;
    if (n === null) return false;
    this.wire.tell({ type: "send", frame: { e: n, d: data } });
    return true;
  }

  // -- the token ----------------------------------------------------------------------------------------------------

  /** A new token for this connection; null if there is none now (`final`: nor later). */
  renewed(token: string | null, nowMs: number, final = false): void {
    if (this.stage !== "online") return;
    if (token === null) {
      this.renewAtMs = final ? null : nowMs + RENEW_AGAIN_MS;
      return;
    }
    this.renewAtMs = null;
    this.wire.ask("refresh", { token }, (result, refusal, at) => {
      if (refusal === null) return this.renewIn(result.exp, at);
      this.wire.tell({ type: "warned", code: refusal.code, reason: refusal.reason });
      this.renewAtMs = at + RENEW_AGAIN_MS;
    }, nowMs);
  }

  private renewIn(leftS: number | null | undefined, nowMs: number): void {
    this.renewAtMs = leftS == null ? null : nowMs + Math.max(Math.floor(leftS * 1000 * RENEW_AT), RENEW_LEAST_MS);
  }

  // -- time -----------------------------------------------------------------------------------------------------------

  /** Does what is due. */
  tick(nowMs: number): void {
    const isDue = (timeMs: number | null) => timeMs !== null && nowMs >= timeMs;
    if (isDue(this.dialUntilMs)) this.drop("no socket in time", nowMs);
    else if (isDue(this.wire.deadlineMs)) this.drop("a command was not answered in time", nowMs);
    else if (isDue(this.heardByMs)) this.drop("the engine is silent", nowMs);
    else if (isDue(this.retryAtMs)) this.dial(nowMs);
    if (this.stage !== "online") return;
    if (isDue(this.renewAtMs)) {
      this.renewAtMs = null;
      this.wire.tell({ type: "renew" });
    }
    this.following.tick(nowMs);
    this.publishing.pump(nowMs);
  }
}
