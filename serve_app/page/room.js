// One open room: its messages in order, who is there, who is typing, and what I say.

import { Kept, arrange, avatar, clock, el } from "./dom.js";

const PAGE = 50;
const TYPING_MS = 5000;
const TYPING_EVERY_MS = 3000;
const GROUP_MS = 5 * 60_000;

export class Room {
  constructor({ nodes, socket, names, me, call, feed }) {
    Object.assign(this, { nodes, socket, names, me, call, feed });
    this.id = null;
    this.kept = new Kept();
    this.messages = new Map(); // offset → m
    this.waiting = new Map(); // cid → {d, at, failed}
    this.typists = new Map(); // user → timer
    nodes.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.say();
    });
    nodes.form.elements.text.addEventListener("input", () => this.hint());
    nodes.earlier.addEventListener("click", () => this.earlier());
  }

  open({ id, name }) {
    this.close();
    Object.assign(this, { id, name });
    this.nodes.earlier.hidden = true;
    this.socket.subscribe(`room:${id}`, {
      mode: "stream",
      limit: PAGE,
      pub: (m) => this.take(m),
      lost: () => this.reload(id),
      ready: () => this.settled(),
      ephemeral: ({ u, d }) => d?.typing !== undefined && this.typing(u, d.typing),
      refused: () => this.nodes.gone(id),
    });
    this.presence = this.socket.subscribe(`presence:room:${id}`, {
      mode: "map",
      metas: (metas) => this.drawPresent(metas),
      come: ({ u }) => this.feed.add({ kind: "come", parts: [{ user: u }, " is in ", { strong: name }] }),
      go: ({ u }, still) => !still && this.feed.add({ kind: "go", parts: [{ user: u }, " is gone from ", { strong: name }] }),
    });
    this.draw();
    this.nodes.form.elements.text.focus({ preventScroll: true });
  }

  close() {
    if (!this.id) return;
    this.socket.unsubscribe(`room:${this.id}`);
    this.socket.unsubscribe(`presence:room:${this.id}`);
    this.id = null;
    this.messages.clear();
    this.kept.clear();
    this.waiting.clear();
    for (const timer of this.typists.values()) clearTimeout(timer);
    this.typists.clear();
    this.nodes.present.replaceChildren();
    this.drawTyping();
  }

  // -- messages -----------------------------------------------------------------------------------------

  take(m) {
    if (m.cid) this.waiting.delete(m.cid);
    this.messages.set(m.o, m);
    this.typing(m.u, false);
    this.drawSoon();
    this.nodes.heard(m);
  }

  settled() {
    this.nodes.earlier.hidden = this.first() <= 1;
    this.drawSoon();
  }

  first() {
    return this.messages.size ? Math.min(...this.messages.keys()) : 1;
  }

  /** The place in the stream is lost: what is shown may have a hole, so it starts anew at the newest page. */
  async reload(id) {
    const page = await this.call("GET", `/v1/rooms/${id}/messages?limit=${PAGE}`).catch(() => null);
    if (!page || id !== this.id) return;
    const oldest = page.items[0]?.o ?? Infinity;
    for (const offset of [...this.messages.keys()]) if (offset < oldest) this.messages.delete(offset);
    for (const m of page.items) this.messages.set(m.o, m);
    this.settled();
  }

  async earlier() {
    const id = this.id;
    const before = this.first();
    const page = await this.call("GET", `/v1/rooms/${id}/messages?before=${before}&limit=${PAGE}`).catch(() => null);
    if (!page || id !== this.id) return;
    for (const m of page.items) this.messages.set(m.o, m);
    this.nodes.earlier.hidden = this.first() <= 1 || page.items.length === 0;
    const from = this.nodes.scroll.scrollHeight;
    this.draw(false);
    this.nodes.scroll.scrollTop += this.nodes.scroll.scrollHeight - from;
  }

  async say() {
    const input = this.nodes.form.elements.text;
    const text = input.value.trim();
    const room = this.id;
    if (!text || !room) return;
    input.value = "";
    this.typedAt = 0;
    const cid = crypto.randomUUID();
    const entry = { d: { text }, at: Date.now() };
    this.waiting.set(cid, entry);
    this.draw(true);
    try {
      const ack = await this.socket.publish(`room:${room}`, entry.d, cid);
      if (this.id === room && this.waiting.delete(cid) && !this.messages.has(ack.o)) {
        this.messages.set(ack.o, { o: ack.o, t: ack.t, i: ack.i, u: this.me(), d: entry.d });
      }
    } catch (error) {
      entry.failed = error.message;
    }
    if (this.id === room) this.draw();
  }

  // -- drawing ------------------------------------------------------------------------------------------------

  drawSoon() {
    this.soon ??= requestAnimationFrame(() => {
      this.soon = null;
      this.draw();
    });
  }

  draw(stick = this.atEnd()) {
    const rows = [];
    let before = null;
    for (const m of [...this.messages.values()].sort((a, b) => a.o - b.o)) {
      const follows = continues(m, before);
      const row = this.kept.node(m.o, [follows, this.names.of(m.d?.user ?? m.u)], () => this.row(m, follows));
      if (row) rows.push(row);
      before = m;
    }
    for (const [cid, entry] of this.waiting) rows.push(this.kept.node(cid, [entry.failed], () => this.pending(entry)));
    arrange(this.nodes.list, rows);
    if (stick) this.nodes.scroll.scrollTop = this.nodes.scroll.scrollHeight;
  }

  atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.nodes.scroll;
    return scrollHeight - scrollTop - clientHeight < 80;
  }

  row(m, follows) {
    if (typeof m.d?.text !== "string") return this.event(m);
    const mine = m.u === this.me();
    const handle = this.names.of(m.u);
    return el("li", { class: `${mine ? "mine" : ""} ${follows ? "follows" : ""}`, "data-offset": m.o },
      mine || follows ? null : el("header", {}, avatar(handle), el("b", { text: handle }), el("time", { text: clock(m.t) })),
      el("p", { text: m.d.text, title: clock(m.t, true) }));
  }

  event(m) {
    const said = { join: " joined", leave: " left", enter: " came in", exit: " went out" }[m.d?.type];
    const user = m.d?.user ?? m.u;
    return said ? el("li", { class: "event", "data-offset": m.o }, el("b", { text: this.names.of(user) }), said, el("time", { text: clock(m.t) })) : null;
  }

  pending({ d, failed }) {
    return el("li", { class: `mine pending ${failed ? "failed" : ""}` }, el("p", { text: d.text }),
      el("small", { text: failed ? `Not sent: ${failed}` : "sending…" }));
  }

  drawPresent(metas = [...(this.presence?.metas.values() ?? [])]) {
    const users = [...new Set(metas.map((meta) => meta.u))];
    this.nodes.count.hidden = false;
    this.nodes.count.textContent = `${users.length} here`;
    this.nodes.present.replaceChildren(...users.slice(0, 12).map((user) => {
      const handle = this.names.of(user);
      return el("li", { title: handle }, avatar(handle, user === this.me() ? "me online" : "online"), el("span", { text: user === this.me() ? "you" : handle }));
    }));
    this.nodes.online(users);
  }

  learnt() {
    if (!this.id) return;
    this.drawSoon();
    this.drawPresent();
    this.drawTyping();
  }

  // -- typing ---------------------------------------------------------------------------------------------------

  hint() {
    if (!this.id || Date.now() - (this.typedAt ?? 0) < TYPING_EVERY_MS) return;
    this.typedAt = Date.now();
    this.socket.whisper(`room:${this.id}`, { typing: true });
  }

  typing(user, is) {
    if (user === this.me()) return;
    clearTimeout(this.typists.get(user));
    this.typists.delete(user);
    if (is) this.typists.set(user, setTimeout(() => this.typing(user, false), TYPING_MS));
    this.drawTyping();
  }

  drawTyping() {
    const names = [...this.typists.keys()].map((user) => this.names.of(user));
    this.nodes.typing.textContent = names.length === 0 ? "" : names.length === 1 ? `${names[0]} is typing…` : `${names.length} people are typing…`;
  }
}

/** Whether a message goes on under the same head as the one before. */
function continues(m, before) {
  return before?.u === m.u && typeof before?.d?.text === "string" && m.t - before.t < GROUP_MS;
}
