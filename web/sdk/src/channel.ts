// A followed channel: its position, what the app may look at, and the rule for each push (RT-4).

import type { Frame } from "./effects.js";
import type { Change, ChannelEvent, Meta, Position, Publication, Sampled } from "./events.js";
import type { Subscribing } from "./options.js";
import { text, whole } from "./wire.js";

const MAPS = /^(near$|scores$|presence:|share:)/;

/** A publication is missing: the channel has to be subscribed again from its position. */
export class InsufficientError extends Error {}

interface Row {
  readonly data: any;
  readonly version: number | null;
}

export function publicationOf(channel: string, m: Frame): Publication {
  return {
    type: "publication", channel, offset: whole(m.o), timeMs: whole(m.t), id: text(m.i), user: m.u ?? "",
    data: m.d, cid: m.cid ?? null,
  };
}

/** State of one channel over all connections; `phase` and `n` are of the current one. */
export class Channel {
  readonly name: string;
  readonly how: Subscribing;
  mode: string;
  position: Position | null;
  rows = new Map<string, any>();
  metas = new Map<string, Meta>();
  /** What a large room last said of its size. */
  sample: Sampled | null = null;
  phase: "out" | "joining" | "in" = "out";
  n: number | null = null;
  /** Rises with each `sub`: an answer to an older one is nobody's. */
  turn = 0;
  cursor: string | null = null;
  retryAtMs: number | null = null;
  /** The engine says that we are subscribed already: leave first. */
  isDoubled = false;
  /** When it was last subscribed again for want of publications. */
  rejoinedAtMs: number | null = null;
  /** The offset that `tops` promised, and until when it may come by itself. */
  behind: { readonly top: number; readonly untilMs: number } | null = null;
  private readonly isPresence: boolean;
  private versions = new Map<string, number | null>();
  private pages: any[] = [];

  constructor(name: string, how: Subscribing) {
    this.name = name;
    this.how = how;
    this.isPresence = name.startsWith("presence:");
    this.mode = how.mode ?? (MAPS.test(name) ? "map" : "stream");
    this.position = how.since ?? null;
  }

  /** What `sub` says, but for the channel. */
  request(): Frame {
    if (this.cursor !== null) return { cursor: this.cursor };
    const { mode, filter, token, limit } = this.how;
    const body: Frame = {};
    if (mode !== undefined) body.mode = mode;
    if (filter !== undefined) body.filter = filter;
    if (token !== undefined) body.token = token;
    const isRecoverable = this.mode === "stream" || (this.mode === "map" && !this.isPresence);
    if (this.position !== null && isRecoverable) Object.assign(body, { epoch: this.position.epoch, offset: this.position.offset });
    if (limit !== undefined && (this.position === null || this.mode === "map")) body.limit = limit;
    return body;
  }

  /** The connection is gone, or this subscription of it. */
  out(): void {
    this.phase = "out";
    this.n = this.cursor = this.retryAtMs = this.behind = null;
    this.pages = [];
    this.turn += 1;
  }

  // -- the answer to `sub` --------------------------------------------------------------------------------------

  /** Keeps a page of a map's state. True: there are more, ask again with the cursor (RT-8). */
  gather(result: Frame): boolean {
    this.pages.push(...(result.state ?? []));
    this.cursor = result.phase === "state" ? (result.cursor ?? null) : null;
    return this.cursor !== null;
  }

  /** The channel is live now. */
  adopt(result: Frame): ChannelEvent[] {
    this.phase = "in";
    this.n = whole(result.n);
    this.cursor = this.behind = null;
    this.mode = result.mode ?? this.mode;
    const pages = this.pages;
    this.pages = [];
    const recovered = Boolean(result.recovered) && result.state === undefined;
    const live: ChannelEvent = {
      type: "subscribed", channel: this.name, mode: this.mode, recovered,
      epoch: result.epoch ?? null, offset: result.offset ?? null,
    };
    if (this.mode === "passive") return [live, ...this.said(result)];
    if (this.mode !== "map") return [live, ...this.adoptStream(result, recovered)];
    if (result.epoch) this.position = { epoch: text(result.epoch), offset: whole(result.offset) };
    return [live, ...(this.isPresence ? this.adoptMetas(pages, result) : this.adoptRows(pages, result, recovered))];
  }

  private adoptStream(result: Frame, recovered: boolean): ChannelEvent[] {
    const had = this.position;
    const epoch = text(result.epoch);
    const offset = whole(result.offset);
    this.position = { epoch, offset };
    if (had !== null && this.mode === "stream" && !recovered) {
      return [{ type: "gap", channel: this.name, since: had, epoch, offset }];
    }
    return ((result.pubs ?? []) as Frame[])
      .filter((m) => had === null || had.epoch !== epoch || whole(m.o) > had.offset)
      .map((m) => publicationOf(this.name, m));
  }

  private adoptRows(pages: any[], result: Frame, recovered: boolean): ChannelEvent[] {
    const rows = new Map<string, Row>();
    if (recovered) for (const [key, data] of this.rows) rows.set(key, { data, version: this.versions.get(key) ?? null });
    for (const [key, data, version] of pages) rows.set(text(key), { data, version: version ?? null });
    for (const [key, sign, data, version] of result.k ?? []) {
      rows.delete(text(key));
      if (sign !== "-") rows.set(key, { data, version: version ?? null });
    }
    const changes: Change[] = [];
    for (const [key, before] of this.rows) {
      if (!rows.has(key)) changes.push({ key, removed: true, data: null, version: null, before });
    }
    for (const [key, { data, version }] of rows) {
      const before = this.rows.get(key) ?? null;
      const isKnown = this.rows.has(key) && this.versions.get(key) === version && isSame(before, data);
      if (!isKnown) changes.push({ key, removed: false, data, version, before });
    }
    this.rows = new Map([...rows].map(([key, { data }]) => [key, data]));
    this.versions = new Map([...rows].map(([key, { version }]) => [key, version]));
    return changes.length > 0 ? [{ type: "rows", channel: this.name, changes }] : [];
  }

  private adoptMetas(pages: Meta[], result: Frame): ChannelEvent[] {
    const before = this.metas;
    this.metas = new Map(pages.map((meta) => [text(meta.ref), meta]));
    this.presence(result);
    this.sample = null;
    const sampled = this.sampled(result);
    const replaced = new Set([...this.metas.values()].map(({ prev }) => prev));
    const joined = [...this.metas.values()].filter(({ ref }) => !before.has(ref));
    const left = [...before.values()].filter(({ ref }) => !this.metas.has(ref) && !replaced.has(ref));
    return joined.length + left.length > 0 ? [...sampled, { type: "presence", channel: this.name, joined, left }] : sampled;
  }

  // -- pushes -----------------------------------------------------------------------------------------------------

  /** What the app sees of a push. Throws InsufficientError where publications are missing. */
  push(frame: Frame): ChannelEvent[] {
    if (frame.m !== undefined) return this.next(frame.m);
    if (frame.skip !== undefined) {
      this.skip(whole(frame.skip));
      return [];
    }
    const rows = frame.k !== undefined ? this.delta(frame) : [];
    return [...rows, ...this.sampled(frame), ...this.presence(frame), ...this.said(frame)];
  }

  private sampled(frame: Frame): ChannelEvent[] {
    if (frame.sampled === undefined) return [];
    const before = this.sample;
    const sample: Sampled = { type: "sampled", channel: this.name, count: whole(frame.count), sampled: Boolean(frame.sampled) };
    this.sample = sample;
    if (before === null || !before.sampled || sample.sampled || this.metas.size === 0) return [sample];
    const left = [...this.metas.values()];
    this.metas = new Map();
    return [sample, { type: "presence", channel: this.name, joined: [], left }];
  }

  private said(frame: Frame): ChannelEvent[] {
    const channel = this.name;
    if (frame.e !== undefined) return [{ type: "ephemeral", channel, user: text(frame.e.u), data: frame.e.d }];
    if (frame.unsub !== undefined) {
      return [{ type: "ended", channel, code: whole(frame.unsub.code), reason: frame.unsub.reason ?? "" }];
    }
    return frame.counts !== undefined ? [{ type: "counted", channel, counts: frame.counts }] : [];
  }

  private next(m: Frame): ChannelEvent[] {
    const offset = whole(m.o);
    const { position } = this;
    if (position === null) throw new TypeError("a publication before its position");
    if (offset <= position.offset) return [];
    if (offset !== position.offset + 1 && this.mode === "stream") throw new InsufficientError();
    const publication = publicationOf(this.name, m);
    this.position = { epoch: position.epoch, offset };
    return [publication];
  }

  private skip(offset: number): void {
    if (this.position !== null && offset > this.position.offset) this.position = { epoch: this.position.epoch, offset };
  }

  private delta(frame: Frame): ChannelEvent[] {
    const changes: Change[] = [];
    for (const [key, sign, data, given] of frame.k) {
      const version = given ?? null;
      const before = this.rows.get(text(key)) ?? null;
      const isKnown = this.rows.delete(key);
      this.versions.delete(key);
      if (sign === "-") {
        if (isKnown) changes.push({ key, removed: true, data: null, version: null, before });
        continue;
      }
      this.rows.set(key, data);
      this.versions.set(key, version);
      changes.push({ key, removed: false, data, version, before });
    }
    if (frame.o !== undefined) this.skip(whole(frame.o));
    return changes.length > 0 ? [{ type: "rows", channel: this.name, changes }] : [];
  }

  private presence(frame: Frame): ChannelEvent[] {
    const left: Meta[] = [];
    for (const { ref } of (frame.l ?? []) as Meta[]) {
      const gone = this.metas.get(text(ref));
      if (gone !== undefined) left.push(gone);
      this.metas.delete(ref);
    }
    const joined: Meta[] = [];
    for (const meta of (frame.j ?? []) as Meta[]) {
      if (meta.prev !== undefined) this.metas.delete(meta.prev);
      if (!this.metas.has(text(meta.ref))) joined.push(meta);
      this.metas.set(meta.ref, meta);
    }
    return joined.length + left.length > 0 ? [{ type: "presence", channel: this.name, joined, left }] : [];
  }

  /** `tops` says that the stream is at `top`: what is missing may come until then. */
  promised(top: number, untilMs: number): void {
    if (this.behind === null && this.mode === "stream" && this.position !== null && this.position.offset < top) {
      this.behind = { top, untilMs };
    }
  }

  /** Whether what `tops` promised is overdue. */
  isBehind(nowMs: number): boolean {
    if (this.behind === null || nowMs < this.behind.untilMs) return false;
    const { top } = this.behind;
    this.behind = null;
    return this.position !== null && this.position.offset < top;
  }
}

/** Equality of JSON values. */
function isSame(one: any, other: any): boolean {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => name in other && isSame(one[name], other[name]));
}
