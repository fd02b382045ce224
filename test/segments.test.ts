import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { parseConfig } from "../src/config.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { type ExchangeMessage, Visitor } from "../src/sim/exchange-visitor.ts";
import { type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { EventDay, W1 } from "../src/sim/world-w1.ts";
import { until } from "./stage.ts";

const HOST = "127.0.0.1";
const SESSION = "segments-session";
const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };
const MARKETS = 20_000;
/** What a line may have: at the simulated exchange about so much, at our door not a byte more. */
const EXCHANGE_BYTES = 100_000;
const ABOUT = 512;
const DOOR_BYTES = 65_536;

const clock = systemClock;
const exchange = new SimExchange({
  clock,
  random: seededRandom(1),
  log: silentLog,
  sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
  appKeys: [UPSTREAM.appKey],
  limits: { marketsMax: Number.POSITIVE_INFINITY, segmentBytes: EXCHANGE_BYTES },
});
/** As many markets as on an event day, with small books: it is their number that matters here. */
const world = new EventDay(
  { ...W1, markets: MARKETS, runners: 2, depth: { ...W1.depth, levels: 3, tradedLevels: 3 } },
  { clock, random: seededRandom(1), publish: (pt, changes) => exchange.publish(pt, changes) },
);
let gateway: Awaited<ReturnType<typeof startGateway>>;
let upstreamPort = 0;

beforeAll(async () => {
  world.start();
  world.stop();
  upstreamPort = exchange.listen(bunListen, { host: HOST, port: 0 }).port;
  const free = { host: HOST, port: 0 };
  const config = parseConfig({
    exchange: { host: HOST, port: upstreamPort, tls: false, ...UPSTREAM },
    doors: { http: free, websocket: free, esa: free },
    delivery: { segmentBytesMax: DOOR_BYTES },
    visitors: [{ token: SESSION, name: "stage" }],
  });
  gateway = await startGateway(config, { log: silentLog });
  await until(() => gateway.isReady, "the image is whole", 60_000);
}, 90_000);

afterAll(async () => {
  await gateway.stop();
  exchange.stop();
});

function visit(port: number, session: string, conflateMs: number): Visitor {
  const visitor = new Visitor(bunDial, { host: HOST, port });
  visitor.authenticate(UPSTREAM.appKey, session);
  visitor.send({ op: "marketSubscription", id: 2, conflateMs, segmentationEnabled: true });
  return visitor;
}

function changesOf(visitor: Visitor): ExchangeMessage[] {
  return visitor.messages.filter(({ op }) => op === "mcm");
}

/** The lengths of groups of segments (1: a whole message); an error where they are not in order, or claim something before their end. */
function groups(messages: readonly ExchangeMessage[]): number[] {
  const lengths: number[] = [];
  let open = 0;
  for (const { segmentType, clk } of messages) {
    const begins = segmentType === undefined || segmentType === "SEG_START";
    if (begins !== (open === 0)) throw new Error(`${segmentType} after ${open} open segments`);
    open++;
    const ends = segmentType === undefined || segmentType === "SEG_END";
    if (!ends && clk !== undefined) throw new Error(`a clk in a ${segmentType}`);
    if (ends) lengths.push(open);
    if (ends) open = 0;
  }
  return lengths;
}

function longestLine(visitor: Visitor): number {
  return visitor.chunks
    .join("")
    .split("\r\n")
    .reduce((longest, line) => Math.max(longest, line.length + 2), 0);
}

/** The first market of which a visitor holds another book than the exchange. */
function wrong(visitor: Visitor): string | null {
  for (const { id } of world.markets) {
    const book = new NaiveBook(id);
    book.apply(exchange.image(id) as MarketChange);
    if (JSON.stringify(visitor.books.get(id)?.state()) !== JSON.stringify(book.state())) return id;
  }
  return null;
}

describe("20,000 markets in segments", () => {
  for (const [where, conflateMs] of [
    ["the exchange", 0],
    ["our door", 0],
    ["our door", 500],
  ] as const) {
    test(`image and changes are whole at ${where}, conflateMs ${conflateMs}, and no line is longer than configured`, async () => {
      const isOurs = where === "our door";
      const port = isOurs ? (gateway.esaPort as number) : upstreamPort;
      const visitor = visit(port, isOurs ? SESSION : UPSTREAM.session, conflateMs);
      await until(() => visitor.clk !== null, "the image is whole", 60_000);
      expect([visitor.books.size, wrong(visitor)]).toEqual([MARKETS, null]);
      const image = changesOf(visitor);
      const [segments] = groups(image);
      expect(segments).toBeGreaterThan(50);
      const clk = visitor.clk;
      // Every market at once: no line could hold that.
      exchange.publish(
        Date.now(),
        world.markets.map(({ id }, n) => ({ id, tv: n, rc: [{ id: 1, ltp: 1.01 + n / 100 }] })),
      );
      await until(() => visitor.clk !== clk && wrong(visitor) === null, "every change is there", 60_000);
      const lengths = groups(changesOf(visitor).slice(image.length));
      expect(Math.max(...lengths)).toBeGreaterThan(5);
      expect(longestLine(visitor)).toBeLessThanOrEqual(isOurs ? DOOR_BYTES : EXCHANGE_BYTES + ABOUT);
      visitor.leave();
    }, 90_000);
  }
});
