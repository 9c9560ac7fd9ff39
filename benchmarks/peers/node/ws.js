// ws: a room is a set of sockets. node ws.js PORT
const { createServer } = require("http");
const { WebSocketServer } = require("ws");
const { userOf } = require("./token");

const rooms = new Map();
const server = createServer();
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 64 * 1024 });

function tell(room, text) {
  for (const each of rooms.get(room) || []) each.send(text);
}

server.on("upgrade", (request, socket, head) => {
  const query = new URL(request.url, "http://localhost").searchParams;
  const user = userOf(query.get("token"));
  if (user === null) return socket.end("HTTP/1.1 401 Unauthorized\r\n\r\n");
  sockets.handleUpgrade(request, socket, head, (ws) => {
    const room = query.get("room");
    if (room) {
      if (process.env.BENCH_PRESENCE) tell(room, JSON.stringify({ j: user }));
      if (!rooms.has(room)) rooms.set(room, new Set());
      rooms.get(room).add(ws);
    }
    ws.on("message", (data) => {
      for (const each of rooms.get(room)) each.send(data, { binary: false });
    });
    ws.on("close", () => {
      if (!room) return;
      rooms.get(room).delete(ws);
      if (process.env.BENCH_PRESENCE) tell(room, JSON.stringify({ l: user }));
    });
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1", 4096, () => {
  console.log("ready", process.version);
});
