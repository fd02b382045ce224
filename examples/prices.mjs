// Best prices of every match-odds market, as they change: a WebSocket client without a library, for Node 22 or later, Bun, or a browser.
//
//   node examples/prices.mjs [URL [TOKEN [APP_KEY]]]        (in the checkout: node bin/bun.js examples/prices.mjs)
//
// It holds the levels that it was sent. A program that holds whole books takes them from client/, which resumes and marks what is stale too.
const [url = "ws://127.0.0.1:8081/v1/ws", session = "demo-session-token", appKey = "demo-app-key"] =
  globalThis.process?.argv.slice(2) ?? [];

/** Market id → { name, status, runners: id → { name, batb: level → [price, size], batl } } */
const markets = new Map();
const socket = new WebSocket(url);
const send = (message) => socket.send(JSON.stringify(message));

socket.onopen = () => {
  send({ op: "authentication", id: 1, appKey, session });
  send({
    op: "marketSubscription",
    id: 2,
    marketFilter: { marketTypes: ["MATCH_ODDS"] },
    marketDataFilter: { fields: ["EX_BEST_OFFERS", "EX_MARKET_DEF"], ladderLevels: 3 },
    conflateMs: 500,
  });
};
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.op === "status" && message.statusCode !== "SUCCESS")
    console.error(message.errorCode, message.errorMessage);
  if (message.status === 503) console.error("the prices are stale");
  if (message.ct === "SUB_IMAGE" && message.segmentType !== "SEG" && message.segmentType !== "SEG_END") markets.clear();
  for (const change of message.mc ?? []) console.log(line(apply(change)));
};
socket.onerror = () => console.error(`cannot reach ${url}: is it running?`);
socket.onclose = ({ code, reason }) => console.error(`closed with ${code} ${reason}`);

/** Applies a market change: `img` begins anew, a size of 0 empties a level, what is absent has not changed. */
function apply({ id, img, marketDefinition, rc }) {
  if (img || !markets.has(id)) markets.set(id, { name: id, status: "", runners: new Map() });
  const market = markets.get(id);
  const runnerOf = (key) => {
    if (!market.runners.has(key)) market.runners.set(key, { name: key, batb: new Map(), batl: new Map() });
    return market.runners.get(key);
  };
  if (marketDefinition) {
    market.status = marketDefinition.status;
    market.name = marketDefinition.eventName ?? id;
    for (const runner of marketDefinition.runners) runnerOf(runner.id).name = runner.name ?? runner.id;
  }
  for (const change of rc ?? [])
    for (const side of ["batb", "batl"])
      for (const [level, price, size] of change[side] ?? [])
        if (size === 0) runnerOf(change.id)[side].delete(level);
        else runnerOf(change.id)[side].set(level, [price, size]);
  return market;
}

function line({ name, status, runners }) {
  const best = (side) => side.get(0)?.[0] ?? "-";
  const prices = [...runners.values()].map((runner) => `${runner.name} ${best(runner.batb)}/${best(runner.batl)}`);
  return [name, status, ...prices].join(" | ");
}
