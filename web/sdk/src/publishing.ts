// Publications on their way to an acknowledgement (RT-9): in order, and again after a loss.

import type { Frame, Kind } from "./effects.js";
import type { Options } from "./options.js";
import { Outbox, type Entry } from "./outbox.js";
import { text, whole, type Settle, type Wire } from "./wire.js";

export class Publishing {
  isClosed = false;
  private readonly wire: Wire;
  private readonly retryMs: number;
  private readonly box: Outbox;

  constructor(wire: Wire, options: Options) {
    this.wire = wire;
    this.retryMs = options.retryMs;
    this.box = new Outbox(options.queueLimit, options.window, options.inFlightLimit);
  }

  /** Publications not yet acknowledged. */
  get size(): number {
    return this.box.size;
  }

  /** When something goes on that was refused for now, or is too fast. */
  get deadlineMs(): number | null {
    const times = [...this.box.heldUntilMs.values(), this.box.pacedUntilMs].filter((time) => time !== null);
    return times.length > 0 ? Math.min(...times) : null;
  }

  /** Without a connection it waits. With ack `none` it leaves now or never, untold. */
  publish(channel: string, data: unknown, cid: string, ack: string | null, nowMs: number): void {
    let kind: Kind | null = null;
    if (this.isClosed) kind = "closed";
    else if (ack === "none") kind = this.wire.isOnline ? null : "offline";
    else if (this.box.has(channel, cid)) kind = "duplicate";
    else if (this.box.isFull) kind = "full";
    if (kind !== null) {
      this.wire.tell({ type: "unpublished", cid, channel, kind, code: null, reason: null });
    } else if (ack === "none") {
      this.wire.tell({ type: "send", frame: { pub: { ch: channel, d: data, cid, ack } } });
    } else {
      this.box.add({ channel, data, cid, ack, isOnTheWay: false });
      this.pump(nowMs);
    }
  }

  /** A connection that takes so many a second: what waits leaves. */
  welcomed(perS: number | null, nowMs: number): void {
    this.box.pace.begin(perS, nowMs);
    this.pump(nowMs);
  }

  /** Sends what may leave. */
  pump(nowMs: number): void {
    if (!this.wire.isOnline) return;
    for (const entry of this.box.ready(nowMs)) {
      const body: Frame = { ch: entry.channel, d: entry.data, cid: entry.cid };
      if (entry.ack !== null) body.ack = entry.ack;
      this.wire.ask("pub", body, this.landing(entry), nowMs);
    }
  }

  private landing(entry: Entry): Settle {
    const { cid, channel } = entry;
    return (result, refusal, nowMs) => {
      if (refusal?.temporary) {
        this.box.hold(entry, nowMs + (refusal.retryMs || this.retryMs));
      } else if (refusal !== null) {
        this.box.remove(entry);
        this.wire.tell({ type: "unpublished", cid, channel, kind: "refused", code: refusal.code, reason: refusal.reason });
      } else {
        const [offset, timeMs, id] = [whole(result.o), whole(result.t), text(result.i)];
        this.box.remove(entry);
        this.wire.tell({ type: "published", cid, channel, offset, timeMs, id, duplicate: Boolean(result.dup) });
      }
      this.pump(nowMs);
    };
  }

  /** The connection is gone; everything unacknowledged leaves again with the next. */
  lost(): void {
    this.box.lost();
  }

  /** No connection comes any more. */
  end(): void {
    this.isClosed = true;
    for (const { cid, channel } of this.box.clear()) {
      this.wire.tell({ type: "unpublished", cid, channel, kind: "closed", code: null, reason: null });
    }
  }
}
