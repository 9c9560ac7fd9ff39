import { Client } from "@hereabouts/client";

const [url, token, room] = process.argv.slice(2) as [string, string, string];
const client = new Client({ url, token });
const here = client.subscribe(`presence:${room}`);
const talk = client.subscribe(room, { limit: 20 });
talk.on("publication", ({ user, data }) => console.log(user, data, "seen by", here.users.size));
await client.connect();
await talk.publish({ text: "hello" });
