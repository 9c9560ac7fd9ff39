// The rooms I am in, opening new ones, and going into one.

import { el, toast } from "./dom.js";
import { Room } from "./room.js";

const BETWEEN = " & ";

export class Rooms {
  constructor({ $, socket, names, me, handle, call, feed, online, badge, learnt }) {
    Object.assign(this, { $, handle, call, names, badge, learnt });
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
      this.titles.set(room.id, room);
      if (!known) this.learnt(room.id);
    }
    this.render();
  }

  /** A room's name, also of one that I have left; a direct room bears the name of the other one in it. */
  name(id) {
    const room = this.titles.get(id);
    const names = room?.kind === "direct" ? room.name.split(BETWEEN) : [];
    return names.find((name) => name !== this.handle()) || room?.name || "a room";
  }

  render() {
    const rooms = [...this.all.values()];
    this.$("rooms-none").hidden = rooms.length > 0;
    this.$("rooms").replaceChildren(...rooms.map((room) => el("li", {},
      el("button", { type: "button", onclick: () => this.enter(room.id) },
        el("i", { class: room.kind, "aria-hidden": "true" }), el("b", { text: this.name(room.id) }),
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
    this.$("talk-title").textContent = this.name(id);
    this.$("lobby").hidden = true;
    this.$("room").hidden = this.$("rooms-back").hidden = false;
    this.room.open({ id, name: this.name(id) });
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

  /** The room with one other person, made when it is first wanted. */
  async talkTo(user, handle) {
    const name = [this.handle(), handle].sort().join(BETWEEN);
    try {
      const known = [...this.all.values()].find((room) => room.kind === "direct" && room.name === name);
      const room = known ?? await this.call("POST", "/v1/rooms", { name, kind: "direct", members: [user] });
      if (!known) await this.load();
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
