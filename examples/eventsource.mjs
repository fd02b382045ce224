// A site with a page that follows prices by EventSource, which needs no library and comes back by itself. Any Node, or Bun, without packages.
//
//   node examples/eventsource.mjs [STREAM_URL [TOKEN [PORT]]]        then open http://127.0.0.1:3000
//
// An EventSource can set no header, and a token has no place in an address (addresses are logged). So the site, which knows its visitor, gives the token as a
// cookie that no script can read, and hands /v1/stream on to Oddswire, which then is of the page's own origin: in production nginx or an ingress does that.
import { createServer, request } from "node:http";

const [stream = "http://127.0.0.1:8083/v1/stream", token = "demo-session-token", port = "3000"] = process.argv.slice(2);

const page = `<!doctype html><meta charset="utf-8"><title>Prices</title><p id="state">connecting</p><ul id="prices"></ul>
<script type="module">
  const prices = new Map();
  const source = new EventSource("/v1/stream?marketTypes=MATCH_ODDS&fields=EX_LTP,EX_MARKET_DEF&conflateMs=500");
  const state = (text) => (document.querySelector("#state").textContent = text);
  source.onopen = () => state("live");
  source.onerror = () => state(source.readyState === EventSource.CLOSED ? "closed for good" : "coming back");
  source.addEventListener("goodbye", ({ data }) => console.log("goodbye", JSON.parse(data).code));
  source.onmessage = ({ data }) => {
    const { ct, status, mc = [] } = JSON.parse(data);
    if (ct === "SUB_IMAGE") prices.clear();
    state(status === 503 ? "the prices are stale" : "live");
    for (const { id, marketDefinition, rc = [] } of mc) {
      const market = prices.get(id) ?? { name: id, ltp: new Map() };
      prices.set(id, market);
      if (marketDefinition) market.name = marketDefinition.eventName ?? id;
      for (const { id, ltp } of rc) if (ltp !== undefined) market.ltp.set(id, ltp);
    }
    const lines = [...prices.values()].slice(0, 30).map(({ name, ltp }) => name + ": " + [...ltp.values()].join(" / "));
    document.querySelector("#prices").replaceChildren(
      ...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })),
    );
  };
</script>`;

const server = createServer((incoming, outgoing) => {
  if (incoming.url.startsWith("/v1/stream")) return handOn(incoming, outgoing);
  const cookie = `oddswire_session=${token}; Path=/v1/stream; HttpOnly; SameSite=Strict`; // and Secure, where it is https
  outgoing.writeHead(200, { "Content-Type": "text/html; charset=utf-8", "Set-Cookie": cookie }).end(page);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`open http://127.0.0.1:${server.address().port}`));

function handOn({ headers, url }, outgoing) {
  const target = new URL(stream);
  target.search = new URL(url, stream).search;
  const upstream = request(target, { headers: { ...headers, host: target.host } }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  upstream.on("error", () => outgoing.destroy());
  outgoing.on("close", () => upstream.destroy());
  upstream.end();
}
