// uWebSockets.js: a room is a topic; who comes and goes is published to it. node uws.js PORT
const uWS = require("@btc-vision/uwebsockets.js");
const { userOf } = require("./token");

const app = uWS.App();
app.ws("/*", {
  compression: uWS.DISABLED,
  maxPayloadLength: 64 * 1024,
  maxBackpressure: 16 * 1024 * 1024, // the default, 64 KiB, drops messages of a saturated room in silence
  idleTimeout: 0,
  upgrade: (res, req, context) => {
    const user = userOf(req.getQuery("token"));
    if (user === null) return res.writeStatus("401 Unauthorized").end();
    res.upgrade(
      { user, room: req.getQuery("room") },
      req.getHeader("sec-websocket-key"),
      req.getHeader("sec-websocket-protocol"),
      req.getHeader("sec-websocket-extensions"),
      context,
    );
  },
  open: (ws) => {
    const { user, room } = ws.getUserData();
    if (!room) return;
    if (process.env.BENCH_PRESENCE) app.publish(room, JSON.stringify({ j: user }));
    ws.subscribe(room);
  },
  message: (ws, message, isBinary) => {
    app.publish(ws.getUserData().room, message, isBinary);
  },
  close: (ws) => {
    const { user, room } = ws.getUserData();
    if (room && process.env.BENCH_PRESENCE) app.publish(room, JSON.stringify({ l: user }));
  },
});
app.listen("127.0.0.1", Number(process.argv[2]), (listening) => {
  if (!listening) process.exit(1);
  console.log("ready", process.version);
});
