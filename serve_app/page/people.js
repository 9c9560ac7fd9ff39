// People near: the `near` channel as a list and on the map.

import { Kept, arrange, avatar, el } from "./dom.js";

const BANDS_KM = [1, 2, 5, 10];
const CROWD = 3;

export class People {
  constructor({ list, none, names, map, feed, act }) {
    Object.assign(this, { list, none, names, map, feed, act });
    this.rows = new Map(); // user → {band, cell, handle, online}
    this.online = new Set();
    this.placed = false;
    this.kept = new Kept();
    this.came = [];
    this.render();
  }

  /** Subscription options for the `near` channel. */
  hears(radius) {
    return {
      mode: "map",
      filter: { radius_m: radius, audience: "everyone" },
      change: (user, before, after) => this.changed(user, before, after),
      rows: () => {
        this.tell();
        this.render();
      },
    };
  }

  changed(user, before, after) {
    if (!after) {
      this.rows.delete(user);
      this.feed.add({ kind: "part", parts: [{ user }, " is no longer near"] });
    } else {
      this.rows.set(user, after);
      if (!before) this.came.push(user);
      else if (before.band !== after.band) {
        const closer = nearness(after.band) < nearness(before.band);
        this.feed.add({ kind: closer ? "meet" : "part", parts: [{ user }, closer ? " came closer, " : " moved away, ", bandText(after.band)] });
      }
    }
  }

  /** Who came with one frame: a line each, or one for all of a crowd. */
  tell() {
    const came = this.came.splice(0);
    if (came.length > CROWD) {
      const rest = came.length - 2;
      this.feed.add({ kind: "meet", parts: [{ user: came[0] }, ", ", { user: came[1] }, ` and ${rest} others are near`] });
    } else {
      for (const user of came) this.feed.add({ kind: "meet", parts: [{ user }, " is near, ", bandText(this.rows.get(user)?.band)] });
    }
  }

  clear() {
    this.rows.clear();
    this.render();
  }

  render() {
    const users = [...this.rows].sort(([a, one], [b, two]) => nearness(one.band) - nearness(two.band) || this.names.of(a).localeCompare(this.names.of(b)));
    arrange(this.list, users.map(([user, row]) => this.item(user, row)));
    this.none.hidden = users.length > 0;
    this.none.textContent = this.placed ? "Nobody within this distance whom you may see." : "Say where you are, and the people near appear here.";
    this.map.setPeople(new Map(users.map(([user, row]) => [user, { ...row, handle: this.names.of(user), online: this.isOnline(user, row) }])));
  }

  isOnline(user, row) {
    return row.online ?? this.online.has(user);
  }

  item(user, row) {
    const handle = this.names.of(user);
    const item = this.kept.node(user, [handle], () => el("li", { "data-user": user },
      avatar(handle),
      el("span", { class: "who" }, el("b", { text: handle }), el("small")),
      this.menu(user, handle)));
    const online = this.isOnline(user, row);
    item.firstChild.classList.toggle("online", online);
    item.querySelector("small").textContent = `${bandText(row.band)}${online ? " · online" : ""}`;
    return item;
  }

  menu(user, handle) {
    const list = el("div", { class: "menu" });
    const details = el("details", { class: "more" }, el("summary", { "aria-label": `More about ${handle}`, text: "⋯" }), list);
    const button = ({ text, run }) => el("button", { type: "button", class: "quiet", text, onclick: () => {
      details.open = false;
      run();
    } });
    details.addEventListener("toggle", () => details.open && list.replaceChildren(...this.act.person(user, handle).map(button)));
    return details;
  }
}

/** The upper bound of a band such as "<2", in kilometres. */
function nearness(band) {
  const km = Number.parseFloat(String(band).replace("<", ""));
  return Number.isFinite(km) ? km : BANDS_KM.at(-1) + 1;
}

function bandText(band) {
  return `under ${nearness(band)} km`;
}
