/**
 * What anybody would write first, to be compared with: a plain `ws` server on Node, beside which a gateway's work is to be seen. It reads the exchange's stream,
 * and sends each market change to those who asked for the market, written once. No fields or levels are chosen, nobody resumes, nobody who is slow is looked after.
 *
 * `node bench/fanout.js '{"port", "exchangePort", "caFile", "loginUrl", "fields"}'`; says "serving" when it is. Node, as it is what `ws` is made for.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { WebSocketServer } from "ws";

const APP_KEY = "demo-app-key";
const { port, exchangePort, caFile, loginUrl, fields } = JSON.parse(process.argv[2]);

/** The sockets of those who asked for it, by market. */
const readers = new Map();
let clk = 0;

await follow();
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false, backlog: 4_096 });
server.on("connection", welcome);
server.on("listening", () => console.log("serving"));

async function follow() {
  const body = new URLSearchParams({ username: "demo", password: "demo-password" });
  const answer = await fetch(loginUrl, { method: "POST", headers: { "X-Application": APP_KEY }, body });
  const { token } = await answer.json();
  const socket = connect({ host: "127.0.0.1", port: exchangePort, ca: readFileSync(caFile) });
  const say = (message) => socket.write(`${JSON.stringify(message)}\r\n`);
  say({ op: "authentication", id: 1, appKey: APP_KEY, session: token });
  say({ op: "marketSubscription", id: 2, marketFilter: {}, marketDataFilter: { fields }, heartbeatMs: 5_000 });
  createInterface({ input: socket }).on("line", (line) => take(JSON.parse(line)));
  // Without its stream it would be measured doing nothing.
  socket.on("close", () => process.exit(1));
}

function take({ op, pt, mc = [], ct }) {
  if (op !== "mcm" || ct === "SUB_IMAGE") return;
  for (const change of mc) {
    const message = Buffer.from(JSON.stringify({ op: "mcm", id: 2, clk: String(++clk), pt, mc: [change] }));
    for (const socket of readers.get(change.id) ?? []) socket.send(message, { binary: false });
  }
}

function welcome(socket) {
  const say = (message) => socket.send(JSON.stringify(message));
  say({ op: "connection", connectionId: "1" });
  let wanted = [];
  socket.on("message", (text) => {
    const { op, id, marketFilter } = JSON.parse(text);
    say({ op: "status", id, statusCode: "SUCCESS", connectionClosed: false });
    if (op !== "marketSubscription") return;
    wanted = marketFilter.marketIds;
    for (const marketId of wanted) {
      const already = readers.get(marketId);
      if (already === undefined) readers.set(marketId, new Set([socket]));
      else already.add(socket);
    }
    say({ op: "mcm", id: 2, initialClk: "1", clk: String(clk), pt: Date.now(), ct: "SUB_IMAGE", mc: [] });
  });
  socket.on("close", () => {
    for (const marketId of wanted) readers.get(marketId)?.delete(socket);
  });
  // Its close follows.
  socket.on("error", () => {});
}
