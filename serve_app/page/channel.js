// One subscription: keeps its place in the stream (RT-2, RT-4) or its copy of the map (RT-8), and tells the page.

export class Subscription {
  /**
   * `options`: mode, limit, filter go to the engine; and the page hears, where it gave them:
   * `pub(m)` a publication in order · `lost()` the place in the stream is gone, read it anew ·
   * `ready(result)` subscribed · `rows(Map)` the map as it is now, `change(key, before, after)` each difference ·
   * `metas(list)` who is there, `come(meta)`, `go(meta)` · `ephemeral({u, d})` · `refused(error)`.
   */
  constructor(name, { mode, limit, filter, ...hears }, rejoin) {
    Object.assign(this, { name, mode, limit, filter, hears, rejoin });
    this.rows = new Map();
    this.metas = new Map();
  }

  /** What to subscribe with, now or after a reconnect. */
  resumption() {
    const { mode, limit, filter } = this;
    const place = mode === "stream" && this.epoch !== undefined ? { epoch: this.epoch, offset: this.offset } : {};
    return { mode, limit, filter, ...place };
  }

  adopt(result) {
    this.n = result.n;
    if (this.mode === "stream") this.adoptStream(result);
    else if (!this.name.startsWith("presence:")) this.adoptMap(result);
    else if (result.state) this.adoptPresence(result);
    this.hears.ready?.(result);
  }

  adoptStream({ epoch, offset, pubs = [], recovered, was_recovering: recovering }) {
    const lost = recovering && !recovered;
    const after = lost || !recovering ? -1 : this.offset;
    this.epoch = epoch;
    this.offset = offset;
    if (lost) this.hears.lost?.();
    else for (const m of pubs) if (m.o > after) this.hears.pub?.(m);
  }

  /** A further page, or a resumption that tells only differences, goes on from the rows there are. */
  adoptMap({ state, k = [], continued = state === undefined }) {
    const before = this.rows;
    this.rows = new Map(continued ? before : []);
    for (const [key, data, version] of state ?? []) this.rows.set(key, { data, version });
    if (!continued) for (const key of before.keys()) if (!this.rows.has(key)) this.changed(key, before.get(key), undefined);
    for (const [key, row] of this.rows) this.changed(key, before.get(key), row);
    this.applyRows(k);
  }

  adoptPresence({ state, continued = false, j = [], l = [] }) {
    const before = this.metas;
    this.metas = new Map(continued ? before : []);
    for (const meta of [...state, ...j]) this.metas.set(meta.ref, meta);
    for (const meta of l) this.metas.delete(meta.ref);
    this.hears.metas?.([...this.metas.values()], before.size === 0);
  }

  push(frame) {
    if (frame.m) this.next(frame.m.o, () => this.hears.pub?.(frame.m));
    else if (frame.skip !== undefined) this.offset = Math.max(this.offset ?? 0, frame.skip);
    else if (frame.k) this.applyRows(frame.k);
    else if (frame.j || frame.l) this.applyDiff(frame.j ?? [], frame.l ?? []);
    else if (frame.e) this.hears.ephemeral?.(frame.e);
  }

  next(offset, deliver) {
    if (offset <= this.offset) return;
    if (offset > this.offset + 1) return this.rejoin();
    this.offset = offset;
    deliver();
  }

  /** The stream's top, told beside a ping: behind it something was lost. */
  compare(top) {
    if (this.mode === "stream" && this.offset < top) this.rejoin();
  }

  applyRows(rows) {
    for (const [key, sign, data, version] of rows) {
      const before = this.rows.get(key);
      if (sign === "-") this.rows.delete(key);
      else if (before && version <= before.version) continue;
      else this.rows.set(key, { data, version });
      this.changed(key, before, this.rows.get(key));
    }
    this.hears.rows?.(this.rows);
  }

  changed(key, before, after) {
    if (before || after) this.hears.change?.(key, before?.data, after?.data);
  }

  applyDiff(joins, leaves) {
    const replaced = new Set(joins.map((meta) => meta.prev).filter(Boolean));
    for (const meta of leaves) {
      if (this.metas.delete(meta.ref) && !replaced.has(meta.ref)) this.hears.go?.(meta, this.has(meta.u));
    }
    for (const meta of joins) {
      const known = this.has(meta.u);
      if (meta.prev) this.metas.delete(meta.prev);
      this.metas.set(meta.ref, meta);
      if (!known && !meta.prev) this.hears.come?.(meta);
    }
    this.hears.metas?.([...this.metas.values()], false);
  }

  has(user) {
    return [...this.metas.values()].some((meta) => meta.u === user);
  }

  refuse(error) {
    this.hears.refused?.(error);
  }
}
