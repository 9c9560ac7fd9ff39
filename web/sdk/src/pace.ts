// A token bucket on our side of the engine's rate: what is never too fast is never refused for it, and so keeps its
// order.

/** One second's worth at once, then at the rate; no rate, no limit. */
export class Pace {
  private perS = 0;
  private tokens = 0;
  private atMs = 0;

  /** A new connection, with its rate. */
  begin(perS: number | null, nowMs: number): void {
    this.perS = this.tokens = perS ?? 0;
    this.atMs = nowMs;
  }

  /** Takes leave to send one now; false if it has to wait. */
  take(nowMs: number): boolean {
    if (!this.perS) return true;
    this.tokens = Math.min(this.perS, this.tokens + ((nowMs - this.atMs) * this.perS) / 1000);
    this.atMs = nowMs;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }

  /** When the next one may leave. */
  get nextMs(): number {
    return this.atMs + (this.perS ? Math.ceil(Math.max((1 - this.tokens) / this.perS, 0) * 1000) : 0);
  }
}
