// Publications that are not acknowledged yet, in the order in which the app made them (RT-9).

import { Pace } from "./pace.js";

/** One publication. `isOnTheWay`: this connection has sent it. */
export interface Entry {
  readonly channel: string;
  readonly data: unknown;
  readonly cid: string;
  readonly ack: string | null;
  isOnTheWay: boolean;
}

/** Bounded at `limit`: the newest is refused, so that what the app was promised keeps its order. */
export class Outbox {
  /** Channel → when to go on after a temporary refusal. */
  readonly heldUntilMs = new Map<string, number>();
  readonly pace = new Pace();
  /** When what is ready but too fast may go on. */
  pacedUntilMs: number | null = null;
  private readonly limit: number;
  private readonly window: number;
  private readonly inFlightLimit: number;
  /** Channel → cid → entry. */
  private readonly channels = new Map<string, Map<string, Entry>>();
  private inFlight = 0;
  size = 0;

  constructor(limit: number, window: number, inFlightLimit: number) {
    this.inFlightLimit = inFlightLimit;
    this.limit = limit;
    this.window = window;
  }

  /** Whether the next one would be refused. */
  get isFull(): boolean {
    return this.size >= this.limit;
  }

  /** Whether this one waits. */
  has(channel: string, cid: string): boolean {
    return this.channels.get(channel)?.has(cid) ?? false;
  }

  /** Puts one behind the others of its channel. */
  add(entry: Entry): void {
    const own = this.channels.get(entry.channel) ?? new Map<string, Entry>();
    this.channels.set(entry.channel, own.set(entry.cid, entry));
    this.size += 1;
  }

  /** It is acknowledged, or refused for good. */
  remove(entry: Entry): void {
    this.landed(entry);
    this.size -= 1;
    const own = this.channels.get(entry.channel);
    own?.delete(entry.cid);
    if (own?.size === 0) {
      this.channels.delete(entry.channel);
      this.heldUntilMs.delete(entry.channel);
    }
  }

  /** It was refused for now: it leaves again then, and nothing behind it before. */
  hold(entry: Entry, untilMs: number): void {
    this.landed(entry);
    this.heldUntilMs.set(entry.channel, Math.max(untilMs, this.heldUntilMs.get(entry.channel) ?? untilMs));
  }

  private landed(entry: Entry): void {
    if (entry.isOnTheWay) this.inFlight -= 1;
    entry.isOnTheWay = false;
  }

  /** The connection is gone: nothing is on the way, nothing is held back. */
  lost(): void {
    for (const own of this.channels.values()) for (const entry of own.values()) entry.isOnTheWay = false;
    this.inFlight = 0;
    this.pacedUntilMs = null;
    this.heldUntilMs.clear();
  }

  /** Lets everything go. */
  clear(): Entry[] {
    const entries = [...this.channels.values()].flatMap((own) => [...own.values()]);
    this.lost();
    this.channels.clear();
    this.size = 0;
    return entries;
  }

  /** What may be sent now, each marked as on the way: a channel's oldest, up to its window. */
  ready(nowMs: number): Entry[] {
    const found: Entry[] = [];
    this.pacedUntilMs = null;
    for (const [name, own] of this.channels) {
      const untilMs = this.heldUntilMs.get(name);
      if (untilMs !== undefined) {
        if (untilMs > nowMs) continue;
        this.heldUntilMs.delete(name);
      }
      let oldest = 0;
      for (const entry of own.values()) {
        if (++oldest > this.window || this.inFlight >= this.inFlightLimit) break;
        if (entry.isOnTheWay) continue;
        if (!this.pace.take(nowMs)) {
          this.pacedUntilMs = this.pace.nextMs;
          return found;
        }
        entry.isOnTheWay = true;
        this.inFlight += 1;
        found.push(entry);
      }
    }
    return found;
  }
}
