import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Gateway, startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { type ConfigInput, parseConfig } from "../src/config.ts";
import { PRICE_DATA } from "../src/edge/betting-requests.ts";
import { bunServe, type HttpServer } from "../src/edge/server.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { SimBetting } from "../src/sim/betting.ts";
import { marketMethods } from "../src/sim/betting-markets.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { SimIdentity } from "../src/sim/identity.ts";
import { orderMethods } from "../src/sim/order-methods.ts";
import { World } from "../src/sim/world.ts";
import { until } from "./stage.ts";

const HOST = "127.0.0.1";
const ANNA = { username: "anna", password: "annas-password" };
const APP_KEY = "upstream-app-key";
const ALPHA = "token-of-alpha";
const VISITOR = "visitor-session-token";
const ALL = [
  "COMPETITION",
  "EVENT",
  "EVENT_TYPE",
  "MARKET_START_TIME",
  "MARKET_DESCRIPTION",
  "RUNNER_DESCRIPTION",
  "RUNNER_METADATA",
];

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at as they come
type Json = any;

/** An exchange with stream, identity and API; its world's time is ours, so that it stands still while we compare. */
class Exchange {
  readonly clock = new VirtualClock();
  readonly identity = new SimIdentity({
    clock: systemClock,
    random: seededRandom(1),
    accounts: [ANNA],
    appKeys: [APP_KEY],
  });
  readonly stream = new SimExchange({
    clock: systemClock,
    random: seededRandom(2),
    log: silentLog,
    sessions: this.identity,
    appKeys: [APP_KEY],
    limits: { marketsMax: Number.POSITIVE_INFINITY },
  });
  readonly world: World;
  readonly ids = new Set<string>();
  readonly betting: SimBetting;
  readonly streamPort: number;
  readonly #http: HttpServer;

  constructor(markets: number) {
    this.world = new World(
      { markets, names: false },
      {
        clock: this.clock,
        random: seededRandom(3),
        publish: (pt, changes) => {
          for (const { id } of changes) this.ids.add(id);
          this.stream.publish(pt, changes);
        },
      },
    );
    const shelf = {
      ids: () => this.ids,
      image: (id: string) => this.stream.image(id),
      namesOf: (id: string) => this.world.markets.find((market) => market.id === id)?.names ?? null,
    };
    const { identity } = this;
    const methods = [marketMethods(shelf), orderMethods(this.stream.orders)];
    this.betting = new SimBetting({ clock: systemClock, sessions: identity, appKeys: [APP_KEY], methods });
    this.streamPort = this.stream.listen(bunListen, { host: HOST, port: 0 }).port;
    this.#http = bunServe({ host: HOST, port: 0 }, (request) =>
      this.betting.matches(request) ? this.betting.handle(request) : identity.handle(request),
    );
    this.world.start();
    this.clock.advance(3_000);
  }

  get url(): string {
    return `http://${HOST}:${this.#http.port}`;
  }

  stop(): void {
    this.world.stop();
    this.stream.stop();
    this.#http.stop();
  }

  /** What its own API answers. */
  ask(operation: string, params: object): Promise<Json> {
    return call(this.url, operation, params, {
      "X-Application": APP_KEY,
      "X-Authentication": this.identity.issue("anna"),
    });
  }
}

async function call(url: string, operation: string, params: object, headers: Record<string, string>): Promise<Json> {
  const body = JSON.stringify({ jsonrpc: "2.0", method: `SportsAPING/v1.0/${operation}`, params, id: 1 });
  const response = await fetch(new URL("/exchange/betting/json-rpc/v1", url), { method: "POST", headers, body });
  const answer = (await response.json()) as Json;
  return answer.result ?? answer.error;
}

function gatewayTo(
  exchange: Exchange,
  more: Partial<ConfigInput["exchange"]> & { catalogue?: object; orders?: boolean } = {},
) {
  const free = { host: HOST, port: 0 };
  const { catalogue = { callsPerSecondMax: 20 }, orders = false, ...said } = more;
  const config = parseConfig({
    exchange: {
      host: HOST,
      port: exchange.streamPort,
      tls: false,
      appKey: APP_KEY,
      ...ANNA,
      loginHost: exchange.url,
      apiHost: exchange.url,
      ...said,
    },
    doors: { http: free, websocket: free, bettingCallsPerSecondMax: 10_000 },
    visitors: [
      { token: VISITOR, name: "visitor", ...(orders && { orders: "account" as const }) },
      { token: ALPHA, name: "alpha", ...(orders && { orders: { refPrefix: "alpha-" } }) },
    ],
    orders: { enabled: orders },
    catalogue,
  });
  return startGateway(config, { log: silentLog });
}

function asker(gateway: Gateway, token = VISITOR) {
  const headers = { "X-Application": "any", "X-Authentication": token };
  return (operation: string, params: object) => call(gateway.httpUrl as string, operation, params, headers);
}

async function summaries(gateway: Gateway): Promise<Json[]> {
  const url = new URL("/v1/markets?limit=1000", gateway.httpUrl as string);
  return ((await (await fetch(url, { headers: { Authorization: `Bearer ${VISITOR}` } })).json()) as Json).markets;
}

describe("the betting API, over real sockets", () => {
  let exchange: Exchange;
  let gateway: Gateway;
  let ask: ReturnType<typeof asker>;
  let open: string[];

  beforeAll(async () => {
    exchange = new Exchange(120);
    gateway = await gatewayTo(exchange);
    ask = asker(gateway);
    open = exchange.world.markets.filter(({ status }) => status !== "CLOSED").map(({ id }) => id);
    await until(() => gateway.isReady && gateway.cache.size >= open.length, "books");
    while ((await summaries(gateway)).some(({ id, name }) => open.includes(id) && name === null)) await Bun.sleep(20);
  });
  afterAll(async () => {
    await gateway?.stop();
    exchange?.stop();
  });

  test("gives the books that the exchange gives, in every projection", async () => {
    const projections = [[], ...PRICE_DATA.map((one) => [one]), ["EX_BEST_OFFERS", "EX_TRADED"], [...PRICE_DATA]];
    for (const priceData of projections)
      for (const overrides of [{}, { exBestOffersOverrides: { bestPricesDepth: 1 } }]) {
        const marketIds = open.slice(0, 4);
        const params = { marketIds, priceProjection: { priceData, ...overrides } };
        const books = await ask("listMarketBook", params);
        expect(books.length).toBe(4);
        expect(books).toEqual(await exchange.ask("listMarketBook", params));
      }
  });

  test("gives the catalogue that the exchange gives, by ids, filters and projections", async () => {
    const byId = (markets: Json[]) => markets.toSorted((a, b) => (a.marketId < b.marketId ? -1 : 1));
    const filters = [{ marketIds: open.slice(0, 50) }, { eventTypeIds: ["7"] }, { marketTypeCodes: ["MATCH_ODDS"] }];
    for (const filter of filters)
      for (const marketProjection of [[], ["RUNNER_DESCRIPTION"], ALL]) {
        const params = { filter, marketProjection, maxResults: 100 };
        const markets = byId(await ask("listMarketCatalogue", params));
        expect(markets.length).toBeGreaterThan(0);
        expect(markets).toEqual(byId(await exchange.ask("listMarketCatalogue", params)));
      }
  });

  test("counts the markets of each sport and event as the exchange does", async () => {
    const sorted = (list: Json[]) => list.map((one) => JSON.stringify(one, Object.keys(one).sort())).sort();
    for (const operation of ["listEventTypes", "listEvents"]) {
      const here = await ask(operation, { filter: {} });
      expect(here.length).toBeGreaterThan(2);
      expect(sorted(here)).toEqual(sorted(await exchange.ask(operation, { filter: {} })));
    }
  });

  test("asks the exchange for names once, by the login of the stream", async () => {
    await ask("listMarketBook", { marketIds: open.slice(0, 10) });
    await ask("listMarketCatalogue", { filter: {}, marketProjection: ALL, maxResults: 100 });
    expect(exchange.betting.calls.get("listMarketCatalogue")).toBeLessThan(40);
    expect(exchange.identity.counters.logins).toBe(1);
  });

  test("shows names in the list of markets, though the stream has none", async () => {
    const markets = await summaries(gateway);
    const named = new Map(exchange.world.markets.map((market) => [market.id, market.names]));
    for (const { id, name, eventName, runners } of markets.filter(({ status }) => status !== "CLOSED")) {
      expect([name, eventName]).toEqual([named.get(id)?.market, named.get(id)?.event]);
      for (const runner of runners) expect(runner.name).toBe(named.get(id)?.runners.get(runner.id));
    }
  });

  test("speaks the REST form too, and refuses who may not ask", async () => {
    const url = new URL("/exchange/betting/rest/v1.0/listMarketBook/", gateway.httpUrl as string);
    const body = JSON.stringify({ marketIds: open.slice(0, 1) });
    const good = { "X-Authentication": VISITOR, "Content-Type": "application/json" };
    const answer = await fetch(url, { method: "POST", headers: good, body });
    expect([answer.status, ((await answer.json()) as Json)[0].marketId]).toEqual([200, open[0]]);
    const refusal = await fetch(url, { method: "POST", headers: { "X-Authentication": "not a token" }, body });
    expect([refusal.status, ((await refusal.json()) as Json).faultstring]).toEqual([400, "ANGX-0003"]);
  });

  test("gets names for markets that come later, and from another session when its own has ended", async () => {
    exchange.identity.expire();
    const before = new Set(exchange.ids);
    while (exchange.ids.size < before.size + 3) exchange.clock.advance(1_000);
    const fresh = [...exchange.ids].filter((id) => !before.has(id));
    let entries: Json[] = [];
    const all = async () => {
      const params = { filter: { marketIds: fresh }, marketProjection: ["EVENT"], maxResults: 100 };
      entries = await ask("listMarketCatalogue", params);
    };
    for (let tries = 0; tries < 100 && !entries.some(({ marketName, marketId }) => marketName !== marketId); tries++) {
      await Bun.sleep(50);
      await all();
    }
    expect(entries.some(({ marketName, marketId }) => marketName !== marketId)).toBe(true);
    expect(exchange.identity.counters.logins).toBe(2);
  }, 15_000);
});

describe("without names", () => {
  const troubles: readonly [string, Parameters<typeof gatewayTo>[1], 503 | null][] = [
    ["because the exchange's API is out", {}, 503],
    ["because nobody said where it is", { apiHost: undefined }, null],
    ["because none are wished", { catalogue: { enabled: false } }, null],
  ];
  for (const [why, more, httpStatus] of troubles)
    test(`${why}: books as ever, ids for names`, async () => {
      const exchange = new Exchange(10);
      exchange.betting.knobs.httpStatus = httpStatus;
      const gateway = await gatewayTo(exchange, more);
      try {
        await until(() => gateway.isReady && gateway.cache.size >= 10, "books");
        const ask = asker(gateway);
        const [market] = await ask("listMarketCatalogue", { filter: {}, maxResults: 1 });
        expect(market.marketName).toBe(market.marketId);
        expect((await summaries(gateway))[0].name).toBeNull();
        const params = { marketIds: [market.marketId], priceProjection: { priceData: ["EX_ALL_OFFERS"] } };
        exchange.betting.knobs.httpStatus = null;
        expect(await ask("listMarketBook", params)).toEqual(await exchange.ask("listMarketBook", params));
        expect(exchange.betting.calls.get("listMarketCatalogue")).toBeUndefined();
      } finally {
        await gateway.stop();
        exchange.stop();
      }
    });
});

describe("orders in lists", () => {
  test("are the exchange's, for who may see them, and a session that ended there is no hindrance", async () => {
    const exchange = new Exchange(10);
    const gateway = await gatewayTo(exchange, { orders: true });
    try {
      await until(() => gateway.isReady, "prices");
      const [marketId = ""] = exchange.ids;
      const runner = exchange.stream.image(marketId)?.marketDefinition?.runners?.[0];
      const order = { selectionId: runner?.id, side: "BACK", orderType: "LIMIT", handicap: 0 };
      const limitOrder = { size: 3, price: 1000, persistenceType: "LAPSE" };
      for (const customerStrategyRef of ["alpha-1", "beta-1"])
        await exchange.ask("placeOrders", { marketId, customerStrategyRef, instructions: [{ ...order, limitOrder }] });
      const all = await exchange.ask("listCurrentOrders", {});
      expect((all.currentOrders as Json[]).length).toBe(2);
      expect(await asker(gateway)("listCurrentOrders", {})).toEqual(all);
      exchange.identity.expire();
      expect(await asker(gateway)("listCurrentOrders", {})).toEqual(all);
      const alpha = asker(gateway, ALPHA);
      const own = (await alpha("listCurrentOrders", { customerStrategyRefs: ["alpha-1"] })).currentOrders as Json[];
      expect(own.map(({ customerStrategyRef }) => customerStrategyRef)).toEqual(["alpha-1"]);
      expect(JSON.stringify(await alpha("listCurrentOrders", {}))).toContain("ACCESS_DENIED");
    } finally {
      await gateway.stop();
      exchange.stop();
    }
  });
});
