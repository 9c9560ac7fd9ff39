// A client of `rt.v1` over JSON (docs/protocol.md). It reconnects by itself, resumes every subscription where
// it was, and sends a publication again, with the same `cid`, until it is acknowledged.

import { Subscription } from "./channel.js";

const COMMAND_MS = 5000; // RT-9
const BACKOFF_MS = { least: 500, most: 20_000 };
const TEMPORARY_DEFAULT_MS = 1000;
const OUTBOX_LIMIT = 200;

/** A command that the engine refused. */
export class CommandError extends Error {
  constructor({ code, msg, temp, retry_ms }) {
    super(msg || `error ${code}`);
    Object.assign(this, { code, temporary: Boolean(temp), retryMs: retry_ms });
  }
}

export class Socket {
  /**
   * `token(fresh)` gives an access token, a new one if `fresh`; `urls()` the addresses to try, best first.
   * `state(name, detail)` hears: connecting, live, waiting (detail = ms), stopped (detail = reason).
   */
  constructor({ token, urls, device, state }) {
    Object.assign(this, { token, urls, device, report: state });
    this.channels = new Map(); // name → Subscription
    this.numbers = new Map(); // n → Subscription, per connection
    this.pending = new Map(); // command id → {resolve, reject, timer}
    this.outbox = new Map(); // cid → {ch, d, resolve, reject}
    this.limits = {};
    this.session = null;
    this.attempt = 0;
    this.misses = 0; // attempts since the last that came to a welcome: the addresses take turns
    this.turn = 0;
    this.running = false;
    this.wake = () => this.running && !this.ws && this.connect();
  }

  start() {
    this.running = true;
    addEventListener("online", this.wake);
    this.connect();
  }

  stop() {
    this.running = this.live = false;
    removeEventListener("online", this.wake);
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    this.drop(new Error("stopped"));
    this.channels.clear();
    this.outbox.clear();
    this.session = null;
    this.report("stopped", "");
  }

  // -- connecting ---------------------------------------------------------------------------------------

  async connect() {
    clearTimeout(this.retryTimer);
    const turn = ++this.turn;
    this.report("connecting");
    let ws = null;
    try {
      const [token, urls] = await Promise.all([this.token(this.distrust), this.urls()]);
      if (turn !== this.turn || !this.running) return;
      this.distrust = false;
      ws = this.ws = new WebSocket(urls[this.misses % urls.length], ["rt.v1.json"]);
      ws.onmessage = ({ data }) => ws === this.ws && this.take(data);
      ws.onclose = ({ code, reason }) => ws === this.ws && this.closed(code, reason);
      this.watch(COMMAND_MS);
      await new Promise((resolve, reject) => {
        ws.onopen = resolve;
        ws.onerror = () => reject(new Error("unreachable"));
      });
      await this.hello(token);
    } catch (error) {
      if (turn !== this.turn || !this.running) return;
      if (error.code === 101 || error.code === 109) this.distrust = true;
      if (error.status === 401) this.halt("Sign in again.");
      else if (ws === this.ws) this.closed(0, "");
    }
  }

  async hello(token) {
    const subs = {};
    for (const channel of this.channels.values()) subs[channel.name] = channel.resumption();
    const resume = this.session ?? undefined;
    await this.command("connect", { token, device: this.device, sdk: "page/1", resume, subs }, (answer) => this.welcome(answer));
  }

  welcome(answer) {
    this.session = { sid: answer.sid, key: answer.key };
    this.user = answer.user;
    this.limits = answer.limits ?? {};
    this.silenceMs = ((answer.ping ?? 25) + (answer.pong ?? 8)) * 1000;
    this.numbers.clear();
    this.live = true;
    this.attempt = 0;
    this.misses = 0;
    this.refusedOnce = false;
    this.watch(this.silenceMs);
    for (const channel of this.channels.values()) {
      const result = answer.subs?.[channel.name];
      if (!result) this.join(channel);
      else if (result.err) this.refuse(channel, new CommandError(result.err));
      else this.adopt(channel, result);
    }
    this.report("live");
    for (const cid of this.outbox.keys()) this.post(cid);
  }

  closed(code, reason) {
    const bye = this.bye;
    if (!this.live) this.misses += 1;
    this.bye = null;
    this.drop(new Error("connection lost"));
    if (!this.running) return;
    if (code === 3500 && !this.refusedOnce) {
      this.refusedOnce = this.distrust = true; // a token signed by a key that is gone: try one new one
    } else if (code >= 3500 && code < 4000) {
      return this.halt(reason || `The engine closed the connection (${code}).`);
    }
    if (code === 3005) this.distrust = true;
    const ceiling = Math.min(BACKOFF_MS.most, BACKOFF_MS.least * 2 ** ++this.attempt);
    const delay = Math.max(bye?.retry_ms ?? 0, BACKOFF_MS.least + Math.random() * (ceiling - BACKOFF_MS.least));
    this.report("waiting", delay);
    this.retryTimer = setTimeout(() => this.connect(), delay);
  }

  halt(reason) {
    this.running = false;
    this.drop(new Error(reason));
    this.report("stopped", reason);
  }

  drop(error) {
    this.turn += 1;
    const ws = this.ws;
    this.ws = null;
    this.live = false;
    clearTimeout(this.silenceTimer);
    for (const { reject, timer } of this.pending.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.pending.clear();
    if (ws && ws.readyState <= 1) ws.close(1000);
  }

  /** Takes silence for this long as a lost connection. */
  watch(ms) {
    this.patience = ms;
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => this.ws && this.closed(0, ""), ms);
  }

  // -- frames ---------------------------------------------------------------------------------------------

  take(data) {
    if (this.live) this.watch(this.silenceMs);
    for (const line of data.split("\n")) {
      if (!line) continue;
      const frame = JSON.parse(line);
      if (frame.id !== undefined) this.settle(frame);
      else if (frame.p !== undefined) this.push(frame);
      else if (frame.bye) this.bye = frame.bye;
      else if (frame.tops) this.compare(frame.tops);
      else if (frame.err) console.warn("rt: refused frame", frame.err);
      else if (Object.keys(frame).length === 0) this.write({});
    }
  }

  push(frame) {
    const channel = this.numbers.get(frame.p);
    if (!channel) return;
    if (!frame.unsub) return channel.push(frame);
    this.numbers.delete(frame.p); // the engine ended this subscription
    this.refuse(channel, new CommandError({ code: 103, msg: frame.unsub.reason }));
  }

  compare(tops) {
    for (const [n, top] of Object.entries(tops)) this.numbers.get(Number(n))?.compare(top);
  }

  settle(frame) {
    const waiting = this.pending.get(frame.id);
    if (!waiting) return;
    this.pending.delete(frame.id);
    clearTimeout(waiting.timer);
    if (frame.err) return waiting.reject(new CommandError(frame.err));
    waiting.first?.(frame[waiting.verb]); // before the frames behind it, which may be in the same message
    waiting.resolve(frame[waiting.verb]);
  }

  write(frame) {
    if (this.ws?.readyState === 1) this.ws.send(JSON.stringify(frame));
  }

  /** Sends one command. Rejects with CommandError, or with another Error when the connection is lost. */
  command(verb, body, first) {
    return new Promise((resolve, reject) => {
      if (this.ws?.readyState !== 1) return reject(new Error("not connected"));
      const id = (this.nextId = (this.nextId ?? 0) + 1);
      const timer = setTimeout(() => this.ws && this.closed(0, ""), COMMAND_MS);
      this.pending.set(id, { verb, resolve, reject, timer, first });
      this.write(verb === "pos" ? { id, ...body } : { id, [verb]: body });
    });
  }

  // -- what the page calls ----------------------------------------------------------------------------------

  /** Follows a channel until `close()`; see channel.js for what `options` hears. */
  subscribe(name, options) {
    this.unsubscribe(name);
    const channel = new Subscription(name, options, () => this.rejoin(channel));
    this.channels.set(name, channel);
    if (this.live) this.join(channel);
    return channel;
  }

  unsubscribe(name) {
    const channel = this.channels.get(name);
    if (!channel) return;
    this.channels.delete(name);
    this.numbers.delete(channel.n);
    if (this.live) this.command("unsub", { ch: name }).catch(() => {});
  }

  /** Publishes durably; resolves with {o, t, i} once it is stored, however often the connection breaks. */
  publish(ch, d, cid = crypto.randomUUID()) {
    if (this.outbox.size >= OUTBOX_LIMIT) return Promise.reject(new Error("Too much is waiting to be sent."));
    return new Promise((resolve, reject) => {
      this.outbox.set(cid, { ch, d, resolve, reject });
      if (this.live) this.post(cid);
    });
  }

  /** Something that may be lost, to whoever is there now. */
  whisper(name, d) {
    const channel = this.channels.get(name);
    if (this.live && channel?.n !== undefined) this.write({ e: channel.n, d });
  }

  history(ch, options) {
    return this.command("hist", { ch, ...options });
  }

  /** Says where this device is: [lat, lon, accuracy m, Unix ms, …]. */
  position(fix) {
    return this.command("pos", { pos: fix });
  }

  renew(token) {
    if (this.live) this.command("refresh", { token }).catch(() => {});
  }

  async post(cid) {
    const { ch, d, resolve, reject } = this.outbox.get(cid);
    try {
      const ack = await this.command("pub", { ch, d, cid, ack: "durable" });
      this.outbox.delete(cid);
      resolve(ack);
    } catch (error) {
      if (!(error instanceof CommandError)) return; // sent again after the reconnect
      if (error.temporary) {
        setTimeout(() => this.live && this.outbox.has(cid) && this.post(cid), error.retryMs ?? TEMPORARY_DEFAULT_MS);
      } else {
        this.outbox.delete(cid);
        reject(error);
      }
    }
  }

  async join(channel) {
    try {
      await this.command("sub", { ch: channel.name, ...channel.resumption() }, (result) => this.adopt(channel, result));
    } catch (error) {
      if (error instanceof CommandError) this.refuse(channel, error);
    }
  }

  async rejoin(channel) {
    if (!this.live || channel.rejoining || this.channels.get(channel.name) !== channel) return;
    channel.rejoining = true;
    try {
      this.numbers.delete(channel.n);
      await this.command("unsub", { ch: channel.name });
      await this.join(channel);
    } catch {
      // the reconnect subscribes again
    } finally {
      channel.rejoining = false;
    }
  }

  adopt(channel, result) {
    if (this.channels.get(channel.name) !== channel) return;
    this.numbers.set(result.n, channel);
    channel.adopt(result);
    if (result.phase === "state" && result.cursor) this.page(channel, result.cursor);
  }

  async page(channel, cursor) {
    const body = { ch: channel.name, ...channel.resumption(), cursor };
    await this.command("sub", body, (result) => this.adopt(channel, { ...result, continued: true })).catch(() => {});
  }

  refuse(channel, error) {
    if (error.temporary && this.channels.get(channel.name) === channel) {
      setTimeout(() => this.live && this.channels.get(channel.name) === channel && this.join(channel),
        error.retryMs ?? TEMPORARY_DEFAULT_MS);
    } else if (this.channels.get(channel.name) === channel) {
      this.channels.delete(channel.name);
      channel.refuse(error);
    }
  }
}
