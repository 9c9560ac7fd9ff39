// Puts the page together: who is signed in, the socket, the map, people, fences, events and rooms.

import { Account, device } from "./account.js";
import { $, avatar, toast } from "./dom.js";
import { Door } from "./door.js";
import { Feed } from "./feed.js";
import { Fences } from "./fences.js";
import { send } from "./http.js";
import { PlaceMap } from "./map.js";
import { Names } from "./names.js";
import { crossingLine, meLine } from "./news.js";
import { People } from "./people.js";
import { Place } from "./place.js";
import { Rooms } from "./rooms.js";
import { Socket } from "./socket.js";

const RECENT = 20;
const VIEWS = ["map", "near", "events", "talk"];
const STATES = { connecting: "Connecting…", live: "Live", waiting: "Reconnecting…", stopped: "Offline" };

const wanted = new URLSearchParams(location.hash.slice(1)).get("handle");
const account = new Account({ changed, renewed: (token) => socket.renew(token) });
const call = (method, path, body) => account.call(method, path, body);
const names = new Names(call, (user) => {
  feed.learnt(user);
  rooms.room.learnt();
  people.render();
});
const socket = new Socket({
  device: device(),
  token: (fresh) => {
    if (fresh) account.distrust();
    return account.access();
  },
  urls: () => send("GET", "/v1/rt").then(({ url, fallback }) => [url, fallback].filter(Boolean)),
  state: showState,
});
const feed = new Feed({
  list: $("feed"), none: $("feed-none"), names,
  room: (id) => rooms.name(id),
  badge: () => badge("events"),
});
const place = new Place({
  socket,
  changed: (now) => {
    map.setMe(now);
    people.placed = Boolean(now);
    people.render();
    showHint();
  },
  refused: (error) => toast(`The engine did not take that place: ${error.message}`),
});
const map = new PlaceMap({
  node: $("chart"), bar: $("scale-bar"), text: $("scale-text"),
  placed: (lat, lon) => account.user && place.put(lat, lon),
  rested: () => fences.render(),
});
const people = new People({ list: $("people"), none: $("people-none"), names, map, feed, act: { person: personActions } });
const fences = new Fences({ list: $("fences"), none: $("fences-none"), map, call, visit: ({ centre }) => {
  go("map");
  map.show(...centre, 1500);
} });
const rooms = new Rooms({ $, socket, names, call, feed, me: () => account.user, handle: () => account.handle, badge: () => badge("talk"), learnt: (room) => feed.learnt(room), online: (users) => {
  people.online = new Set(users);
  people.render();
} });
const door = new Door({ $, account, wanted });
let visibility = null;

/** Somebody signed in or out. */
async function changed({ user, handle, password }) {
  for (const node of document.querySelectorAll(".signed")) node.hidden = !user;
  if (!user) return leave();
  door.close();
  names.learn(user, handle);
  $("handle").textContent = handle;
  $("account").querySelector(".avatar").replaceWith(avatar(handle, "me"));
  $("kept").hidden = !password;
  $("password").hidden = true;
  socket.start();
  socket.subscribe("me", {
    mode: "stream", limit: RECENT,
    pub: (m) => heard(m),
    lost: () => recent("me", heard),
  });
  socket.subscribe("fences", {
    mode: "stream", limit: RECENT,
    pub: (m) => crossed(m),
    lost: () => recent("fences", crossed),
  });
  watchNear();
  showHint();
  await Promise.allSettled([fences.load(), rooms.load(), loadMe()]);
}

function leave() {
  socket.stop();
  place.stop();
  for (const part of [people, fences, feed, rooms]) part.clear();
  visibility = null;
  showState("out");
  door.open();
}

function watchNear() {
  socket.subscribe("near", people.hears(Number($("radius").value)));
}

/** After a loss: reads the newest part of one of my streams again; what the feed knows already is left out. */
async function recent(ch, take) {
  const { pubs } = await socket.history(ch, { limit: RECENT, reverse: true }).catch(() => ({ pubs: [] }));
  for (const m of pubs.sort((a, b) => a.o - b.o)) take(m);
}

function crossed(m) {
  fences.crossed(m.d.fence, m.d.event);
  feed.add({ ...crossingLine(m, fences), fresh: m.t > Date.now() - 10_000 });
  setTimeout(() => rooms.load().catch(() => {}), 500); // the place's room may have taken me in
}

function heard(m) {
  const line = meLine(m, { answer });
  if (line) feed.add({ ...line, fresh: m.t > Date.now() - 10_000 });
  if (String(m.d.type).startsWith("room.")) rooms.load().catch(() => {});
}

async function loadMe() {
  const me = await call("GET", "/v1/me");
  visibility = me.visibility ?? { audience: me.visibility_audience, precision: me.visibility_precision };
  $("audience").value = visibility.audience;
  showHint();
}

async function see(audience) {
  const before = visibility;
  const precision = ["r8", "r7", "city"].includes(before?.precision) ? before.precision : "r8";
  try {
    await call("PUT", "/v1/me/visibility", { audience, precision });
    visibility = { audience, precision };
  } catch (error) {
    toast(error.message);
  }
  $("audience").value = visibility?.audience ?? audience;
  showHint();
}

function personActions(user, handle) {
  return [
    { text: "Talk", run: () => { go("talk"); rooms.talkTo(user, handle); } },
    ...(rooms.room.id ? [{ text: `Invite to ${rooms.room.name}`, run: () => invite(user, handle) }] : []),
    { text: "Ask to connect", run: async () => (await answer(user, "request")) && toast(`${handle} has been asked.`) },
    { text: "Block", run: () => answer(user, "block") },
  ];
}

async function invite(user, handle) {
  try {
    await call("PUT", `/v1/rooms/${rooms.room.id}/members/${user}`, { role: "member" });
    toast(`${handle} can come in now.`);
  } catch (error) {
    toast(error.message);
  }
}

/** Asks, accepts or blocks; true when it was done. */
async function answer(user, action, version) {
  try {
    await call("PUT", `/v1/connections/${user}`, version === undefined ? { action } : { action, version });
    return true;
  } catch (error) {
    toast(error.message);
    return false;
  }
}

// -- what stands around -----------------------------------------------------------------------------------

function showState(name, detail) {
  const text = { out: "Signed out", ...STATES }[name];
  $("state").dataset.state = name;
  $("state").lastElementChild.textContent = name === "waiting" && detail > 1500 ? `Reconnecting in ${Math.round(detail / 1000)} s` : text;
  $("state").title = name === "stopped" ? detail : "";
  if (name === "stopped" && detail && account.user) toast(detail);
  if (name === "live") place.tell();
}

function showHint() {
  const seen = visibility?.audience;
  const hidden = place.now && (seen === "matches" || seen === "nobody");
  $("hint").hidden = !account.user || Boolean(place.now && !hidden);
  $("hint-text").textContent = !place.now
    ? "Click the map where you are. Others will see the hexagon around it, not the spot."
    : seen === "nobody" ? "Nobody can see you here." : "Only your connections can see you here.";
  $("locate").hidden = Boolean(place.now);
  $("appear").hidden = !hidden;
}

function go(view) {
  location.hash = view;
}

function show() {
  const view = location.hash.slice(1);
  if (!VIEWS.includes(view) && location.hash) return;
  document.body.dataset.view = VIEWS.includes(view) ? view : "map";
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const here = tab.dataset.tab === document.body.dataset.view;
    if (here) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  const mark = $(`${document.body.dataset.view}-badge`);
  if (mark) mark.hidden = true;
}

/** Marks a tab that has news, where tabs are shown and another one is open. */
function badge(view) {
  const mark = $(`${view}-badge`);
  if (!mark || document.body.dataset.view === view) return;
  mark.textContent = mark.hidden ? "1" : String(Math.min(99, Number(mark.textContent) + 1));
  mark.hidden = false;
}

$("radius").addEventListener("change", () => {
  people.clear();
  if (account.user) watchNear();
});
$("audience").addEventListener("change", (event) => see(event.target.value));
$("appear").addEventListener("click", () => see("everyone"));
$("locate").addEventListener("click", async () => {
  try {
    const { lat, lon } = await place.follow();
    map.show(lat, lon, 2500);
  } catch (error) {
    toast(error.message);
  }
});
$("zoom-in").addEventListener("click", () => map.zoom(1.6));
$("zoom-out").addEventListener("click", () => map.zoom(1 / 1.6));
$("home").addEventListener("click", () => {
  if (place.now) map.show(place.now.lat, place.now.lon, 2500);
  else if (fences.all.size) map.show(...[...fences.all.values()].at(-1).centre, 3000);
});
$("leave").addEventListener("click", () => account.leave());
$("reveal").addEventListener("click", () => {
  $("password").textContent = account.password ?? "";
  $("password").hidden = !$("password").hidden;
});
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false;
});
addEventListener("hashchange", show);

show();
account.restore(wanted).then((known) => known || leave());
