// What happens, newest first: one line an event, with the people's handles filled in as they are learnt.

import { clock, el } from "./dom.js";

const KEPT = 200;

export class Feed {
  /** `room(id)` is a room's name. */
  constructor({ list, none, names, room, badge }) {
    Object.assign(this, { list, none, names, room, badge });
    this.lines = [];
    this.keys = new Set();
  }

  /**
   * Adds a line. `parts` are strings, {user}, {room} and {strong: text}; `kind` chooses the mark; `key` keeps an event from standing
   * twice (streams are read again after a loss); `action` is {text, run}.
   */
  add({ kind, parts, at = Date.now(), key, action, fresh = true }) {
    if (key && this.keys.has(key)) return;
    if (key) this.keys.add(key);
    const line = { at, parts, text: el("span") };
    line.node = el("li", { class: kind }, el("i", { "aria-hidden": "true" }), line.text,
      el("time", { datetime: new Date(at).toISOString(), text: clock(at) }));
    if (action) line.text.after(this.button(line, action));
    this.write(line);
    const after = this.lines.findIndex((other) => other.at <= at);
    this.lines.splice(after < 0 ? this.lines.length : after, 0, line);
    if (after < 0) this.list.append(line.node);
    else this.list.insertBefore(line.node, this.list.children[after]);
    for (const old of this.lines.splice(KEPT)) old.node.remove();
    this.none.hidden = true;
    if (fresh) this.badge();
  }

  button(line, { text, run }) {
    const button = el("button", { type: "button", class: "small", text, onclick: async () => {
      button.disabled = true;
      if (await run()) button.remove();
      else button.disabled = false;
    } });
    return button;
  }

  write(line) {
    line.text.replaceChildren(...line.parts.map((part) => typeof part === "string" ? part : el("b", { text: this.name(part) })));
  }

  name({ user, room, strong }) {
    if (room) return this.room(room);
    return strong ?? this.names.of(user);
  }

  /** A name has been learnt: rewrites the lines where it stands. */
  learnt(id) {
    for (const line of this.lines) if (line.parts.some(({ user, room }) => user === id || room === id)) this.write(line);
  }

  clear() {
    this.lines = [];
    this.keys.clear();
    this.list.replaceChildren();
    this.none.hidden = false;
  }
}
