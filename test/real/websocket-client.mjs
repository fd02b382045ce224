// The `ws` of npm on Node at the WebSocket door: as websocket_client.py does it, line for line. (Bun would quietly put a client of its own in the place of `ws`.)
import WebSocket from "ws";

const LAST_PRICE = 77;
const LINGER_MS = 1_200;
const [url, session, how] = process.argv.slice(2);

const socket = new WebSocket(url);
const send = (message) => socket.send(JSON.stringify(message));
socket.on("open", () => {
  send({ op: "authentication", id: 1, appKey: "k", session });
  send({ op: "marketSubscription", id: 2, heartbeatMs: 500 });
  if (how === "linger") setTimeout(() => socket.close(1000, "enough"), LINGER_MS);
});
socket.on("message", (data) => {
  if (how === "linger") return;
  console.log("message", String(data));
  if (isLast(JSON.parse(data))) socket.ping("are you there");
});
socket.on("pong", (data) => {
  if (String(data) !== "are you there") return;
  console.log("pong");
  socket.close(1000, "done");
});
socket.on("close", (code, reason) => console.log("closed", code, String(reason)));

function isLast({ mc = [] }) {
  return mc.some(({ rc = [] }) => rc.some(({ ltp }) => ltp === LAST_PRICE));
}
