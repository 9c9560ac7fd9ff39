// What every platform has and the language's own library does not name. No DOM, no Node.

/** The part of a WebSocket that is used: browsers', Node's from 22 on, React Native's, or the package `ws`. */
export interface WebSocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  readonly bufferedAmount?: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

export type Fetch = (url: string, init?: { signal?: any }) => Promise<{ ok: boolean; status: number; json(): Promise<any> }>;

interface Platform {
  WebSocket?: WebSocketClass;
  fetch?: Fetch;
  performance?: { now(): number };
  crypto?: { randomUUID?(): string };
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

export const platform = globalThis as unknown as Platform;

const TIMER_LIMIT_MS = 2 ** 31 - 1;

/** Calls `run` once; longer waits than a timer can take are cut short. Returns what cancels it. */
export function after(ms: number, run: () => void): () => void {
  const timer = platform.setTimeout(run, Math.min(Math.max(ms, 0), TIMER_LIMIT_MS));
  return () => platform.clearTimeout(timer);
}

/** Milliseconds of a clock that never goes back, where there is one. */
export function now(): number {
  return platform.performance?.now() ?? Date.now();
}

/** A name that nobody else has. */
export function uniqueName(): string {
  const given = platform.crypto?.randomUUID?.();
  if (given !== undefined) return given;
  return Array.from({ length: 4 }, () => Math.floor(Math.random() * 2 ** 32).toString(16).padStart(8, "0")).join("");
}
