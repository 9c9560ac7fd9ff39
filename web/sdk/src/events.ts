// What an app sees: of its connection, and of each channel that it follows.

/** One subscription of somebody who is present. */
export interface Meta {
  readonly u: string;
  readonly ref: string;
  readonly device?: string;
  readonly since?: number;
  readonly prev?: string;
  readonly info?: unknown;
}

/** A place in a stream. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

// -- of the connection ----------------------------------------------------------------------------------------

/** A socket is being opened. */
export type Connecting = { readonly type: "connecting" };
/** The engine took us. `resumed`: the session before goes on. */
export type Online = { readonly type: "online"; readonly user: string; readonly session: string; readonly resumed: boolean };
/** The connection is lost; the next attempt comes after `delayMs`. */
export type Waiting = { readonly type: "waiting"; readonly delayMs: number; readonly code: number; readonly reason: string };
/** No attempt comes any more: the app closed (1000), or the engine said to stay away (3500-3999, or the code of its refusal). */
export type Stopped = { readonly type: "stopped"; readonly code: number; readonly reason: string };
/** The engine refused something that waits for no answer. */
export type Warned = { readonly type: "warned"; readonly code: number; readonly reason: string };

export type ConnectionEvent = Connecting | Online | Waiting | Stopped | Warned;

// -- of a channel -----------------------------------------------------------------------------------------------

/** The channel is live. `recovered`: everything since our position follows, nothing is missing. */
export type Subscribed = {
  readonly type: "subscribed"; readonly channel: string; readonly mode: string; readonly recovered: boolean;
  readonly epoch: string | null; readonly offset: number | null;
};
/**
 * Publications between `since` and `offset` did not come and will not by themselves. In the same epoch
 * `Client.missed` pages them; another epoch means that the stream began anew.
 */
export type Gap = { readonly type: "gap"; readonly channel: string; readonly since: Position; readonly epoch: string; readonly offset: number };
/** The next entry of a stream. `user` is empty where the engine speaks; `cid` stands on our own. */
export type Publication = {
  readonly type: "publication"; readonly channel: string; readonly offset: number; readonly timeMs: number;
  readonly id: string; readonly user: string; readonly data: any; readonly cid: string | null;
};
/** A row of a map that came, changed (`before` is what it was) or went (`removed`). */
export type Change = { readonly key: string; readonly removed: boolean; readonly data: any; readonly version: number | null; readonly before: any };
/** A map changed; the subscription's `rows` holds the whole of it. */
export type Rows = { readonly type: "rows"; readonly channel: string; readonly changes: readonly Change[] };
/**
 * Who came and who went; the subscription's `metas` holds all. A meta with `prev` took that one's place, which
 * is not among `left`.
 */
export type Presence = { readonly type: "presence"; readonly channel: string; readonly joined: readonly Meta[]; readonly left: readonly Meta[] };
/**
 * How many are in a large room. While `sampled`, `metas` holds some of them and nobody's coming and going is told; no
 * more `sampled`: everybody who is there comes anew.
 */
export type Sampled = { readonly type: "sampled"; readonly channel: string; readonly count: number; readonly sampled: boolean };
/** Typing, cursors: somebody's event that is stored nowhere. */
export type Ephemeral = { readonly type: "ephemeral"; readonly channel: string; readonly user: string; readonly data: any };
/** Counters of a `passive` subscription: `subs` and `offset`. */
export type Counted = { readonly type: "counted"; readonly channel: string; readonly counts: Record<string, number> };
/** The subscription is over: refused, or taken away. `code` is of the protocol's table. */
export type Ended = { readonly type: "ended"; readonly channel: string; readonly code: number; readonly reason: string };

export type ChannelEvent = Subscribed | Gap | Publication | Rows | Presence | Sampled | Ephemeral | Counted | Ended;
