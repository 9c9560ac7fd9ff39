// Who is signed in, in this tab. A made-up password stays in this browser (localStorage), one a person typed
// does not; the session's refresh token is the tab's own (sessionStorage), since a refresh token is used once.

import { Refused, send } from "./http.js";

const PASSWORDS = "hereabouts.passwords";
const LAST = "hereabouts.last";
const DEVICE = "hereabouts.device";
const SESSION = "hereabouts.session";

const FIRST = ["amber", "brisk", "calm", "clear", "early", "fern", "gentle", "hazel", "keen", "light", "lucky",
  "merry", "mild", "north", "quiet", "river", "silver", "sunny", "swift", "warm"];
const SECOND = ["badger", "finch", "fox", "hare", "heron", "jay", "kite", "lark", "linnet", "marten", "mole", "otter",
  "owl", "plover", "robin", "seal", "sparrow", "stoat", "swan", "wren"];

export class Account {
  /** `changed(account)` is called when somebody signs in or out, `renewed(token)` after each refresh. */
  constructor({ changed, renewed }) {
    this.changed = changed;
    this.renewed = renewed;
    this.user = null;
    this.handle = null;
    this.tokens = null;
    this.refreshing = null;
    this.timer = 0;
  }

  get password() {
    return this.handle ? passwords()[this.handle] : undefined;
  }

  /** Signs in with what this browser has kept, if anything; `wanted` narrows it to one handle. */
  async restore(wanted) {
    const session = read(sessionStorage, SESSION);
    if (session?.refresh_token && (!wanted || session.handle === wanted)) {
      this.handle = session.handle;
      this.tokens = { refresh_token: session.refresh_token };
      if (await this.refresh().then(() => true, () => false)) return true;
    }
    const handle = wanted || localStorage.getItem(LAST);
    const password = handle && passwords()[handle];
    if (!password) return false;
    return this.enter(handle, password).then(() => true, () => false);
  }

  async join(handle, birthDate) {
    const password = randomText(24);
    const body = { handle, password, birth_date: birthDate, device: device() };
    const answer = await send("POST", "/v1/auth/register", { body });
    localStorage.setItem(PASSWORDS, JSON.stringify({ ...passwords(), [handle]: password }));
    this.begin(handle, answer);
  }

  async enter(handle, password) {
    const answer = await send("POST", "/v1/auth/login", { body: { handle, password, device: device() } });
    this.begin(handle, answer);
  }

  begin(handle, answer) {
    this.handle = handle;
    localStorage.setItem(LAST, handle);
    this.adopt(answer);
    this.changed(this);
  }

  async leave() {
    const tokens = this.tokens;
    const access = tokens?.access_token;
    this.forget();
    localStorage.removeItem(LAST);
    if (tokens?.refresh_token) {
      await send("POST", "/v1/auth/logout", { body: { refresh_token: tokens.refresh_token }, token: access }).catch(() => {});
    }
  }

  /** An access token that is good for another half minute at least. */
  async access() {
    if (!this.tokens) throw new Error("signed out");
    if (!this.tokens.access_token || this.tokens.until < Date.now() + 30_000) await this.refresh();
    return this.tokens.access_token;
  }

  /** Forgets the access token, so that the next one is new. */
  distrust() {
    if (this.tokens) this.tokens.access_token = null;
  }

  refresh() {
    this.refreshing ??= this.renew().finally(() => { this.refreshing = null; });
    return this.refreshing;
  }

  async renew() {
    const first = !this.user;
    const before = this.tokens;
    try {
      const answer = await send("POST", "/v1/auth/refresh", { body: { refresh_token: before.refresh_token, device: device() } });
      if (this.tokens !== before) return;
      this.adopt(answer);
    } catch (error) {
      if (!(error instanceof Refused) || error.status >= 500 || error.status === 429) throw error;
      const password = this.password;
      if (!password || first) {
        this.forget();
        throw error;
      }
      const body = { handle: this.handle, password, device: device() };
      this.adopt(await send("POST", "/v1/auth/login", { body }));
    }
    if (first) this.changed(this);
    else this.renewed(this.tokens.access_token);
  }

  adopt(answer) {
    this.tokens = { ...this.tokens, ...answer, until: Date.now() + answer.expires_in * 1000 };
    this.user = answer.user;
    sessionStorage.setItem(SESSION, JSON.stringify({ handle: this.handle, refresh_token: this.tokens.refresh_token }));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh().catch(() => {}), answer.expires_in * 750);
  }

  forget() {
    clearTimeout(this.timer);
    sessionStorage.removeItem(SESSION);
    const was = this.user;
    this.user = this.handle = this.tokens = null;
    if (was) this.changed(this);
  }

  /** An HTTP request in this person's name. */
  async call(method, path, body, headers) {
    const token = await this.access();
    try {
      return await send(method, path, { body, token, headers });
    } catch (error) {
      if (error.status !== 401) throw error;
      this.distrust();
      return send(method, path, { body, token: await this.access(), headers });
    }
  }
}

/** The same for this browser, so that its sessions can be told apart. */
export function device() {
  let id = localStorage.getItem(DEVICE);
  if (!id) localStorage.setItem(DEVICE, (id = `page-${randomText(10)}`));
  return id;
}

export function suggestHandle() {
  const pick = (words) => words[crypto.getRandomValues(new Uint32Array(1))[0] % words.length];
  return `${pick(FIRST)}-${pick(SECOND)}-${100 + (crypto.getRandomValues(new Uint32Array(1))[0] % 900)}`;
}

export function randomText(length) {
  const alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => alphabet[byte % alphabet.length]).join("");
}

function passwords() {
  return read(localStorage, PASSWORDS) ?? {};
}

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}
