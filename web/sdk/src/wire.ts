// The outgoing side of one connection: frames, and commands that wait for their reply.

import type { Frame, Output } from "./effects.js";

/** An `err` of the engine. `temporary` is the only sign that the same may succeed later. */
export interface Refusal {
  readonly code: number;
  readonly reason: string;
  readonly temporary: boolean;
  readonly retryMs: number | null;
}

export function refusalOf(err: Frame): Refusal {
  return { code: whole(err.code), reason: err.msg ?? "", temporary: Boolean(err.temp), retryMs: err.retry_ms ?? null };
}

/** Gets a command's result or its refusal, and the time. */
export type Settle = (result: any, refusal: Refusal | null, nowMs: number) => void;

interface Command {
  readonly verb: string;
  readonly settle: Settle;
  readonly untilMs: number;
  readonly ref: number | null;
}

/** What leaves and what is told, in order; `isOnline` between the welcome and the loss. */
export class Wire {
  isOnline = false;
  private readonly commandMs: number;
  private out: Output[] = [];
  private waiting = new Map<number, Command>();
  private lastId = 0;

  constructor(commandMs: number) {
    this.commandMs = commandMs;
  }

  /** Adds to what the next drain answers. */
  tell(...outputs: Output[]): void {
    this.out.push(...outputs);
  }

  /** What was told since the last drain. */
  drain(): Output[] {
    const out = this.out;
    this.out = [];
    return out;
  }

  /** When the oldest command is overdue. */
  get deadlineMs(): number | null {
    for (const command of this.waiting.values()) return command.untilMs;
    return null;
  }

  /** Sends a command. With a `ref` the app waits for it too, and is told of its loss. */
  ask(verb: string, body: unknown, settle: Settle, nowMs: number, ref: number | null = null): void {
    const id = ++this.lastId;
    this.waiting.set(id, { verb, settle, untilMs: nowMs + this.commandMs, ref });
    this.tell({ type: "send", frame: { id, [verb]: body } });
  }

  /** A reply. */
  answered(frame: Frame, nowMs: number): void {
    const command = this.waiting.get(frame.id);
    if (command === undefined) return;
    this.waiting.delete(frame.id);
    if (frame.err !== undefined) command.settle(null, refusalOf(frame.err), nowMs);
    else if (frame[command.verb] !== undefined) command.settle(frame[command.verb], null, nowMs);
    else throw new TypeError(`a reply without ${command.verb}`);
  }

  /** The connection is gone: the refs that waited. The next one counts anew. */
  lost(): number[] {
    const refs = [...this.waiting.values()].flatMap(({ ref }) => (ref === null ? [] : [ref]));
    this.isOnline = false;
    this.waiting.clear();
    this.lastId = 0;
    return refs;
  }
}

/** For a command after which it is all the same what it answers. */
export const nothing: Settle = () => {};

/** A whole number of the wire. Throws TypeError on anything else. */
export function whole(value: unknown): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw new TypeError(`${String(value)} is no whole number`);
  return value;
}

/** A text of the wire. Throws TypeError on anything else. */
export function text(value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`${String(value)} is no text`);
  return value;
}
