// One WebSocket after another: frames out in few messages, frames in, and how each ended.

import { decode, encode, SUBPROTOCOL } from "./codec.js";
import type { Frame } from "./effects.js";
import { platform, type Fetch, type WebSocketClass, type WebSocketLike } from "./platform.js";

/** What the network does not take yet. Beyond it what needs no answer is dropped: pos, e, pub with ack none. */
const BACKLOG_LIMIT_BYTES = 262_144;

/** What a socket tells; nothing any more after `hangUp`. */
export interface Hearer {
  opened(): void;
  received(frames: any[]): void;
  closed(code: number | null, reason: string): void;
}

export class Socket {
  private readonly web: WebSocketLike;
  private frames: Frame[] = [];

  constructor(web: WebSocketLike, hearer: Hearer) {
    this.web = web;
    web.onopen = () => hearer.opened();
    web.onmessage = ({ data }) => {
      let frames: any[];
      try {
        frames = decode(data);
      } catch (error) {
        this.hangUp(4000);
        hearer.closed(null, `unreadable: ${String(error)}`);
        return;
      }
      hearer.received(frames);
    };
    web.onclose = ({ code, reason }) => {
      this.hush();
      hearer.closed(code ?? null, reason ?? "");
    };
  }

  /** Sends a frame with the next `flush`. */
  send(frame: Frame): void {
    const needsAnswer = frame.id !== undefined || Object.keys(frame).length === 0;
    if (needsAnswer || (this.web.bufferedAmount ?? 0) < BACKLOG_LIMIT_BYTES) this.frames.push(frame);
  }

  flush(): void {
    for (const message of encode(this.frames.splice(0))) this.web.send(message);
  }

  /** Closes, behind what was sent. Nothing is heard of it any more. */
  hangUp(code: number): void {
    this.hush();
    this.web.close(code);
  }

  private hush(): void {
    this.web.onopen = this.web.onmessage = this.web.onclose = null;
    this.web.onerror = () => {}; // an error that nobody hears ends the process of some WebSockets
  }
}

/** Finds an engine's gateways and opens sockets to them; they take turns. `misses`: attempts since the last welcome. */
export class Dialler {
  misses = 0;
  private readonly url: string;
  private readonly WebSocket: WebSocketClass;
  private readonly fetch: Fetch;

  constructor(url: string, WebSocket?: WebSocketClass, fetch?: Fetch) {
    const found = WebSocket ?? platform.WebSocket;
    if (found === undefined) throw new TypeError("there is no WebSocket here: give one (Node before 22: the package ws)");
    this.url = url;
    this.WebSocket = found;
    this.fetch = fetch ?? ((...request) => platform.fetch!(...request));
  }

  /** The address to dial now. Rejects if the engine cannot be asked. */
  async address(to: string | null): Promise<string> {
    const urls = to !== null ? [to] : await this.gateways();
    return urls[this.misses++ % urls.length]!;
  }

  private async gateways(): Promise<string[]> {
    if (/^wss?:/.test(this.url)) return [this.url];
    const answer = await this.fetch(`${this.url.replace(/\/$/, "")}/v1/rt`);
    if (!answer.ok) throw new Error(`the engine does not say where its gateways are: ${answer.status}`);
    const { url, fallback } = await answer.json();
    return [url, fallback];
  }

  open(address: string, hearer: Hearer): Socket {
    return new Socket(new this.WebSocket(address, [SUBPROTOCOL]), hearer);
  }
}
