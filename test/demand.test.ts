import { afterEach, describe, expect, test } from "bun:test";
import { startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { pick, type Random, randomInt, seededRandom } from "../src/base/random.ts";
import { type ConfigInput, parseConfig } from "../src/config.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { factsOf, type MarketFilter, marketTest } from "../src/sim/exchange-filter.ts";
import { Visitor } from "../src/sim/exchange-visitor.ts";
import { type MarketChange, type MarketDefinition, NaiveBook } from "../src/sim/naive.ts";
import { World } from "../src/sim/world.ts";
import { until } from "./stage.ts";

const HOST = "127.0.0.1";
const SESSION = "demand-session-token";
const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };
const GRACE_MS = 300;

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function openHouse(seed: number, exchangeOptions: Partial<ConfigInput["exchange"]>) {
  const exchange = new SimExchange({
    clock: systemClock,
    random: seededRandom(seed),
    log: silentLog,
    sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
    appKeys: [UPSTREAM.appKey],
  });
  const { port } = exchange.listen(bunListen, { host: HOST, port: 0 });
  const world = new World(
    { markets: 60, changesPerSecond: 300 },
    { clock: systemClock, random: seededRandom(seed), publish: exchange.publish.bind(exchange) },
  );
  world.start();
  const free = { host: HOST, port: 0 };
  const upstream = { host: HOST, port, tls: false, ...UPSTREAM, heartbeatMs: 500, retryFirstMs: 20, retryMaxMs: 100 };
  const gateway = await startGateway(
    parseConfig({
      exchange: { ...upstream, ...exchangeOptions },
      doors: { http: free, websocket: free, esa: free },
      visitors: [{ token: SESSION, name: "stage" }],
    }),
    { log: silentLog },
  );
  closing.push(
    () => exchange.stop(),
    () => gateway.stop(),
    () => world.stop(),
  );
  const markets = () => world.markets.map(({ id }) => id).filter((id) => exchange.image(id) !== null);
  return { exchange, world, gateway, markets };
}

type Guest = Visitor & { readonly filter: MarketFilter };
type House = Awaited<ReturnType<typeof openHouse>>;

/** A plain ESA client of the gateway. */
function visit({ gateway }: House, marketFilter: MarketFilter): Guest {
  const visitor = new Visitor(bunDial, { host: HOST, port: gateway.esaPort as number });
  closing.push(() => visitor.leave());
  visitor.authenticate(UPSTREAM.appKey, SESSION);
  visitor.send({ op: "marketSubscription", id: 2, marketFilter, marketDataFilter: {}, segmentationEnabled: true });
  return Object.assign(visitor, { filter: marketFilter });
}

function state(image: MarketChange): unknown {
  const book = new NaiveBook(image.id);
  book.apply(image);
  return book.state();
}

/** What a visitor lacks, has too much or has wrong, against the exchange itself. */
function differences({ exchange, markets }: House, visitor: Guest): string[] {
  const wanted = marketTest(visitor.filter);
  const found: string[] = [];
  for (const id of markets()) {
    const image = exchange.image(id) as MarketChange;
    const held = visitor.books.get(id);
    const isWanted = wanted(id, factsOf(image.marketDefinition as MarketDefinition));
    if (isWanted !== (held !== undefined)) found.push(`${id}: ${held === undefined ? "not held" : "not wanted"}`);
    else if (held && JSON.stringify(held.state()) !== JSON.stringify(state(image))) found.push(`${id}: another book`);
  }
  return found;
}

async function right(house: House, visitors: readonly Guest[]): Promise<void> {
  let found: string[] = [];
  await until(
    () => (found = visitors.flatMap((visitor) => differences(house, visitor))).length === 0,
    "every book is the exchange's",
  ).catch((error) => {
    throw new Error(`${(error as Error).message}\n${found.slice(0, 10).join("\n")}`);
  });
}

describe("upstream by demand", () => {
  const demand = { enabled: true, connections: 3, graceMs: GRACE_MS };

  test("carries nothing until somebody wants a market, that market then, and lets go of it after a grace", async () => {
    const house = await openHouse(1, { demand });
    const { gateway, markets } = house;
    await until(() => gateway.isReady, "ready with nothing to carry");
    expect(gateway.cache.size).toBe(0);
    const ids = markets().slice(0, 4);
    const ann = visit(house, { marketIds: ids.slice(0, 2) });
    const ben = visit(house, { marketIds: ids.slice(1, 3) });
    await right(house, [ann, ben]);
    expect([...gateway.cache.books()].map(({ id }) => id).sort()).toEqual(ids.slice(0, 3).sort());
    ann.leave();
    await until(() => gateway.cache.size === 2, "the market that only ann wanted is let go");
    await right(house, [ben]);
    // Somebody who comes within the grace finds it still carried.
    ben.leave();
    const subscriptions = house.exchange.counters.images;
    const eve = visit(house, { marketIds: ids.slice(1, 3) });
    await right(house, [eve]);
    expect(house.exchange.counters.images).toBe(subscriptions);
  });

  test("costs those who are in step no image when others come and go", async () => {
    const house = await openHouse(2, { demand: { ...demand, connections: 1 } });
    const ids = house.markets().slice(0, 6);
    const ann = visit(house, { marketIds: ids.slice(0, 2) });
    await right(house, [ann]);
    const heard = ann.messages.length;
    for (const id of ids.slice(2)) {
      const other = visit(house, { marketIds: [id] });
      await right(house, [other]);
      other.leave();
    }
    await until(() => house.gateway.cache.size === 2, "only ann's markets are left");
    await right(house, [ann]);
    const later = ann.messages.slice(heard).filter(({ op }) => op === "mcm");
    expect(later.length).toBeGreaterThan(0);
    expect(later.filter(({ ct, mc }) => ct === "SUB_IMAGE" || mc?.some(({ img }) => img === true))).toEqual([]);
  });

  for (const [seed, connections] of [
    [3, 1],
    [4, 2],
    [5, 3],
  ] as const) {
    test(`holds for ids and other filters, in any order (seed ${seed}, ${connections} connections)`, async () => {
      const house = await openHouse(seed, { demand: { ...demand, connections } });
      const random = seededRandom(seed);
      let guests: Guest[] = [];
      for (let round = 0; round < 8; round++) {
        while (guests.length < 3) guests.push(visit(house, anyFilter(house, random)));
        if (round % 2 === 1) await right(house, guests);
        const leaver = pick(random, guests);
        leaver.leave();
        guests = guests.filter((guest) => guest !== leaver);
        await Bun.sleep(randomInt(random, 2 * GRACE_MS));
      }
      await right(house, guests);
      expect(house.exchange.counters.connectionsMost).toBeLessThanOrEqual(connections);
      expect(guests.map(({ closed }) => closed)).toEqual(guests.map(() => null));
    });
  }
});

test("a connection that the exchange does not take is no secret: who wants markets of it hears 503", async () => {
  const house = await openHouse(7, { demand: { enabled: true, connections: 2, graceMs: GRACE_MS } });
  const ids = house.markets().slice(0, 4);
  const ann = visit(house, { marketIds: ids.slice(0, 1) });
  await right(house, [ann]);
  house.exchange.refuseAuthentications("MAX_CONNECTION_LIMIT_EXCEEDED");
  const ben = visit(house, { marketIds: ids.slice(1) });
  await until(() => ben.messages.some(({ status }) => status === 503), "ben is told");
  expect(house.gateway.source.sourceState).not.toBe("live");
});

function anyFilter({ markets, exchange }: House, random: Random): MarketFilter {
  const ids = markets();
  const some = Array.from({ length: 1 + randomInt(random, 4) }, () => pick(random, ids));
  const definition = exchange.image(pick(random, ids))?.marketDefinition as MarketDefinition;
  const filters: MarketFilter[] = [
    { marketIds: some },
    { marketIds: some },
    { eventTypeIds: [definition.eventTypeId as string] },
    { marketTypes: [definition.marketType as string] },
    { eventTypeIds: [definition.eventTypeId as string], marketTypes: [definition.marketType as string] },
  ];
  return pick(random, filters);
}

describe("upstream in shards", () => {
  test("is one source of all their markets, and each resumes by itself", async () => {
    const shards = [{ eventTypeIds: ["1"] }, { eventTypeIds: ["2", "4"] }, { eventTypeIds: ["7"] }];
    const house = await openHouse(6, { shards });
    const { exchange, gateway } = house;
    await until(() => gateway.isReady, "all shards have their image");
    const all = visit(house, {});
    await right(house, [all]);
    expect([exchange.counters.connections, exchange.counters.images]).toEqual([3, 3]);
    exchange.cut([...exchange.connections][1]);
    await until(() => gateway.source.connects === 4 && gateway.source.sourceState === "live", "the cut shard is back");
    await right(house, [all]);
    expect([exchange.counters.images, exchange.counters.resumes]).toEqual([3, 1]);
  });

  test("with a market in common are refused", () => {
    const exchange = { host: HOST, ...UPSTREAM, shards: [{ eventTypeIds: ["1", "2"] }, { marketTypes: ["WIN"] }] };
    expect(() => parseConfig({ exchange })).toThrow("exchange.shards: 1 and 2 may have a market in common");
  });
});
