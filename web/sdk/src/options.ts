// The settings of a client; times in milliseconds.

import type { Position } from "./events.js";

export interface Options {
  /** Names this device over connections: coming back within 15 s takes the lost socket's place. */
  readonly device: string;
  readonly sdk: string;
  /** A command unanswered for so long means a connection that is not to be trusted (RT-9). */
  readonly commandMs: number;
  /** For the token and the socket together. */
  readonly dialMs: number;
  readonly backoffFirstMs: number;
  readonly backoffLastMs: number;
  /** A connection that held for so long forgets the failures before it. */
  readonly stableMs: number;
  /** How long publications that `tops` promised may still be on the way. */
  readonly topsMs: number;
  /** After a temporary refusal that names no time. */
  readonly retryMs: number;
  /** Publications not yet acknowledged. The loser is the newest: its publish fails at once. */
  readonly queueLimit: number;
  /** Publications of one channel on the way at once. 1 keeps their order over temporary refusals too. */
  readonly window: number;
  /** Publications of all channels on the way at once: what every engine lets wait. */
  readonly inFlightLimit: number;
}

export const DEFAULTS: Omit<Options, "device"> = {
  sdk: "hereabouts-typescript/0.1",
  commandMs: 5_000,
  dialMs: 10_000,
  backoffFirstMs: 500,
  backoffLastMs: 20_000,
  stableMs: 5_000,
  topsMs: 1_000,
  retryMs: 1_000,
  queueLimit: 1_000,
  window: 32,
  inFlightLimit: 256,
};

/** How to follow a channel: see `sub` in the protocol. `since` continues from where an app was before. */
export interface Subscribing {
  readonly mode?: "stream" | "cache" | "map" | "passive";
  readonly limit?: number;
  readonly filter?: Record<string, unknown>;
  readonly token?: string;
  readonly since?: Position;
}
