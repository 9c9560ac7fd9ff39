// An app that does what its standard input says, a JSON object a line, and tells what it sees: {"ref","ok"|"error"}
// for each command, {"event"} for each event. The scenarios of the Python tests drive both SDKs by it.

import { createInterface } from "node:readline";
import { Client, type Subscription } from "../dist/index.js";
import { shown } from "./shown.ts";

const tell = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`);
const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

let client: Client;
const channels = new Map<string, Subscription>();
const gaps = new Map<string, any>();
const readers = new Map<string, AsyncIterableIterator<any>>();

const commands: Record<string, (given: any) => unknown> = {
  async open({ url, tokens, options }) {
    const token = async (fresh: boolean) => (fresh && tokens.length > 1 ? tokens.splice(0, 1) && tokens[0] : tokens[0]);
    const given = Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value]));
    client = new Client({ url, token, options: given, onEvent: (event) => tell({ event: shown(event) }) });
    await client.connect();
    return { user: client.user };
  },
  subscribe({ channel, how }) {
    const subscription = client.subscribe(channel, how);
    channels.set(channel, subscription);
    subscription.on("*", (event) => tell({ event: shown(event) }));
    subscription.on("gap", (gap) => gaps.set(channel, gap));
  },
  listen({ channel, buffer }) {
    commands.subscribe!({ channel, how: {} });
    readers.set(channel, channels.get(channel)!.events(buffer));
  },
  async read({ channel, upto }) {
    const found: number[] = [];
    let dropped = 0;
    for await (const event of readers.get(channel)!) {
      if (event.type === "lagged") {
        dropped += event.dropped;
        for await (const { offset } of client.missed(event)) found.push(offset);
      } else if (event.type === "publication") {
        found.push(event.offset);
        if (event.offset >= upto) break;
      }
    }
    return { dropped, found };
  },
  live: async ({ channel }) => void (await channels.get(channel)!.live()),
  leave: ({ channel }) => channels.get(channel)!.close(),
  async publish({ channel, data, ...options }) {
    const published = await client.publish(channel, data, options);
    return published && shown(published).published;
  },
  history: async ({ channel, ...options }) => (await client.history(channel, options)).publications.map(({ offset }) => offset),
  async missed({ channel }) {
    const offsets: number[] = [];
    for await (const { offset } of client.missed(gaps.get(channel))) offsets.push(offset);
    return offsets;
  },
  presence: async ({ channel }) => (await client.presence(channel)).count,
  call: ({ name, body }) => client.call(name, body),
  ephemeral: ({ channel, data }) => client.ephemeral(channel, data),
  position: ({ lat, lon, t_ms }) => client.position({ lat, lon, accM: 10, tMs: t_ms }),
  report: ({ lat, lon, t_ms }) => client.report({ lat, lon, accM: 10, tMs: t_ms }),
  rows: ({ channel }) => Object.fromEntries(channels.get(channel)!.rows),
  users: ({ channel }) => [...channels.get(channel)!.users],
  flush: () => client.flush(),
  close: () => client.close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ref, verb, ...given } = JSON.parse(line);
  void (async () => {
    try {
      tell({ ref, ok: (await commands[verb]!(given)) ?? null });
    } catch (error: any) {
      tell({ ref, error: { name: error.name, code: error.code ?? null, message: String(error.message) } });
    }
  })();
}
