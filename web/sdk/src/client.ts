// The client: the core, driven by a platform's WebSocket, fetch and timers.

import { Answers } from "./answers.js";
import { publicationOf } from "./channel.js";
import { Core } from "./core.js";
import type { Output, Published } from "./effects.js";
import { ClosedError, NoTokenError } from "./errors.js";
import type { ConnectionEvent, Gap, Meta, Position, Publication, Stopped } from "./events.js";
import { DEFAULTS, type Options, type Subscribing } from "./options.js";
import { after, now, uniqueName, type Fetch, type WebSocketClass } from "./platform.js";
import { Dialler, Socket } from "./socket.js";
import { Subscription, type Lagged } from "./subscription.js";

const PAGE = 300;

export interface ClientSettings {
  /** The engine's (`https://…`, asked for a gateway before each connection) or a gateway's (`wss://…/rt`). */
  readonly url: string;
  /** An access token, or what gets one: called with true where a new one is needed. */
  readonly token: string | ((fresh: boolean) => Promise<string>);
  /** Hears of the connection. */
  readonly onEvent?: (event: ConnectionEvent) => void;
  readonly options?: Partial<Options>;
  /** The platform's unless given. */
  readonly WebSocket?: WebSocketClass;
  readonly fetch?: Fetch;
  /** Milliseconds of a clock that never goes back. */
  readonly clock?: () => number;
  /** Numbers from 0 to 1. */
  readonly chance?: () => number;
}

export interface PublishOptions {
  /** Idempotency key: the same one never counts twice. */
  readonly cid?: string;
  readonly ack?: "durable" | "relay" | "none";
}

/** A page of a stream. `offset` is its top; `more` lies behind the last of `publications`. */
export interface Page {
  readonly publications: readonly Publication[];
  readonly epoch: string;
  readonly offset: number;
  readonly more: boolean;
}

/** WGS84 degrees, metres, Unix ms. */
export interface Fix {
  readonly lat: number;
  readonly lon: number;
  readonly accM: number;
  readonly tMs: number;
  readonly speedMps?: number;
  readonly headingDeg?: number;
}

/** One device of one user. */
export class Client {
  readonly subscriptions = new Map<string, Subscription>();
  /** Who we are, once the engine has said so. */
  user: string | null = null;
  private readonly settings: ClientSettings;
  private readonly clock: () => number;
  private readonly core: Core;
  private readonly dialler: Dialler;
  private readonly answers = new Answers();
  private socket: Socket | null = null;
  private turn = 0;
  private isRunning = false;
  private cancelTimer: (() => void) | null = null;
  private stopped: Stopped | null = null;
  private turned: (() => void)[] = [];

  constructor(settings: ClientSettings) {
    this.settings = settings;
    this.clock = settings.clock ?? now;
    const options = { ...DEFAULTS, device: uniqueName(), ...settings.options };
    this.core = new Core(options, settings.chance ?? Math.random);
    this.dialler = new Dialler(settings.url, settings.WebSocket, settings.fetch);
  }

  // -- its life ---------------------------------------------------------------------------------------------------

  /** Whether the engine has taken us and we have not lost it. */
  get isOnline(): boolean {
    return this.core.stage === "online";
  }

  /**
   * Connects and stays connected until `close`; resolves when online, rejects with ClosedError if the client stops.
   * While it waits for the next attempt, the attempt comes now: for apps that learn that the network is back.
   */
  async connect(): Promise<void> {
    this.stopped = null;
    this.core.start(this.clock());
    this.run();
    while (!this.isOnline) {
      const stopped = this.stopped as Stopped | null;
      if (stopped !== null) throw new ClosedError(stopped.code, stopped.reason);
      await new Promise<void>((resolve) => this.turned.push(resolve));
    }
  }

  /** Resolves when every publication is acknowledged or has failed. */
  flush(): Promise<void> {
    return this.answers.settled();
  }

  /** Says goodbye. Publications that are not acknowledged fail: `flush` first to wait for them. */
  close(): void {
    this.core.stop();
    this.run();
  }

  // -- channels ---------------------------------------------------------------------------------------------------

  /** Follows a channel over every reconnect. Throws RangeError if it is followed already. */
  subscribe(name: string, how: Subscribing = {}): Subscription {
    if (this.subscriptions.has(name)) throw new RangeError(`${name} is subscribed already`);
    const subscription = new Subscription(this, this.core.following.subscribe(name, how, this.clock()));
    this.subscriptions.set(name, subscription);
    this.run();
    return subscription;
  }

  /** Leaves a channel; its iterations end. */
  unsubscribe(subscription: Subscription): void {
    if (this.subscriptions.get(subscription.name) === subscription) {
      this.subscriptions.delete(subscription.name);
      this.core.following.unsubscribe(subscription.name, this.clock());
      this.run();
    }
    subscription.finish();
  }

  /**
   * Resolves when the engine acknowledged, however often the connection breaks on the way. `ack` none: sent now or
   * never, resolves with null. Rejects with RefusedError, QueueFullError, DuplicateError, ClosedError, and LostError
   * for `none` without a connection.
   */
  async publish(channel: string, data: unknown, { cid = uniqueName(), ack }: PublishOptions = {}): Promise<Published | null> {
    const receipt = this.answers.expectReceipt(channel, cid);
    this.core.publishing.publish(channel, data, cid, ack ?? null, this.clock());
    this.run();
    return ack === "none" && this.answers.forgetReceipt(channel, cid) ? null : receipt;
  }

  /** Tells whoever hears the channel right now; false if we don't, and it was dropped. */
  ephemeral(channel: string, data: unknown): boolean {
    const isSent = this.core.ephemeral(channel, data);
    this.run();
    return isSent;
  }

  // -- questions --------------------------------------------------------------------------------------------------

  /** A page of a stream. Rejects with RefusedError (112: another epoch) and LostError. */
  async history(channel: string, { limit = 50, since, reverse }: { limit?: number; since?: Position; reverse?: boolean } = {}): Promise<Page> {
    const result = await this.call("hist", { ch: channel, limit, since, reverse });
    const publications = result.pubs.map((m: any) => publicationOf(channel, m));
    return { publications, epoch: result.epoch, offset: result.offset, more: Boolean(result.more) };
  }

  /** The publications of a gap, paged. Throws RefusedError and LostError; begin again then. */
  async *missed(gap: Gap | Lagged): AsyncGenerator<Publication, void, undefined> {
    let { since } = gap;
    const { offset } = gap;
    if (since === null || offset === null) return;
    if (gap.type === "gap" && gap.epoch !== since.epoch) since = { epoch: gap.epoch, offset: 0 };
    while (since.offset < offset) {
      const page: Page = await this.history(gap.channel, { limit: PAGE, since });
      for (const publication of page.publications) {
        if (publication.offset > offset) return;
        yield publication;
        since = { epoch: since.epoch, offset: publication.offset };
      }
      if (!page.more || page.publications.length === 0) return;
    }
  }

  /** Who is there, once. */
  presence(channel: string): Promise<{ metas: Meta[]; count: number }> {
    return this.call("pres", { ch: channel });
  }

  /** Any verb of the protocol, never repeated. Rejects with RefusedError, LostError, ClosedError. */
  call(verb: string, body: unknown): Promise<any> {
    const { ref, reply } = this.answers.expectReply();
    this.core.command(ref, verb, body, this.clock());
    this.run();
    return reply;
  }

  // -- where we are -----------------------------------------------------------------------------------------------

  /** A fix. Not answered. The last one is told again after a reconnect; an older one is dropped. */
  position(fix: Fix): void {
    this.core.position(wireFix(fix), null, this.clock());
    this.run();
  }

  /** A fix, answered. Rejects with RefusedError (124: stale or implausible) and LostError. */
  async report(fix: Fix): Promise<void> {
    const { ref, reply } = this.answers.expectReply();
    this.core.position(wireFix(fix), ref, this.clock());
    this.run();
    await reply;
  }

  // -- driving the core -------------------------------------------------------------------------------------------

  /** Does what the core asks, in order also where the app calls from a listener, and wakes it in time. */
  private run(): void {
    if (this.isRunning) return;
    this.isRunning = true;
    try {
      for (let outputs = this.core.drain(); outputs.length > 0; outputs = this.core.drain()) {
        for (const output of outputs) this.do(output);
      }
      this.socket?.flush();
    } finally {
      this.isRunning = false;
    }
    this.cancelTimer?.();
    const { deadlineMs } = this.core;
    this.cancelTimer = deadlineMs === null ? null : after(deadlineMs - this.clock(), () => {
      this.core.tick(this.clock());
      this.run();
    });
  }

  private do(output: Output): void {
    switch (output.type) {
      case "send": this.socket?.send(output.frame); break;
      case "dial": void this.dial(output.fresh, output.to); break;
      case "hangUp": this.hangUp(output.code); break;
      case "renew": void this.renew(); break;
      case "published": case "unpublished": case "replied": case "failed": this.answers.take(output); break;
      case "connecting": case "online": case "waiting": case "stopped": case "warned": this.turns(output); break;
      default: {
        const subscription = this.subscriptions.get(output.channel);
        if (output.type === "ended") this.subscriptions.delete(output.channel);
        subscription?.take(output);
      }
    }
  }

  private turns(event: ConnectionEvent): void {
    if (event.type === "online") {
      this.user = event.user;
      this.dialler.misses = 0;
    } else if (event.type === "stopped") {
      this.stopped = event;
      for (const subscription of this.subscriptions.values()) subscription.finish(new ClosedError(event.code, event.reason));
      this.subscriptions.clear();
    }
    for (const resolve of this.turned.splice(0)) resolve();
    try {
      this.settings.onEvent?.(event);
    } catch (error) {
      after(0, () => {
        throw error; // the app's own, to its own handler of errors; ours goes on
      });
    }
  }

  // -- what the core asks for -------------------------------------------------------------------------------------

  private async token(fresh: boolean): Promise<string> {
    const { token } = this.settings;
    if (typeof token !== "string") return token(fresh);
    if (fresh) throw new NoTokenError("the token has expired, and there is no provider of another");
    return token;
  }

  private async dial(fresh: boolean, to: string | null): Promise<void> {
    const turn = ++this.turn;
    const ifCurrent = (act: () => void) => {
      if (turn !== this.turn) return;
      act();
      this.run();
    };
    try {
      const token = await this.token(fresh);
      const address = await this.dialler.address(to);
      if (turn !== this.turn) return;
      this.socket = this.dialler.open(address, {
        opened: () => ifCurrent(() => this.core.opened(token, this.clock())),
        received: (frames) => ifCurrent(() => this.core.received(frames, this.clock())),
        closed: (code, reason) => ifCurrent(() => {
          this.socket = null;
          this.core.closed(code, reason, this.clock());
        }),
      });
    } catch (error) {
      ifCurrent(() => this.core.failed(String(error), this.clock(), error instanceof NoTokenError));
    }
  }

  private async renew(): Promise<void> {
    const turn = this.turn;
    let token: string | null = null;
    let isFinal = false;
    try {
      token = await this.token(true);
    } catch (error) {
      isFinal = error instanceof NoTokenError;
    }
    if (turn !== this.turn) return;
    this.core.renewed(token, this.clock(), isFinal);
    this.run();
  }

  private hangUp(code: number): void {
    this.turn += 1;
    this.socket?.flush();
    this.socket?.hangUp(code);
    this.socket = null;
  }
}

function wireFix({ lat, lon, accM, tMs, speedMps, headingDeg }: Fix): readonly unknown[] {
  const fix: unknown[] = [lat, lon, accM, tMs];
  if (speedMps !== undefined || headingDeg !== undefined) fix.push(speedMps ?? null);
  if (headingDeg !== undefined) fix.push(headingDeg);
  return fix;
}
