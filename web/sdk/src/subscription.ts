// A channel as the app holds it: its events in order, and a live view of what it shows.

import type { Channel } from "./channel.js";
import type { Client, PublishOptions } from "./client.js";
import type { Published } from "./effects.js";
import { ClosedError, RefusedError, type HereaboutsError } from "./errors.js";
import type { ChannelEvent, Meta, Position } from "./events.js";
import { after } from "./platform.js";

/**
 * The app read too slowly: `dropped` events were let go. Of a stream, they lay after `since` up to `offset`:
 * `Client.missed` pages them. A map's or presence's view is right all the same.
 */
export type Lagged = {
  readonly type: "lagged"; readonly channel: string; readonly dropped: number;
  readonly since: Position | null; readonly offset: number | null;
};

type Listener = (event: any) => void;

export class Subscription {
  readonly name: string;
  private readonly client: Client;
  private readonly channel: Channel;
  private readonly listeners = new Map<string, Set<Listener>>();
  private readonly readers = new Set<Reader>();
  private readonly waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  private end: HereaboutsError | null = null;
  private wasLive = false;

  constructor(client: Client, channel: Channel) {
    this.name = channel.name;
    this.client = client;
    this.channel = channel;
  }

  // -- what it shows ----------------------------------------------------------------------------------------------

  /** Whether pushes arrive now. */
  get isLive(): boolean {
    return this.channel.phase === "in";
  }

  /** Where we are; keep it to continue from there in another run (`since`). */
  get position(): Position | null {
    return this.channel.position;
  }

  /** A map's rows: key → data, as of now. */
  get rows(): ReadonlyMap<string, any> {
    return this.channel.rows;
  }

  /** Who is present: ref → meta, as of now. */
  get metas(): ReadonlyMap<string, Meta> {
    return this.channel.metas;
  }

  /** How many subscriptions are present: of a large room, more than `metas` holds. */
  get count(): number {
    const { sample, metas } = this.channel;
    return sample?.sampled ? sample.count : metas.size;
  }

  /** Who is present, each once. */
  get users(): ReadonlySet<string> {
    return new Set([...this.channel.metas.values()].map(({ u }) => u));
  }

  /** Resolves when pushes arrive. Rejects with RefusedError if the engine refuses, ClosedError at the end. */
  async live(): Promise<this> {
    if (this.end !== null) throw this.end;
    if (!this.wasLive) await new Promise<void>((resolve, reject) => this.waiting.push({ resolve, reject }));
    return this;
  }

  /** Calls `listener` with each event of a type, or with every event (`"*"`). Returns what takes it away again. */
  on<T extends ChannelEvent["type"]>(type: T, listener: (event: Extract<ChannelEvent, { type: T }>) => void): () => void;
  on(type: "*", listener: (event: ChannelEvent) => void): () => void;
  on(type: string, listener: Listener): () => void {
    const known = this.listeners.get(type) ?? new Set<Listener>();
    this.listeners.set(type, known.add(listener));
    return () => void known.delete(listener);
  }

  /**
   * The events from now on, until `ended` or the client's end. Those that the app does not take wait, at most
   * `buffer`; then all that wait are let go and a `lagged` stands in their place.
   */
  events(buffer = 10_000): AsyncIterableIterator<ChannelEvent | Lagged> {
    const reader = new Reader(this.channel, buffer, () => this.readers.delete(reader));
    if (this.end === null) this.readers.add(reader);
    else reader.finish();
    return reader;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<ChannelEvent | Lagged> {
    return this.events();
  }

  // -- what the app does --------------------------------------------------------------------------------------------

  /** See `Client.publish`. */
  publish(data: unknown, options: PublishOptions = {}): Promise<Published | null> {
    return this.client.publish(this.name, data, options);
  }

  /** See `Client.ephemeral`. */
  ephemeral(data: unknown): boolean {
    return this.client.ephemeral(this.name, data);
  }

  /** Leaves the channel. */
  close(): void {
    this.client.unsubscribe(this);
  }

  // -- from the client ----------------------------------------------------------------------------------------------

  /** One more event. @internal */
  take(event: ChannelEvent): void {
    if (event.type === "subscribed") {
      this.wasLive = true;
      for (const { resolve } of this.waiting.splice(0)) resolve();
    }
    for (const reader of this.readers) reader.take(event);
    if (event.type === "ended") this.finish(new RefusedError(event.code, event.reason));
    for (const type of [event.type, "*"]) {
      for (const listener of [...(this.listeners.get(type) ?? [])]) {
        try {
          listener(event);
        } catch (error) {
          after(0, () => {
            throw error; // the app's own, to its own handler of errors; ours goes on
          });
        }
      }
    }
  }

  /** Nothing comes any more. @internal */
  finish(end: HereaboutsError = new ClosedError()): void {
    this.end ??= end;
    for (const { reject } of this.waiting.splice(0)) reject(this.end);
    for (const reader of [...this.readers]) reader.finish();
  }
}

/** One iteration of a subscription's events. */
class Reader implements AsyncIterableIterator<ChannelEvent | Lagged> {
  private readonly channel: Channel;
  private readonly buffer: number;
  private readonly left: () => void;
  private events: (ChannelEvent | Lagged)[] = [];
  private wake: (() => void) | null = null;
  private isOver = false;

  constructor(channel: Channel, buffer: number, left: () => void) {
    this.channel = channel;
    this.buffer = buffer;
    this.left = left;
  }

  take(event: ChannelEvent): void {
    if (this.events.length >= this.buffer) this.events = [this.lagged()];
    this.events.push(event);
    this.wake?.();
  }

  finish(): void {
    this.isOver = true;
    this.left();
    this.wake?.();
  }

  async next(): Promise<IteratorResult<ChannelEvent | Lagged>> {
    while (this.events.length === 0 && !this.isOver) await new Promise<void>((resolve) => (this.wake = resolve));
    const event = this.events.shift();
    return event === undefined ? { done: true, value: undefined } : { done: false, value: event };
  }

  async return(): Promise<IteratorResult<ChannelEvent | Lagged>> {
    this.events = [];
    this.finish();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private lagged(): Lagged {
    let [dropped, since, offset]: [number, Position | null, number | null] = [0, null, null];
    for (const event of this.events) {
      dropped += event.type === "lagged" ? event.dropped : 1;
      if (event.type === "gap" || event.type === "lagged") {
        since ??= event.since;
        offset = event.offset ?? offset;
      } else if (event.type === "publication") {
        since ??= { epoch: this.channel.position?.epoch ?? "", offset: event.offset - 1 };
        offset = event.offset;
      }
    }
    return { type: "lagged", channel: this.channel.name, dropped, since, offset };
  }
}
