// Builds elements. Whatever people wrote goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** Makes an element: `props` are attributes, `on…` listeners, `text`; children are nodes or strings. */
export function el(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function dress(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A circle with a handle's first letters. */
export function avatar(handle, extra = "") {
  return el("span", { class: `avatar ${extra}`, "aria-hidden": "true", text: initials(handle) });
}

export function initials(handle) {
  const parts = handle.split(/[^\p{L}\p{N}]+/u).filter((part, index) => part && (index === 0 || /^\p{L}/u.test(part)));
  const letters = parts.length > 1 ? [...parts[0]][0] + [...parts[1]][0] : [...(parts[0] ?? "?")].slice(0, 2).join("");
  return letters.toUpperCase();
}

/** Makes `nodes` the children of `parent`; those that stand right already are not touched (focus, live regions). */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

/** Nodes by key, made anew only when what they show has changed. */
export class Kept {
  constructor() {
    this.nodes = new Map();
  }

  node(key, shows, make) {
    const text = JSON.stringify(shows);
    const known = this.nodes.get(key);
    if (known?.text === text) return known.node;
    const node = make();
    this.nodes.set(key, { text, node });
    return node;
  }

  clear() {
    this.nodes.clear();
  }
}

/** 14:03:07 of a Unix time in ms, in the reader's own zone. */
export function clock(ms, seconds = false) {
  const options = { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hourCycle: "h23" };
  return new Date(ms).toLocaleTimeString([], options);
}

/** Says something for a few seconds at the foot of the page. */
export function toast(text) {
  const note = el("p", { class: "toast", text });
  $("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}
