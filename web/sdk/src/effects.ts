// What the core asks of whoever drives it, besides telling events.

import type { ChannelEvent, ConnectionEvent } from "./events.js";

export type Frame = Record<string, any>;

/**
 * refused: by the engine, with a code · lost: the connection broke before the answer · closed: for good · full: the
 * queue is at its bound · offline: needs a connection · duplicate: this cid waits already.
 */
export type Kind = "refused" | "lost" | "closed" | "full" | "offline" | "duplicate";

/** Get a token (a new one if `fresh`), open a socket (to `to` if given), then say `opened` or `failed`. */
export type Dial = { readonly type: "dial"; readonly fresh: boolean; readonly to: string | null };
/** Send a frame; several in a row may share a message. */
export type Send = { readonly type: "send"; readonly frame: Frame };
/** Close the socket with this code, wait for nothing, and hear nothing more of it. */
export type HangUp = { readonly type: "hangUp"; readonly code: number };
/** Get a new token and say `renewed`. */
export type Renew = { readonly type: "renew" };
/** A publication has its place. */
export type Published = {
  readonly type: "published"; readonly cid: string; readonly channel: string; readonly offset: number;
  readonly timeMs: number; readonly id: string; readonly duplicate: boolean;
};
/** A publication failed for good. */
export type Unpublished = {
  readonly type: "unpublished"; readonly cid: string; readonly channel: string; readonly kind: Kind;
  readonly code: number | null; readonly reason: string | null;
};
/** The answer to a command. */
export type Replied = { readonly type: "replied"; readonly ref: number; readonly result: any };
/** A command failed. `temporary`: the same one may succeed later. */
export type Failed = {
  readonly type: "failed"; readonly ref: number; readonly kind: Kind; readonly code: number | null;
  readonly reason: string | null; readonly temporary: boolean; readonly retryMs: number | null;
};

export type Outcome = Published | Unpublished | Replied | Failed;
export type Output = Dial | Send | HangUp | Renew | Outcome | ConnectionEvent | ChannelEvent;
