// What can go wrong, for the app.
//
// HereaboutsError
// ├── RefusedError      the engine said no, with a code of the protocol's table
// ├── LostError         the connection broke before the answer, or there is none now: try again
// ├── ClosedError       this client has stopped
// ├── QueueFullError    more publications wait than `queueLimit`
// ├── DuplicateError    a publication with this cid waits already
// └── NoTokenError      for token providers: there is no token and will be none; the client stops

import type { Kind } from "./effects.js";

/** Of this package. */
export class HereaboutsError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** `temporary` is the only sign that the same may succeed later; `retryMs` says when, if known. */
export class RefusedError extends HereaboutsError {
  readonly code: number;
  readonly reason: string;
  readonly temporary: boolean;
  readonly retryMs: number | null;

  constructor(code: number, reason: string, temporary = false, retryMs: number | null = null) {
    super(`${code} ${reason}`);
    this.code = code;
    this.reason = reason;
    this.temporary = temporary;
    this.retryMs = retryMs;
  }
}

/** Not answered; whether it was done is not known. */
export class LostError extends HereaboutsError {}

/** `code` is what `stopped` said. */
export class ClosedError extends HereaboutsError {
  readonly code: number;
  readonly reason: string;

  constructor(code = 1000, reason = "closed") {
    super(`${code} ${reason}`);
    this.code = code;
    this.reason = reason;
  }
}

/** The newest publication loses: this one was not queued. */
export class QueueFullError extends HereaboutsError {}

/** Await the first one. */
export class DuplicateError extends HereaboutsError {}

/** Thrown by a token provider that will not have a token again, such as after a sign-out. */
export class NoTokenError extends HereaboutsError {}

interface Told {
  readonly kind: Kind;
  readonly code: number | null;
  readonly reason: string | null;
  readonly temporary?: boolean;
  readonly retryMs?: number | null;
}

/** The exception for what the core tells. */
export function failure({ kind, code, reason, temporary, retryMs }: Told): HereaboutsError {
  switch (kind) {
    case "refused": return new RefusedError(code ?? 100, reason ?? "", temporary, retryMs);
    case "closed": return new ClosedError();
    case "full": return new QueueFullError("too many publications wait for their acknowledgement");
    case "duplicate": return new DuplicateError("a publication with this cid waits already");
    case "lost": return new LostError("the connection broke before the answer");
    case "offline": return new LostError("there is no connection now");
  }
}
