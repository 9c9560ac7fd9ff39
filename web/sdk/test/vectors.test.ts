// The TypeScript client's core plays every protocol vector (sdk/vectors/README.md), as the Python one does.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { codec, Core, DEFAULTS } from "../dist/index.js";
import { shown } from "./shown.ts";

const folder = new URL("../../../sdk/vectors/", import.meta.url);
const WELCOME = {
  sid: "s1", key: "k1", user: "me", node: "head", ping: 25, pong: 8, exp: 600, resumed: false, limits: {}, time: 0,
};
const BESIDE = ["at", "out", "deadline", "rows", "refs", "sent"];

const load = (name: string): any[] => JSON.parse(readFileSync(new URL(name, folder), "utf8"));
const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** Does a vector's steps to a core. */
class Player {
  readonly chance: number[];
  readonly core: Core;
  private sent: boolean | undefined;

  constructor(vector: any) {
    this.chance = [...(vector.chance ?? [])];
    const given = Object.fromEntries(Object.entries(vector.options ?? {}).map(([name, value]) => [camel(name), value]));
    const next = () => {
      const number = this.chance.shift();
      assert(number !== undefined, "no random number is left");
      return number;
    };
    this.core = new Core({ ...DEFAULTS, device: "d1", sdk: "test/1", ...given }, next);
    if (vector.begin === undefined) return;
    for (const channel of vector.begin.subscribe ?? []) this.do("subscribe", channel, 0);
    this.do("start", {}, 0);
    this.do("opened", "token-1", 0);
    this.do("received", [{ id: 1, connect: { ...WELCOME, subs: vector.begin.subs ?? {}, limits: vector.begin.limits ?? {} } }], 0);
    this.core.drain();
  }

  do(what: string, given: any, at: number): void {
    const { core } = this;
    switch (what) {
      case "start": return core.start(at);
      case "stop": return core.stop();
      case "opened": return core.opened(given, at);
      case "failed": return core.failed(given.reason, at, given.final ?? false);
      case "received": return core.received(given, at);
      case "closed": return core.closed(given.code, given.reason, at);
      case "tick": return core.tick(at);
      case "renewed": return core.renewed(given.token, at, given.final ?? false);
      case "subscribe": {
        const { channel, ...how } = given;
        return void core.following.subscribe(channel, how, at);
      }
      case "unsubscribe": return core.following.unsubscribe(given, at);
      case "publish": return core.publishing.publish(given.channel, given.data, given.cid, given.ack ?? null, at);
      case "ephemeral": return void (this.sent = core.ephemeral(given.channel, given.data));
      case "command": return core.command(given.ref, given.verb, given.body, at);
      case "position": return core.position(given.fix, given.ref ?? null, at);
      default: assert.fail(`no step ${what}`);
    }
  }

  step(step: any): void {
    const [what, ...more] = Object.keys(step).filter((name) => !BESIDE.includes(name));
    assert(what !== undefined && more.length === 0, "one thing a step");
    this.do(what, step[what], step.at);
    assert.deepEqual(this.core.drain().map(shown), step.out ?? [], JSON.stringify(step));
    assert.equal(this.sent, step.sent, JSON.stringify(step));
    this.sent = undefined;
    if ("deadline" in step) assert.equal(this.core.deadlineMs, step.deadline, JSON.stringify(step));
    for (const [name, rows] of Object.entries(step.rows ?? {})) {
      assert.deepEqual(Object.fromEntries(this.core.following.channels.get(name)!.rows), rows, JSON.stringify(step));
    }
    for (const [name, refs] of Object.entries(step.refs ?? {})) {
      assert.deepEqual([...this.core.following.channels.get(name)!.metas.keys()].sort(), refs, JSON.stringify(step));
    }
  }
}

const files = readdirSync(folder).filter((name) => name.endsWith(".json") && name !== "codec.json").sort();
for (const file of files) {
  for (const vector of load(file)) {
    test(`${file.replace(".json", "")}: ${vector.name}`, () => {
      const player = new Player(vector);
      for (const step of vector.steps) player.step(step);
      assert.deepEqual(player.chance, [], "random numbers are left over");
    });
  }
}

for (const vector of load("codec.json")) {
  test(`codec: ${vector.name}`, () => {
    assert.deepEqual(codec.decode(vector.message), vector.frames);
    assert.deepEqual(codec.encode(vector.frames).flatMap(codec.decode), vector.frames);
  });
}

test("codec: frames share messages of at most 64 KiB, counted in UTF-8", () => {
  const frames = Array.from({ length: 40 }, (_, id) => ({ id, pub: { d: "é€😀".repeat(900) } }));
  const messages = codec.encode([...frames, { id: 99, pub: { d: "y".repeat(70_000) } }]);
  const sizes = messages.map((message) => Buffer.byteLength(message));
  assert(sizes.slice(0, -1).every((size) => size <= 65_536 && size > 50_000 || size === sizes.at(-2)), String(sizes));
  assert.deepEqual(messages.flatMap(codec.decode).slice(0, 40), frames);
});
