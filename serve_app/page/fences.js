// Fences: from GeoJSON to what the map draws, and the list where a person lets a place's room take them in.

import { turn } from "./cells.js";
import { Kept, arrange, el } from "./dom.js";

const LISTED = 12; // the nearest; the map shows all
const AROUND_DEGREES = 0.4;

/** A fence as the map wants it, from a GeoJSON Feature. */
export function fenceShape(feature) {
  const { type, coordinates } = feature.geometry;
  const polygons = type === "MultiPolygon" ? coordinates : type === "Polygon" ? [coordinates] : [circle(feature)];
  const corners = polygons.flatMap((rings) => rings[0]);
  const lats = corners.map(([, lat]) => lat);
  const lons = corners.map(([lon]) => lon);
  const mid = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const { name, room, ...properties } = feature.properties ?? {};
  return {
    id: feature.id ?? properties.id,
    name: name ?? "Fence",
    room: room ?? properties.room_id ?? null,
    mine: properties.me ?? properties.mine ?? {},
    polygons,
    centre: [mid(lats), mid(lons)],
    top: [Math.max(...lats), mid(lons)],
    inside: false,
  };
}

/** A point with `radius_m` in its properties is a circle; drawn with 48 corners. */
function circle({ geometry, properties }) {
  const [lon, lat] = geometry.type === "Point" ? geometry.coordinates : [0, 0];
  const radius = (properties.radius_m ?? 100) / 111_320;
  const ring = Array.from({ length: 49 }, (_, i) => {
    const angle = (i / 48) * 2 * Math.PI;
    return [lon + (radius * Math.cos(angle)) / Math.cos((lat * Math.PI) / 180), lat + radius * Math.sin(angle)];
  });
  return [ring];
}

export class Fences {
  constructor({ list, none, map, call, visit }) {
    Object.assign(this, { list, none, map, call, visit });
    this.all = new Map();
    this.inside = new Set();
    this.grants = new Map();
    this.kept = new Kept();
  }

  async load() {
    const found = new Map();
    let path = "/v1/fences?limit=300";
    for (let pages = 0; path && pages < 5; pages += 1) {
      const answer = await this.call("GET", path);
      for (const feature of answer.items ?? answer.features ?? []) {
        const fence = fenceShape(feature);
        found.set(fence.id, fence);
      }
      path = answer.next ? `/v1/fences?limit=300&cursor=${encodeURIComponent(answer.next)}` : null;
    }
    this.all = found;
    this.render();
  }

  name(id) {
    return this.all.get(id)?.name ?? "a fence";
  }

  /** A crossing moved me: `inside` and `enter` in, `exit` out. */
  crossed(id, event) {
    if (event === "exit") this.inside.delete(id);
    else this.inside.add(id);
    if (!this.all.has(id)) this.load().catch(() => {});
    this.render();
  }

  clear() {
    this.all.clear();
    this.inside.clear();
    this.grants.clear();
    this.render();
  }

  render() {
    const fences = [...this.all.values()];
    for (const fence of fences) fence.inside = this.inside.has(fence.id);
    this.map.setFences(fences);
    const away = (fence) => Math.hypot(fence.centre[0] - this.map.view.lat, turn(fence.centre[1] - this.map.view.lon) * 0.6);
    const around = fences.filter((fence) => fence.inside || away(fence) < AROUND_DEGREES);
    const listed = around.sort((a, b) => away(a) - away(b)).slice(0, LISTED);
    this.none.hidden = listed.length > 0;
    arrange(this.list, listed.map((fence) =>
      this.kept.node(fence.id, [fence.name, fence.room, fence.inside], () => this.item(fence))));
  }

  item(fence) {
    const wants = this.grants.get(fence.id) ?? Boolean(fence.mine.auto_join);
    const box = el("input", { type: "checkbox", checked: wants, onchange: () => this.grant(fence, box) });
    return el("li", { class: fence.inside ? "inside" : "" },
      el("button", { type: "button", class: "link", text: fence.name, onclick: () => this.visit(fence) }),
      fence.inside ? el("small", { text: "you are inside" }) : null,
      fence.room ? el("label", { class: "tick" }, box, " join its room when I come") : null);
  }

  async grant(fence, box) {
    const wants = box.checked;
    try {
      await this.call("PUT", `/v1/me/fences/${fence.id}`, { grant: wants ? "exact" : "count", auto_join: wants });
      this.grants.set(fence.id, wants);
    } catch {
      box.checked = !wants;
    }
  }
}
