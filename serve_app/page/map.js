// The map: hexagonal cells, fences, people in the middle of their cells, and the spot where I say I am.

import { cellAt, outline } from "./cells.js";
import { initials, svg } from "./dom.js";
import { View, gestures } from "./view.js";

const KEPT = "hereabouts.view";
const START = { lat: 51.4779, lon: 0, mpp: 9 }; // Greenwich, until there is something to look at
const SCALES_M = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000];
const ANCHOR_M = 4000; // beyond this a continued honeycomb is off by too much
const CHIP = 15;
const PITCH = CHIP * 2 + 3;
const LEAST = 0.45; // of a chip's size, however full or small its cell

export class PlaceMap {
  /** `placed(lat, lon)` is called for a click, `rested()` when the map has come to rest. */
  constructor({ node, bar, text, placed, rested }) {
    Object.assign(this, { node, bar, text, rested });
    this.fences = [];
    this.people = new Map(); // user → {handle, cell, online}
    this.chips = new Map(); // user → <g>
    this.shapes = new Map(); // cell → outline
    this.me = null;
    this.mine = null; // the cell that others see me in
    this.kept = read();
    this.view = new View(this.kept ?? START);
    this.layers = {};
    for (const name of ["lattice", "cells", "fences", "people", "labels", "me", "cross"]) {
      node.append((this.layers[name] = svg("g", { class: name })));
    }
    this.layers.cross.append(svg("path", { d: "M-9 0H9M0-9V9" }));
    gestures(node, this.view, {
      moved: () => this.moved(),
      picked: (x, y) => placed(...this.view.under(x, y)),
    });
    new ResizeObserver(() => this.draw()).observe(node);
  }

  moved() {
    this.kept = { lat: this.view.lat, lon: this.view.lon, mpp: this.view.mpp };
    localStorage.setItem(KEPT, JSON.stringify(this.kept));
    this.node.classList.add("moving");
    clearTimeout(this.settled);
    this.settled = setTimeout(() => {
      this.node.classList.remove("moving");
      this.rested();
    }, 120);
    this.draw();
  }

  /** Looks at a place, with that many metres around it. */
  show(lat, lon, radius) {
    this.view.show(lat, lon, radius);
    this.moved();
  }

  zoom(factor) {
    this.view.zoom(factor);
    this.moved();
  }

  setMe(place, cell) {
    this.me = place;
    if (cell !== undefined) this.mine = cell;
    this.load(this.mine);
    this.draw();
  }

  setFences(fences) {
    this.fences = fences;
    if (!this.kept && !this.me && fences.length) this.lookAt(fences);
    this.draw();
  }

  setPeople(people) {
    this.people = people;
    for (const { cell } of people.values()) this.load(cell);
    this.draw();
  }

  /** Looks at the newest fences: where something is going on. */
  lookAt(fences) {
    const [lat, lon] = fences.at(-1).centre;
    const near = fences.filter((fence) => Math.abs(fence.centre[0] - lat) < 0.1 && Math.abs(fence.centre[1] - lon) < 0.15);
    const mean = (axis) => near.reduce((sum, fence) => sum + fence.centre[axis], 0) / near.length;
    this.view.show(mean(0), mean(1), 2500);
  }

  async load(cell) {
    if (!cell || this.shapes.has(cell)) return;
    this.shapes.set(cell, null);
    const shape = await outline(cell);
    if (!shape) return this.shapes.delete(cell);
    this.shapes.set(cell, shape);
    this.draw();
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.render();
    });
  }

  render() {
    const { width, height } = this.node.getBoundingClientRect();
    if (!width || !height) return;
    Object.assign(this.view, { width, height });
    this.node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.layers.cross.setAttribute("transform", `translate(${width / 2} ${height / 2})`);
    this.drawLattice();
    this.drawCells();
    this.drawFences();
    this.drawPeople();
    this.drawMe();
    this.drawScale();
  }

  path(rings) {
    return rings.map((ring) => `M${ring.map(([lon, lat]) => this.view.at(lat, lon).map(round).join(" ")).join("L")}Z`).join("");
  }

  /** Any cell whose outline is known: one of mine or of people near, the one nearest to the middle. */
  anchor() {
    let best = null;
    let least = Infinity;
    for (const [cell, shape] of this.shapes) {
      if (!shape || shape.ring.length !== 7 || !ofResolution8(cell)) continue;
      const [x, y] = this.view.at(shape.centre[1], shape.centre[0]);
      const away = Math.hypot(x - this.view.width / 2, y - this.view.height / 2);
      if (away < least) [best, least] = [shape, away];
    }
    if (least * this.view.mpp > ANCHOR_M) this.seek();
    return best;
  }

  /** Asks for a cell near the middle, once for each place. */
  async seek() {
    const { lat, lon } = this.view;
    const place = `${lat.toFixed(2)},${lon.toFixed(2)}`;
    if (this.sought === place || this.view.mpp > 60) return;
    this.sought = place;
    this.load(await cellAt(lat, lon));
  }

  /** The honeycomb around, continued from one known cell: neighbours of an H3 cell are nearly its copies. */
  drawLattice() {
    const shape = this.anchor();
    this.node.classList.toggle("plain", !shape);
    const paths = shape ? this.honeycomb(shape) : this.squares();
    this.layers.lattice.replaceChildren(svg("path", { d: paths }));
  }

  honeycomb(shape) {
    const corners = shape.ring.slice(0, 6).map(([lon, lat]) => this.view.at(lat, lon));
    const middle = this.view.at(shape.centre[1], shape.centre[0]);
    const step = (i) => [0, 1].map((axis) => corners[i][axis] + corners[(i + 1) % 6][axis] - 2 * middle[axis]);
    const [a, b] = [step(0), step(1)];
    const det = a[0] * b[1] - a[1] * b[0];
    const size = Math.sqrt(Math.abs(det));
    if (size < 14) return "";
    const range = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([u, v]) => {
      const dx = u * this.view.width - middle[0];
      const dy = v * this.view.height - middle[1];
      return [(dx * b[1] - dy * b[0]) / det, (a[0] * dy - a[1] * dx) / det];
    });
    const [iMin, iMax, jMin, jMax] = [0, 1].flatMap((axis) => {
      const values = range.map((pair) => pair[axis]);
      return [Math.floor(Math.min(...values)) - 1, Math.ceil(Math.max(...values)) + 1];
    });
    // three sides of each hexagon draw every line of the honeycomb once
    const half = corners.slice(0, 4).map((corner) => [corner[0] - middle[0], corner[1] - middle[1]]);
    let d = "";
    for (let i = iMin; i <= iMax; i += 1) {
      for (let j = jMin; j <= jMax; j += 1) {
        const x = middle[0] + i * a[0] + j * b[0];
        const y = middle[1] + i * a[1] + j * b[1];
        if (x < -size || y < -size || x > this.view.width + size || y > this.view.height + size) continue;
        d += `M${half.map(([dx, dy]) => `${round(x + dx)} ${round(y + dy)}`).join("L")}`;
      }
    }
    return d;
  }

  squares() {
    const step = this.scale() / this.view.mpp;
    const { width, height } = this.view;
    let d = "";
    for (let x = (width / 2) % step; x < width; x += step) d += `M${round(x)} 0V${height}`;
    for (let y = (height / 2) % step; y < height; y += step) d += `M0 ${round(y)}H${width}`;
    return d;
  }

  drawCells() {
    const shown = new Map();
    for (const { cell } of this.people.values()) shown.set(cell, (shown.get(cell) ?? 0) + 1);
    const nodes = [];
    if (this.shapes.get(this.mine)) nodes.push(svg("path", { class: "mine", d: this.path([this.shapes.get(this.mine).ring]) }));
    for (const [cell, count] of shown) {
      const shape = this.shapes.get(cell);
      if (shape) nodes.push(svg("path", { class: `cell many-${Math.min(count, 4)}`, d: this.path([shape.ring]) }));
    }
    this.layers.cells.replaceChildren(...nodes);
  }

  drawFences() {
    this.layers.fences.replaceChildren(...this.fences.map((fence) => {
      const d = fence.polygons.map((rings) => this.path(rings)).join("");
      return svg("path", { class: fence.inside ? "inside" : "", d });
    }));
    this.layers.labels.replaceChildren(...this.fences.map((fence) => {
      const [x, y] = this.view.at(...fence.top).map(round);
      return svg("text", { class: fence.inside ? "inside" : "", x, y: y - 7, text: fence.name });
    }));
  }

  /** People stand in their cell's middle, side by side where there are several: where exactly nobody knows. */
  drawPeople() {
    const cells = new Map();
    for (const [user, person] of this.people) {
      if (this.shapes.get(person.cell)) cells.set(person.cell, [...(cells.get(person.cell) ?? []), user]);
    }
    const seen = new Set();
    for (const [cell, users] of cells) {
      const shape = this.shapes.get(cell);
      const [x, y] = this.view.at(shape.centre[1], shape.centre[0]);
      users.sort().forEach((user, index) => {
        seen.add(user);
        const columns = Math.min(users.length, Math.ceil(Math.sqrt(users.length)) + 1);
        const row = Math.floor(index / columns);
        const inRow = Math.min(columns, users.length - row * columns);
        const rows = Math.ceil(users.length / columns);
        const size = Math.min(1, Math.max(LEAST, (0.85 * this.across(shape)) / (columns * PITCH)));
        const dx = ((index % columns) - (inRow - 1) / 2) * PITCH * size;
        const dy = (row - (rows - 1) / 2) * PITCH * size;
        const chip = this.chip(user);
        chip.style.transform = `translate(${round(x + dx)}px, ${round(y + dy)}px) scale(${size.toFixed(2)})`;
        chip.classList.toggle("online", Boolean(this.people.get(user).online));
      });
    }
    for (const [user, chip] of this.chips) {
      if (seen.has(user)) continue;
      this.chips.delete(user);
      chip.remove();
    }
  }

  /** A cell's width in pixels, from side to side. */
  across({ ring }) {
    const corner = (i) => this.view.at(ring[i][1], ring[i][0]);
    const [[ax, ay], [bx, by]] = [corner(0), corner(Math.floor((ring.length - 1) / 2))];
    return Math.hypot(bx - ax, by - ay) * 0.87;
  }

  chip(user) {
    const { handle } = this.people.get(user);
    let chip = this.chips.get(user);
    if (!chip) {
      chip = svg("g", { class: "chip" }, svg("title"), svg("circle", { r: CHIP }), svg("text", { dy: "0.36em" }), svg("circle", { class: "dot", cx: 11, cy: -11, r: 4.5 }));
      this.chips.set(user, chip);
      this.layers.people.append(chip);
    }
    if (chip.handle !== handle) {
      chip.handle = handle;
      chip.querySelector("title").textContent = handle;
      chip.querySelector("text").textContent = initials(handle);
    }
    return chip;
  }

  drawMe() {
    const layer = this.layers.me;
    layer.classList.toggle("hidden", !this.me);
    if (!this.me) return;
    if (!layer.firstChild) layer.append(svg("circle", { class: "ring", r: 14 }), svg("circle", { class: "spot", r: 7 }), svg("title", { text: "You" }));
    const [x, y] = this.view.at(this.me.lat, this.me.lon);
    layer.setAttribute("transform", `translate(${round(x)} ${round(y)})`);
  }

  scale() {
    return SCALES_M.find((metres) => metres / this.view.mpp >= 60) ?? SCALES_M.at(-1);
  }

  drawScale() {
    const metres = this.scale();
    this.bar.style.width = `${round(metres / this.view.mpp)}px`;
    this.text.textContent = metres < 1000 ? `${metres} m` : `${metres / 1000} km`;
  }
}

function ofResolution8(cell) {
  return Number.parseInt(cell[1], 16) === 8;
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEPT));
  } catch {
    return null;
  }
}
