const [url, token] = process.argv.slice(2); // Node 22; in a browser, write them here
const socket = new WebSocket(url, ["rt.v1.json"]);
const send = (frame) => socket.send(JSON.stringify(frame));
const connect = { token, subs: { near: { mode: "map" } } };
socket.onopen = () => [{ id: 1, connect }, { pos: [51.3767, 0.7313, 10, Date.now()] }].forEach(send);
socket.onmessage = ({ data }) => {
  console.log(data);
  if (data.split("\n").includes("{}")) send({});
};
