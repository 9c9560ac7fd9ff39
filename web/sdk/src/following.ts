// The channels that an app follows, over all connections (RT-2 to RT-4, RT-8).

import { Channel, InsufficientError } from "./channel.js";
import type { Frame } from "./effects.js";
import type { Options, Subscribing } from "./options.js";
import { nothing, refusalOf, whole, type Refusal, type Wire } from "./wire.js";

const ALREADY_SUBSCRIBED = 105;
const UNRECOVERABLE = 112;

export class Following {
  readonly channels = new Map<string, Channel>();
  private readonly wire: Wire;
  private readonly options: Options;
  /** By their number on the current connection. */
  private readonly numbers = new Map<number, Channel>();

  constructor(wire: Wire, options: Options) {
    this.wire = wire;
    this.options = options;
  }

  /** When a channel has to be subscribed again. */
  get deadlineMs(): number | null {
    let first: number | null = null;
    for (const { retryAtMs, behind } of this.channels.values()) {
      for (const time of [retryAtMs, behind?.untilMs ?? null]) {
        if (time !== null && (first === null || time < first)) first = time;
      }
    }
    return first;
  }

  /** Follows a channel over every connection, until `unsubscribe` or its `ended`. */
  subscribe(name: string, how: Subscribing, nowMs: number): Channel {
    const channel = new Channel(name, how);
    this.channels.set(name, channel);
    if (this.wire.isOnline) this.join(channel, nowMs);
    return channel;
  }

  /** Leaves a channel. */
  unsubscribe(name: string, nowMs: number): void {
    const channel = this.channels.get(name);
    if (channel === undefined) return;
    if (this.wire.isOnline && channel.phase !== "out") this.wire.ask("unsub", { ch: name }, nothing, nowMs);
    this.forget(channel);
  }

  private forget(channel: Channel): void {
    this.channels.delete(channel.name);
    if (channel.n !== null) this.numbers.delete(channel.n);
    channel.out();
  }

  /** `connect.subs`: everything, each from its position. */
  greet(): Frame {
    const subs: Frame = {};
    for (const channel of this.channels.values()) {
      channel.phase = "joining";
      subs[channel.name] = channel.request();
    }
    return subs;
  }

  /** The reply's `subs`. */
  welcomed(results: Record<string, Frame>, nowMs: number): void {
    for (const [name, result] of Object.entries(results)) {
      const isLeft = !this.channels.has(name) && result.err === undefined; // the session's, left meanwhile
      if (isLeft) this.wire.ask("unsub", { ch: name }, nothing, nowMs);
    }
    for (const channel of [...this.channels.values()]) {
      const result = results[channel.name];
      if (result === undefined || channel.phase === "out") this.join(channel, nowMs);
      else this.joined(channel, channel.turn, result, result.err === undefined ? null : refusalOf(result.err), nowMs);
    }
  }

  /** The connection is gone. */
  lost(): void {
    this.numbers.clear();
    for (const channel of this.channels.values()) channel.out();
  }

  /** No connection comes any more. */
  end(): void {
    this.lost();
    this.channels.clear();
  }

  /** A push of a channel; of one that we left it is nobody's. */
  push(frame: Frame, nowMs: number): void {
    const channel = this.numbers.get(frame.p);
    if (channel === undefined) return;
    try {
      this.wire.tell(...channel.push(frame));
    } catch (error) {
      if (!(error instanceof InsufficientError)) throw error;
      this.recover(channel, nowMs);
    }
    if (frame.unsub !== undefined) this.forget(channel);
  }

  /** The newest offset of each stream: what does not come soon is lost. */
  promised(tops: Record<string, number>, nowMs: number): void {
    for (const [number, top] of Object.entries(tops)) {
      this.numbers.get(Number(number))?.promised(whole(top), nowMs + this.options.topsMs);
    }
  }

  /** Subscribes again what is due. */
  tick(nowMs: number): void {
    for (const channel of [...this.channels.values()]) {
      if (channel.retryAtMs !== null && nowMs >= channel.retryAtMs) {
        if (channel.isDoubled) this.rejoin(channel, nowMs);
        else this.join(channel, nowMs);
      } else if (channel.isBehind(nowMs)) {
        this.recover(channel, nowMs);
      }
    }
  }

  /** Publications are missing: subscribes again, though not twice in a moment. */
  private recover(channel: Channel, nowMs: number): void {
    const lastMs = channel.rejoinedAtMs;
    channel.rejoinedAtMs = nowMs;
    if (lastMs === null || nowMs - lastMs >= this.options.retryMs) return this.rejoin(channel, nowMs);
    if (channel.n !== null) this.numbers.delete(channel.n);
    channel.out();
    channel.isDoubled = true;
    channel.retryAtMs = nowMs + this.options.retryMs;
  }

  /** Subscribes again from where we are: pushes of the old subscription are nobody's. */
  private rejoin(channel: Channel, nowMs: number): void {
    if (channel.n !== null) this.numbers.delete(channel.n);
    channel.out();
    this.wire.ask("unsub", { ch: channel.name }, nothing, nowMs);
    this.join(channel, nowMs);
  }

  private join(channel: Channel, nowMs: number): void {
    const turn = ++channel.turn;
    channel.phase = "joining";
    channel.retryAtMs = null;
    this.wire.ask("sub", { ch: channel.name, ...channel.request() },
      (result, refusal, at) => this.joined(channel, turn, result, refusal, at), nowMs);
  }

  private joined(channel: Channel, turn: number, result: any, refusal: Refusal | null, nowMs: number): void {
    if (this.channels.get(channel.name) !== channel || channel.turn !== turn) return;
    if (refusal === null) {
      if (channel.gather(result)) return this.join(channel, nowMs);
      this.wire.tell(...channel.adopt(result));
      this.numbers.set(result.n, channel);
      return;
    }
    const isStalePage = refusal.code === UNRECOVERABLE && channel.cursor !== null;
    if (refusal.temporary || refusal.code === ALREADY_SUBSCRIBED || isStalePage) {
      channel.out();
      channel.isDoubled = refusal.code === ALREADY_SUBSCRIBED;
      channel.retryAtMs = nowMs + (refusal.retryMs || this.options.retryMs);
    } else {
      this.forget(channel);
      this.wire.tell({ type: "ended", channel: channel.name, code: refusal.code, reason: refusal.reason });
    }
  }
}
