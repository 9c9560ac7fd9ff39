// Handles of users, asked for once each.

export class Names {
  /** `call(method, path)` is an HTTP request; `learnt(user)` is called when a handle has come. */
  constructor(call, learnt) {
    Object.assign(this, { call, learnt });
    this.known = new Map();
    this.asked = new Set();
  }

  /** The handle, or a stand-in until it is known. */
  of(user) {
    if (!user) return "somebody";
    if (!this.known.has(user)) this.ask(user);
    return this.known.get(user) ?? "somebody";
  }

  async ask(user) {
    if (this.asked.has(user)) return;
    this.asked.add(user);
    try {
      const profile = await this.call("GET", `/v1/users/${user}`);
      this.learn(user, profile.handle);
    } catch (error) {
      if (error.status !== 404) this.asked.delete(user);
    }
  }

  /** Waits until the handle is known, or can't be. */
  async wait(user) {
    await this.ask(user);
    return this.of(user);
  }

  learn(user, handle) {
    if (!handle || this.known.get(user) === handle) return;
    this.known.set(user, handle);
    this.learnt(user);
  }
}
