"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes = {}, parent = null, text = null) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const html = (name, parent, text = "", more = {}) => {
    const element = Object.assign(document.createElement(name), more);
    element.textContent = text;
    parent.append(element);
    return element;
  };
  const clock = (s) => {
    const sign = s < 0 ? "-" : "", all = Math.floor(Math.abs(s)), two = (n) => String(n).padStart(2, "0");
    return `${sign}${Math.floor(all / 3600)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
  };
  const metres = (m) => (m >= 1000 ? `${Number((m / 1000).toFixed(m < 100000 ? 1 : 0))} km` : `${Math.round(m)} m`);
  const moment = (trail, s) => (trail.begins_ms === null ? "" : new Date(trail.begins_ms + s * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC");
  const notCounted = (trail) => trail.fixes.filter((fix) => fix[3] !== "counted");
  const WHY = { jump: "held: implausible speed", stale: "older than the last", repeated: "sent before", accuracy: "no accuracy", coordinates: "no place on Earth" };

  // -- the plane: metres east and north of the first fix, the short way round; near a pole as seen from it ---

  let origin, perDegree;
  const settle = (trail) => {
    const [, lat, lon] = trail.fixes[0];
    const phi = (lat * Math.PI) / 180, w = 1 - 0.00669437999 * Math.sin(phi) ** 2, n = 6378137 / Math.sqrt(w);
    origin = [lat, lon];
    perDegree = [((n * (1 - 0.00669437999)) / w) * (Math.PI / 180), Math.max(n * Math.cos(phi), 1) * (Math.PI / 180)];
  };
  const plane = (lat, lon) => {
    if (Math.abs(origin[0]) > 80) {
      const side = Math.sign(origin[0]), angle = ((lon - origin[1]) * Math.PI) / 180, away = (at) => (90 - side * at) * 111694;
      return [away(lat) * Math.sin(angle), side * (away(lat) * Math.cos(angle) - away(origin[0]))];
    }
    const turn = lon - origin[1];
    return [(turn - 360 * Math.round(turn / 360)) * perDegree[1], -(lat - origin[0]) * perDegree[0]];
  };
  const joined = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

  // -- summary ----------------------------------------------------------------------------------------------

  $("source").textContent = `${report.source} · ${report.made_at}`;
  for (const note of report.notes) html("li", $("notes"), note);
  const columns = [
    ["Walk", (t) => t.name],
    ["Length", (t) => metres(t.length_m)],
    ["Time", (t) => clock(t.seconds)],
    ["Fixes", (t) => Object.values(t.outcomes).reduce((a, b) => a + b)],
    ["that counted", (t) => t.outcomes.counted || 0],
    ["that did not", (t) => { const rest = Object.entries(t.outcomes).filter(([why]) => why !== "counted"); return rest.map(([why, n]) => `${n} ${why}`).join(", ") || "none"; }],
    ["Cells shown", (t) => t.cells.length],
    ["Shown to true: median", (t) => (t.astray_m ? metres(t.astray_m[0]) : "–")],
    ["most", (t) => (t.astray_m ? metres(t.astray_m[1]) : "–")],
    ["Events", (t) => t.events.length],
    ["Stays", (t) => t.stops.length],
  ];
  const head = html("tr", html("thead", $("summary")));
  for (const [title] of columns) html("th", head, title, { scope: "col" });
  const body = html("tbody", $("summary"));
  for (const trail of report.trails) {
    const row = html("tr", body);
    columns.forEach(([title, value], n) => {
      const each = html(n ? "td" : "th", row, String(value(trail)), n ? {} : { scope: "row" });
      each.dataset.title = title;
    });
  }

  // -- the map ------------------------------------------------------------------------------------------------

  const map = $("map");
  let trail, line, box, home, now = 0, layers = {}, last = 0;

  const draw = () => {
    settle(trail);
    map.replaceChildren();
    layers = {};
    for (const name of ["grid", "others", "cells", "fences", "stops", "line", "rejected", "events", "me"]) layers[name] = make("g", { "data-of": name }, map);
    for (const input of document.querySelectorAll("[data-layer]")) layers[input.dataset.layer].style.display = input.checked ? "" : "none";
    const counted = trail.fixes.filter((fix) => fix[3] === "counted").sort((a, b) => a[0] - b[0]);
    line = counted.map((fix) => [fix[0], ...plane(fix[1], fix[2])]);
    for (const other of report.trails) {
      if (other === trail) continue;
      const points = other.fixes.filter((fix) => fix[3] === "counted").map((fix) => plane(fix[1], fix[2]));
      make("polyline", { class: "true other", points: joined(points) }, layers.others);
    }
    for (const cell of trail.cells) {
      cell.drawn = make("polygon", { class: "cell", points: joined(cell.ring.map(([lat, lon]) => plane(lat, lon))) }, layers.cells);
      make("title", {}, cell.drawn, `Cell ${cell.cell}, shown from ${clock(cell.from_s)} to ${clock(cell.to_s)}`);
    }
    for (const fence of report.fences) drawFence(fence);
    make("polyline", { class: "true ahead", points: joined(line.map((p) => p.slice(1))) }, layers.line);
    layers.gone = make("polyline", { class: "true" }, layers.line);
    trail.stops.forEach((stop, n) => {
      const [x, y] = plane(stop.lat, stop.lon);
      make("circle", { class: "stop", cx: x, cy: y, r: stop.radius_m }, layers.stops);
      pin(layers.stops, [x, y], "stay", stop.from_s, `${clock(stop.from_s)} ${stop.text}`, () => make("circle", { r: 6 }));
      trail.stops[n].label = label(layers.stops, [x, y], stop.text);
    });
    for (const fix of notCounted(trail)) {
      pin(layers.rejected, plane(fix[1], fix[2]), "rejected", fix[0], `${clock(fix[0])} ${WHY[fix[3]] || fix[3]}`, () => make("path", { d: "M-5-5 5 5M5-5-5 5" }));
    }
    // Entries and exits lie above what follows from them at the same place.
    const above = (event) => ["enter", "inside", "exit"].includes(event.kind);
    for (const event of [...trail.events].sort((a, b) => above(a) - above(b))) {
      const square = above(event);
      pin(layers.events, plane(event.lat, event.lon), event.kind, event.at_s, `${clock(event.at_s)} ${event.text}`,
        () => (square ? make("rect", { x: -6, y: -6, width: 12, height: 12, rx: 2 }) : make("circle", { r: 6 })));
    }
    const me = make("g", { class: "pin me" }, layers.me);
    make("circle", { r: 7 }, me);
    make("circle", { r: 12 }, me);
    layers.self = me;
    bounds();
    fit();
  };

  const drawFence = (fence) => {
    const shape = fence.geometry;
    let at;
    if (shape.type === "Point") {
      at = plane(shape.coordinates[1], shape.coordinates[0]);
      make("title", {}, make("circle", { class: "fence", cx: at[0], cy: at[1], r: shape.radius_m }, layers.fences), fence.name);
    } else {
      const parts = shape.type === "Polygon" ? [shape.coordinates] : shape.coordinates;
      const rings = parts.flat().map((ring) => ring.map(([lon, lat]) => plane(lat, lon)));
      const path = rings.map((ring) => `M${joined(ring).replaceAll(" ", "L")}Z`).join("");
      make("title", {}, make("path", { class: "fence", d: path }, layers.fences), fence.name);
      at = rings[0].reduce((a, b) => (b[1] < a[1] ? b : a));
    }
    label(layers.fences, shape.type === "Point" ? [at[0], at[1] - shape.radius_m] : at, fence.name);
  };

  const label = (layer, [x, y], text) => {
    const group = make("g", { class: "pin", "data-x": x, "data-y": y }, layer);
    return make("text", { class: "label", y: -9, "text-anchor": "middle" }, group, text);
  };

  const pin = (layer, [x, y], kind, at_s, text, mark) => {
    const group = make("g", { class: `pin ${kind}`, "data-x": x, "data-y": y, "data-s": at_s, role: "img", "aria-label": text }, layer);
    group.append(mark());
    group.addEventListener("pointerenter", () => tell(text, group));
    group.addEventListener("pointerleave", () => ($("tip").hidden = true));
    group.addEventListener("click", () => go(at_s));
  };

  const tell = (text, target) => {
    const tip = $("tip"), frame = $("frame").getBoundingClientRect(), at = target.getBoundingClientRect();
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(at.left - frame.left + 14, frame.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, at.top - frame.top - tip.offsetHeight - 6)}px`;
  };

  const bounds = () => {
    const points = line.map((p) => p.slice(1)).concat(trail.cells.flatMap((c) => c.ring.map(([lat, lon]) => plane(lat, lon))));
    const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
    const low = (all) => all.reduce((a, b) => Math.min(a, b)), high = (all) => all.reduce((a, b) => Math.max(a, b));
    home = [low(xs), low(ys), high(xs) - low(xs), high(ys) - low(ys)];
    const margin = Math.max(home[2], home[3], 50) * 0.04;
    home = [home[0] - margin, home[1] - margin, home[2] + 2 * margin, home[3] + 2 * margin];
  };

  const fit = () => { box = [...home]; view(); };
  const perPixel = () => Math.max(box[2] / (map.clientWidth || 1), box[3] / (map.clientHeight || 1));

  const view = () => {
    map.setAttribute("viewBox", box.join(" "));
    const scale = perPixel();
    for (const each of map.querySelectorAll(".pin[data-x]")) each.setAttribute("transform", `translate(${each.dataset.x} ${each.dataset.y}) scale(${scale})`);
    show();
    const wanted = scale * 90, power = 10 ** Math.floor(Math.log10(wanted)), nice = [1, 2, 5, 10].map((n) => n * power).filter((n) => n <= wanted).pop();
    $("scale").firstElementChild.style.width = `${nice / scale}px`;
    $("scale").lastElementChild.textContent = metres(nice);
    layers.grid.replaceChildren();
    const step = nice * 2, wide = map.clientWidth * scale, high = map.clientHeight * scale;
    const left = box[0] + box[2] / 2 - wide / 2, top = box[1] + box[3] / 2 - high / 2;
    for (let x = Math.ceil(left / step) * step; x < left + wide; x += step) make("line", { class: "grid", x1: x, x2: x, y1: top, y2: top + high }, layers.grid);
    for (let y = Math.ceil(top / step) * step; y < top + high; y += step) make("line", { class: "grid", x1: left, x2: left + wide, y1: y, y2: y }, layers.grid);
  };

  const zoom = (factor, at = [box[0] + box[2] / 2, box[1] + box[3] / 2]) => {
    const least = 40 / Math.max(box[2], box[3]), most = (20 * Math.max(home[2], home[3])) / Math.max(box[2], box[3]);
    const by = Math.min(Math.max(factor, least), most);
    box = [at[0] - (at[0] - box[0]) * by, at[1] - (at[1] - box[1]) * by, box[2] * by, box[3] * by];
    view();
  };
  const under = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    return [point.x, point.y];
  };
  map.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, under(event)); }, { passive: false });
  const fingers = new Map();
  map.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, [event.clientX, event.clientY]));
  map.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const scale = perPixel(), others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (others.length) {
      const apart = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]) || 1;
      zoom(apart(before) / apart([event.clientX, event.clientY]));
    } else {
      box[0] -= (event.clientX - before[0]) * scale;
      box[1] -= (event.clientY - before[1]) * scale;
      view();
    }
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) map.addEventListener(name, (event) => fingers.delete(event.pointerId));
  map.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) { const step = perPixel() * 60; box[0] += move[0] * step; box[1] += move[1] * step; view(); }
    else if (event.key === "+" || event.key === "=") zoom(1 / 1.3);
    else if (event.key === "-") zoom(1.3);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  $("in").addEventListener("click", () => zoom(1 / 1.4));
  $("out").addEventListener("click", () => zoom(1.4));
  $("fit").addEventListener("click", fit);
  new ResizeObserver(() => box && view()).observe(map);

  // -- time ---------------------------------------------------------------------------------------------------

  const indexAt = (s) => { let low = 0, high = line.length; while (low < high) { const middle = (low + high) >> 1; if (line[middle][0] <= s) low = middle + 1; else high = middle; } return Math.max(low - 1, 0); };

  const show = () => {
    const at = indexAt(now), [, x, y] = line[at];
    layers.gone.setAttribute("points", joined(line.slice(0, at + 1).map((p) => p.slice(1))));
    layers.self.setAttribute("transform", `translate(${x} ${y}) scale(${perPixel()})`);
    let seen = null;
    for (const cell of trail.cells) {
      const current = cell.from_s <= now && (now < cell.to_s || cell === trail.cells[trail.cells.length - 1]);
      if (current) seen = cell;
      cell.drawn.setAttribute("class", `cell${current ? " now" : cell.from_s <= now ? " was" : ""}`);
    }
    for (const each of map.querySelectorAll(".pin[data-s]")) each.classList.toggle("later", Number(each.dataset.s) > now);
    let current = null;
    for (const item of document.querySelectorAll(".lists li[data-s]")) {
      const later = Number(item.dataset.s) > now;
      item.classList.toggle("later", later);
      item.classList.remove("now");
      if (!later && item.parentElement.id === "events") current = item;
    }
    if (current) current.classList.add("now");
    const when = moment(trail, now);
    $("now").textContent = `${clock(now)}${when ? " · " + when : ""}`;
    $("slider").setAttribute("aria-valuetext", clock(now));
    $("sees").textContent = seen ? `Strangers see cell ${seen.cell} since ${clock(seen.from_s)}.` : "Strangers see nothing.";
  };
  const go = (s) => { now = Math.min(Math.max(s, 0), last); $("slider").value = now; show(); };
  $("slider").addEventListener("input", (event) => { now = Number(event.target.value); show(); });

  let playing = 0;
  const play = (on) => {
    cancelAnimationFrame(playing);
    playing = 0;
    $("play").textContent = on ? "❚❚" : "▶";
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return;
    if (now >= last) go(0);
    const from = now, begun = performance.now(), per_ms = last / 30000;
    const step = (at) => { go(from + (at - begun) * per_ms); if (now < last) playing = requestAnimationFrame(step); else play(false); };
    playing = requestAnimationFrame(step);
  };
  $("play").addEventListener("click", () => play(!playing));

  // -- lists --------------------------------------------------------------------------------------------------

  const list = (id, rows, none) => {
    $(id).replaceChildren();
    $(`${id}-count`).textContent = rows.length ? `${rows.length}` : "";
    if (!rows.length) html("li", $(id), none, { className: "none" });
    for (const [s, text] of rows) {
      const item = html("li", $(id)), button = html("button", item, "", { type: "button" });
      item.dataset.s = s;
      html("time", button, clock(s));
      html("span", button, text);
      button.addEventListener("click", () => go(s));
    }
  };
  const choose = (number) => {
    play(false);
    trail = report.trails[number];
    list("events", trail.events.map((e) => [e.at_s, e.text]), "none");
    list("stops", trail.stops.map((s) => [s.from_s, `${s.text}, until ${clock(s.to_s)}`]), "none");
    list("rejected", notCounted(trail).map((f) => [f[0], WHY[f[3]] || f[3]]), "none: all counted");
    last = Math.ceil(trail.events.reduce((most, e) => Math.max(most, e.at_s), trail.seconds));
    now = 0;
    $("slider").max = last;
    $("slider").value = 0;
    draw();
  };
  report.trails.forEach((each, number) => html("option", $("which"), each.name, { value: number }));
  $("which-label").hidden = report.trails.length < 2;
  $("which").addEventListener("change", (event) => choose(Number(event.target.value)));
  for (const input of document.querySelectorAll("[data-layer]")) input.addEventListener("change", () => (layers[input.dataset.layer].style.display = input.checked ? "" : "none"));
  choose(0);
  const asked = new URLSearchParams(location.hash.slice(1)).get("t");
  if (asked) go(Number(asked));
})();
