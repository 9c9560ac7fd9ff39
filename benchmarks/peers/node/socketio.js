// Socket.IO: its own rooms, WebSocket alone. node socketio.js PORT
const { createServer } = require("http");
const { Server } = require("socket.io");
const { userOf } = require("./token");

const server = createServer();
const io = new Server(server, { transports: ["websocket"], serveClient: false, maxHttpBufferSize: 64 * 1024 });

io.use((socket, next) => {
  socket.data.user = userOf(socket.handshake.auth.token);
  next(socket.data.user === null ? new Error("this token is not valid here") : undefined);
});
io.on("connection", (socket) => {
  const { room } = socket.handshake.auth;
  if (!room) return;
  if (process.env.BENCH_PRESENCE) io.to(room).emit("j", socket.data.user);
  socket.join(room);
  socket.on("message", (data) => io.to(room).emit("message", data));
  socket.on("disconnect", () => {
    if (process.env.BENCH_PRESENCE) io.to(room).emit("l", socket.data.user);
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1", 4096, () => {
  console.log("ready", process.version);
});
