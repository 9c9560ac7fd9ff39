// What callers wait for: replies to commands and acknowledgements of publications.

import type { Outcome, Published } from "./effects.js";
import { DuplicateError, failure } from "./errors.js";

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** Promises by what they wait for: a command's ref, a publication's channel and cid. */
export class Answers {
  private lastRef = 0;
  private readonly replies = new Map<number, Waiter<any>>();
  private readonly receipts = new Map<string, Waiter<Published>>();
  private idle: (() => void)[] = [];

  /** A new ref and the promise of its reply. */
  expectReply(): { ref: number; reply: Promise<any> } {
    const ref = ++this.lastRef;
    return { ref, reply: new Promise((resolve, reject) => this.replies.set(ref, { resolve, reject })) };
  }

  /** The promise of an acknowledgement. Throws DuplicateError. */
  expectReceipt(channel: string, cid: string): Promise<Published> {
    const key = keyOf(channel, cid);
    if (this.receipts.has(key)) throw new DuplicateError("a publication with this cid waits already");
    return new Promise((resolve, reject) => this.receipts.set(key, { resolve, reject }));
  }

  /** None will come: true if it was still to come. */
  forgetReceipt(channel: string, cid: string): boolean {
    return this.receipts.delete(keyOf(channel, cid));
  }

  /** Resolves when no receipt is to come. */
  async settled(): Promise<void> {
    if (this.receipts.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  /** Gives it to whoever waits for it. */
  take(outcome: Outcome): void {
    switch (outcome.type) {
      case "published": this.taken(outcome)?.resolve(outcome); break;
      case "unpublished": this.taken(outcome)?.reject(failure(outcome)); break;
      case "replied": this.replies.get(outcome.ref)?.resolve(outcome.result); break;
      case "failed": this.replies.get(outcome.ref)?.reject(failure(outcome)); break;
    }
    if ("ref" in outcome) this.replies.delete(outcome.ref);
    if (this.receipts.size === 0) for (const resolve of this.idle.splice(0)) resolve();
  }

  private taken({ channel, cid }: { channel: string; cid: string }): Waiter<Published> | undefined {
    const waiter = this.receipts.get(keyOf(channel, cid));
    this.receipts.delete(keyOf(channel, cid));
    return waiter;
  }
}

function keyOf(channel: string, cid: string): string {
  return `${channel}\n${cid}`;
}
