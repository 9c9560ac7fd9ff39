// Where the map looks: a local flat projection around the middle, good for the tens of kilometres it shows.

import { turn } from "./cells.js";

const METRES_PER_DEGREE = 111_320;
const FINEST = 0.5;
const COARSEST = 400;

export class View {
  constructor({ lat, lon, mpp }) {
    Object.assign(this, { lat, lon, mpp, width: 1, height: 1 });
  }

  /** Pixels of a position; [0, 0] is the top left. */
  at(lat, lon) {
    const x = (turn(lon - this.lon) * METRES_PER_DEGREE * this.shrink()) / this.mpp;
    const y = ((this.lat - lat) * METRES_PER_DEGREE) / this.mpp;
    return [this.width / 2 + x, this.height / 2 + y];
  }

  /** The position under a pixel, as [lat, lon]. */
  under(x, y) {
    const lat = this.lat - ((y - this.height / 2) * this.mpp) / METRES_PER_DEGREE;
    const lon = this.lon + ((x - this.width / 2) * this.mpp) / (METRES_PER_DEGREE * this.shrink());
    return [Math.max(-90, Math.min(90, lat)), turn(lon)];
  }

  shift(dx, dy) {
    [this.lat, this.lon] = this.under(this.width / 2 - dx, this.height / 2 - dy);
    this.lat = Math.max(-85, Math.min(85, this.lat));
  }

  /** Zooms by a factor (above 1: closer) so that the pixel keeps its position. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const [lat, lon] = this.under(x, y);
    this.mpp = Math.max(FINEST, Math.min(COARSEST, this.mpp / factor));
    const [nowX, nowY] = this.at(lat, lon);
    this.shift(x - nowX, y - nowY);
  }

  /** Looks at a point with about `radius` metres around it in sight. */
  show(lat, lon, radius) {
    Object.assign(this, { lat, lon });
    if (radius) this.mpp = Math.max(FINEST, Math.min(COARSEST, (radius * 2) / Math.sqrt(this.width * this.height)));
  }

  shrink() {
    return Math.max(0.05, Math.cos((this.lat * Math.PI) / 180));
  }
}

/** Lets pointer, wheel and keys move a view; calls `moved` after each, and `picked(x, y)` for a click. */
export function gestures(node, view, { moved, picked }) {
  const fingers = new Map();
  let travelled = 0;
  const place = (event) => {
    const box = node.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (fingers.size === 0) travelled = 0;
    fingers.set(event.pointerId, place(event));
    node.setPointerCapture(event.pointerId);
  });
  node.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      view.zoom(apart(now) / Math.max(1, apart(before)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else {
      view.shift(now[0] - before[0], now[1] - before[1]);
    }
    fingers.set(event.pointerId, now);
    if (travelled > 6) moved();
  });
  const lift = (event) => {
    const alone = fingers.size === 1;
    if (!fingers.delete(event.pointerId) || !alone || travelled > 6 || event.type !== "pointerup") return;
    picked(...place(event));
  };
  node.addEventListener("pointerup", lift);
  node.addEventListener("pointercancel", lift);
  node.addEventListener("wheel", (event) => {
    event.preventDefault();
    view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...place(event));
    moved();
  }, { passive: false });
  const keys = {
    ArrowLeft: () => view.shift(60, 0), ArrowRight: () => view.shift(-60, 0),
    ArrowUp: () => view.shift(0, 60), ArrowDown: () => view.shift(0, -60),
    "+": () => view.zoom(1.4), "=": () => view.zoom(1.4), "-": () => view.zoom(1 / 1.4),
    Enter: () => picked(view.width / 2, view.height / 2),
  };
  node.addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    moved();
  });
}
