// The rooms I am in, opening new ones, and going into one.

import { el, toast } from "./dom.js";
import { Room } from "./room.js";

export class Rooms {
  constructor({ $, socket, names, me, call, feed, online, badge, learnt }) {
    Object.assign(this, { $, call, names, badge, learnt });
    this.all = new Map();
    this.titles = new Map(); // also of rooms that I have left
    this.room = new Room({
      socket, names, me, call, feed,
      nodes: {
        list: $("messages"), scroll: $("scroll"), earlier: $("earlier"), typing: $("typing"), form: $("say"),
        present: $("present"), count: $("talk-count"), online,
        heard: (m) => m.u !== me() && badge(),
        gone: (id) => this.gone(id),
      },
    });
    $("rooms-back").addEventListener("click", () => this.lobby());
    $("room-new").addEventListener("submit", (event) => {
      event.preventDefault();
      this.create(event.target);
    });
    this.lobby();
  }

  async load() {
    const answer = await this.call("GET", "/v1/rooms?limit=300");
    this.all = new Map(answer.items.map((room) => [room.id, room]));
    for (const room of answer.items) {
      const known = this.titles.has(room.id);
      this.titles.set(room.id, room.name || "a room");
      if (!known) this.learnt(room.id);
    }
    this.render();
  }

  name(id) {
    return this.titles.get(id) ?? "a room";
  }

  render() {
    const rooms = [...this.all.values()];
    this.$("rooms-none").hidden = rooms.length > 0;
    this.$("rooms").replaceChildren(...rooms.map((room) => el("li", {},
      el("button", { type: "button", onclick: () => this.enter(room.id) },
        el("i", { class: room.kind, "aria-hidden": "true" }), el("b", { text: room.name || "Room" }),
        el("small", { text: note(room) })))));
  }

  async enter(id) {
    let room = this.all.get(id);
    try {
      if (!room) await this.load();
      room = this.all.get(id);
      if (room?.state === "invited") {
        await this.call("PUT", `/v1/rooms/${id}/members/${this.room.me()}`, {});
        await this.load();
        room = this.all.get(id);
      }
    } catch (error) {
      return toast(error.message);
    }
    if (!room) return toast("That room is not there, or not yours to enter.");
    this.$("talk-title").textContent = room.name || "Room";
    this.$("lobby").hidden = true;
    this.$("room").hidden = this.$("rooms-back").hidden = false;
    this.room.open(room);
  }

  lobby() {
    this.room.close();
    this.$("talk-title").textContent = "Rooms";
    this.$("lobby").hidden = false;
    this.$("room").hidden = this.$("rooms-back").hidden = this.$("talk-count").hidden = true;
  }

  async create(form) {
    const input = form.elements.name;
    try {
      const room = await this.call("POST", "/v1/rooms", { name: input.value.trim(), kind: "group", members: [] });
      input.value = "";
      await this.load();
      await this.enter(room.id);
    } catch (error) {
      toast(error.message);
    }
  }

  /** A room with one other person, made once. */
  async talkTo(user, handle) {
    try {
      const room = await this.call("POST", "/v1/rooms", { name: handle, kind: "direct", members: [user] });
      await this.load();
      await this.enter(room.id);
    } catch (error) {
      toast(error.message);
    }
  }

  gone(id) {
    if (this.room.id !== id) return;
    toast("You are no longer in that room.");
    this.lobby();
    this.load().catch(() => {});
  }

  clear() {
    this.all.clear();
    this.lobby();
    this.render();
  }
}

function note(room) {
  const kind = { place: "a place's room", direct: "the two of you", group: "a group" }[room.kind] ?? "";
  return room.state === "invited" ? `${kind} · you are invited` : kind;
}
