/**
 * docs/MIGRATION.md, done: its hosts lines, its configuration, and betfairlightweight as it comes from PyPI, which is told nothing.
 * Whatever it sees through Oddswire is held against what it sees at the simulated exchange.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { MarketChange } from "../../src/sim/naive.ts";
import { betfairlightweight, networkNamespace } from "../parts.ts";
import { market } from "./hostile.ts";
import { Library, type OrderSeen, type StreamOptions } from "./library.ts";
import { GATEWAY, Street, until } from "./street.ts";

const python = betfairlightweight();
const network = networkNamespace();

const MARKETS = 30;
const MESSAGES = 90;
/** Longer than any subscription here conflates. */
const QUIET_MS = 800;
/** As many messages at a time as dozens of clients in one Python take in before they call them late. */
const STEP_MESSAGES = 3;
const STEP_QUIET_MS = 20;
const FLAGS = [
  "EX_BEST_OFFERS_DISP",
  "EX_BEST_OFFERS",
  "EX_ALL_OFFERS",
  "EX_TRADED",
  "EX_TRADED_VOL",
  "EX_LTP",
  "SP_TRADED",
  "SP_PROJECTED",
];
/** One with starting prices, which the generated world has none of; and with all else, so that it is not empty to anybody. */
const STARTING = market(
  "1.300000000",
  [
    {
      id: 11,
      ltp: 2,
      tv: 9,
      atb: [[2, 9]],
      trd: [[2, 9]],
      batb: [[0, 2, 9]],
      bdatb: [[0, 2, 9]],
      spn: 2.5,
      spf: "NaN",
      spb: [[2.54321, 7]],
      spl: [[1.01, 20.5]],
    },
  ],
  { marketType: "WIN", suspendTime: "2030-01-01T12:00:00.000Z", openDate: "2030-01-01T12:00:00.000Z" },
);
const PROJECTIONS = ["EVENT", "EVENT_TYPE", "MARKET_START_TIME", "MARKET_DESCRIPTION", "RUNNER_DESCRIPTION"];
/** By betfairlightweight's name for it: where a market's definition has it. */
const FILTERS: Readonly<Record<string, string>> = {
  event_type_ids: "eventTypeId",
  event_ids: "eventId",
  market_types: "marketType",
  venues: "venue",
  country_codes: "countryCode",
  betting_types: "bettingType",
  race_types: "raceType",
  bsp_market: "bspMarket",
  turn_in_play_enabled: "turnInPlayEnabled",
};

describe.skipIf(python.kind === "missing" || network.kind === "missing")("a moved betfairlightweight", () => {
  let street: Street;
  let moved: Library;
  let direct: Library;
  let relayed: Library;
  let definitions: readonly Record<string, unknown>[];
  beforeAll(async () => {
    // Who looks through all markets some twenty times a second, as here, has asked too often.
    street = await Street.open((config) => ({
      ...config,
      doors: { ...config.doors, bettingCallsPerSecondMax: 1_000 },
      orders: { enabled: true },
      visitors: (config.visitors ?? []).map((visitor) => ({ ...visitor, orders: { refPrefix: "alpha-" } })),
    }));
    const start = (way: "oddswire" | "exchange" | "relay") => Library.start(street, way, python.path);
    [moved, direct, relayed] = await Promise.all([start("oddswire"), start("exchange"), start("relay")]);
    await street.exchange.ask("world", { seed: 7, markets: MARKETS, messages: MESSAGES });
    await street.play(1);
    await street.publish([STARTING]);
    await direct.open("all");
    const { snap } = await direct.books("all");
    definitions = Object.values(snap).map(({ marketDefinition }) => marketDefinition as Record<string, unknown>);
  }, 30_000);
  afterAll(() => street?.close());
  /** Streams that hold something else there than here, with both sides. */
  async function differences(): Promise<Record<string, unknown>> {
    await Promise.all([moved, direct].map((library) => quiet(library, QUIET_MS)));
    const [here, there] = [await moved.digests(), await direct.digests()];
    const differ = Object.keys(here).filter((name) => here[name] !== there[name]);
    const where = async (name: string) => [name, parting(await moved.books(name), await direct.books(name))];
    return Object.fromEntries(await Promise.all(differ.map(where)));
  }

  /** Markets in which somebody could bet, with a runner each. */
  async function openMarkets(): Promise<{ market: string; runner: number | undefined }[]> {
    const { books } = await direct.books("for its markets");
    const open = books.filter(({ status, market }) => status === "OPEN" && market.startsWith("1.25"));
    return open.map(({ market, runners }) => ({ market, runner: runners[0]?.id }));
  }

  async function playGently(messages: number): Promise<void> {
    for (let played = 0; played < messages; played += STEP_MESSAGES) {
      await street.play(STEP_MESSAGES);
      for (const library of [moved, direct]) await quiet(library, STEP_QUIET_MS);
    }
  }

  afterEach(async () => {
    for (const library of [moved, direct, relayed]) await library.closeAll();
  });

  /** Markets that are there once more, under other ids. */
  async function markets(ids: readonly string[], suffix: string): Promise<MarketChange[]> {
    const image = (market: string) => street.exchange.ask<MarketChange>("image", { market });
    return Promise.all(ids.map(async (id) => ({ ...(await image(id)), id: id + suffix })));
  }

  test("logs in by password and by certificate, keeps alive, and logs out", async () => {
    for (const how of ["interactive", "certificate"] as const) {
      const { status, token } = await moved.login(how);
      expect([status, token.length]).toEqual([how === "certificate" ? "SUCCESS" : null, 44] as never);
      expect((await moved.keepAlive()).status).toBe("SUCCESS");
      await moved.open(`by ${how}`);
      expect((await moved.logout()).status).toBe("SUCCESS");
    }
    await moved.useToken("none any more");
    expect((await moved.open("after")).end).toContain("INVALID_SESSION_INFORMATION");
    await moved.login("interactive");
    await moved.complaints();
  });

  test("sees the same with every filter, every field, every depth, conflated and not, in segments and not", async () => {
    const subscriptions = everySubscription(definitions);
    for (const library of [moved, direct])
      for (const [name, options] of Object.entries(subscriptions)) await library.open(name, options);
    await playGently(MESSAGES / 2);
    await street.publish(await markets(["1.250000001", "1.250000007", "1.250000013"], ".later"));
    await street.publish([{ id: STARTING.id, rc: [{ id: 11, spn: 2.6, spb: [[2.54321, 0]] }] }]);
    await playGently(MESSAGES / 2);
    expect(await differences()).toEqual({});
    for (const [name, options] of Object.entries(subscriptions)) {
      const { books } = await moved.books(name);
      expect([name, books.length > 0]).toEqual([name, true]);
      const state = await moved.state(name);
      expect([name, state.end, state.late]).toEqual([name, null, 0]);
      if (options.conflate_ms === 0) expect((await direct.state(name)).updates).toBe(state.updates);
    }
    // Which the library says of every market that was not asked for with its definition.
    const undefinedMarket = (text: string) => text.includes("Missing marketDefinition");
    expect((await moved.complaints()).filter((text) => !undefinedMarket(text))).toEqual([]);
  }, 40_000);

  test("asks for books, catalogues, events and sports, and is told what the exchange tells", async () => {
    const ids = definitions.map((_, at) => `1.25000000${at + 1}`).slice(0, 5);
    const calls: readonly (readonly [string, object])[] = [
      ["list_market_book", { market_ids: ids, price_projection: { priceData: ["EX_BEST_OFFERS", "EX_TRADED"] } }],
      ["list_market_book", { market_ids: ids, price_projection: { priceData: ["EX_ALL_OFFERS"] } }],
      ["list_market_book", { market_ids: ids }],
      [
        "list_market_catalogue",
        { filter: {}, market_projection: PROJECTIONS, max_results: 50, sort: "FIRST_TO_START" },
      ],
      ["list_market_catalogue", { filter: { marketIds: ids }, max_results: 5 }],
      ["list_event_types", { filter: {} }],
      ["list_events", { filter: { eventTypeIds: ["1"] } }],
    ];
    for (const [method, options] of calls) {
      const tell = (library: Library) => library.betting<object[]>(method, options).then(sorted);
      // Names are there some seconds after their markets.
      for (let tries = 0; tries < 20 && !Bun.deepEquals(await tell(moved), await tell(direct)); tries++)
        await Bun.sleep(300);
      expect([method, parting(await tell(moved), await tell(direct))]).toEqual([method, null]);
      expect(await moved.betting<string[]>(method, options, false)).not.toBeEmpty();
    }
    const tooMuch = { market_ids: ids, price_projection: { priceData: ["EX_ALL_OFFERS", "EX_TRADED"] } };
    for (const library of [moved, direct])
      expect(library.betting("list_market_book", { ...tooMuch, market_ids: [...ids, ...ids] })).rejects.toThrow(
        "TOO_MUCH_DATA",
      );
    expect(await moved.complaints()).toEqual([]);
  });

  test("is compared beforehand in shadow mode, which finds no difference", async () => {
    await street.exchange.ask("world", { seed: 12, markets: MARKETS, messages: 200 });
    await street.play(5);
    const shadow = street.shadow(0.1);
    let over = false;
    shadow.finally(() => {
      over = true;
    });
    while (!over && (await street.play(1)).messages > 0) await Bun.sleep(30);
    const { code, report } = await shadow;
    expect([report, code]).toEqual([expect.stringContaining("markets"), 0]);
  }, 30_000);

  test("is cut in mid-stream, comes back with its own clocks, and misses nothing", async () => {
    await street.exchange.ask("world", { seed: 8, markets: MARKETS, messages: MESSAGES });
    await street.play(5);
    await relayed.open("before");
    await direct.open("whole");
    await street.play(10);
    await street.exchange.ask("cut", { who: "clients" });
    expect((await relayed.wait("before", { end: true })).end).toContain("SocketError");
    await street.play(20);
    await relayed.complaints();
    const { SUB_IMAGE } = (await relayed.state("before")).changes;
    const state = await relayed.open("after", {}, "before");
    expect(state.changes).toMatchObject({ SUB_IMAGE: SUB_IMAGE as number, RESUB_DELTA: 1 });
    await street.play(10);
    await Promise.all([relayed, direct].map((library) => quiet(library, 200)));
    expect(await relayed.books("after")).toEqual(await direct.books("whole"));
    expect(await relayed.complaints()).toEqual([]);
  });

  test("sees its own orders as the exchange tells of them, and no others", async () => {
    const owner = await Library.start(street, "exchange", python.path, GATEWAY);
    const [betOn] = (await direct.open("for its markets", { fields: ["EX_MARKET_DEF"] })) && (await openMarkets());
    const place = (customer_strategy_ref: string, price: number) => {
      const limitOrder = { size: 2, price, persistenceType: "LAPSE" };
      const instruction = { orderType: "LIMIT", side: "BACK", handicap: 0, selectionId: betOn?.runner, limitOrder };
      return owner.betting("place_orders", {
        market_id: betOn?.market,
        instructions: [instruction],
        customer_strategy_ref,
      });
    };
    await place("alpha-1", 900);
    await moved.open("orders", { orders: {}, lightweight: true });
    await owner.open("orders", { orders: { customer_strategy_refs: ["alpha-1", "alpha-2"] }, lightweight: true });
    await place("beta-1", 910);
    await place("alpha-2", 920);
    await owner.betting("cancel_orders", { market_id: betOn?.market });
    const over = (orders: Record<string, readonly OrderSeen[]>) =>
      Object.values(orders)
        .flat()
        .filter(({ status }) => status === "EXECUTION_COMPLETE");
    await until(
      async () => over(await moved.orders("orders")).length === 2 && over(await owner.orders("orders")).length === 2,
    );
    expect(await moved.orders("orders")).toEqual(await owner.orders("orders"));
    expect((await moved.open("others'", { orders: { customer_strategy_refs: ["beta-1"] } })).end).toContain(
      "NOT_AUTHORIZED",
    );
    const complaints = await moved.complaints();
    expect(complaints.filter((text) => !text.includes("NOT_AUTHORIZED"))).toEqual([]);
    await owner.end();
  });
});

/** Resolves when nothing has come for so long. */
async function quiet(library: Library, ms: number): Promise<void> {
  for (let before = -1, now = await library.updates(); now !== before; now = await library.updates()) {
    before = now;
    await Bun.sleep(ms);
  }
}

/** In the library's lightweight mode, where there are many: the other one costs five times as much. Each filter alone, each field alone and all, each depth, conflation, segmentation; and nothing of all that. */
function everySubscription(definitions: readonly Record<string, unknown>[]): Record<string, StreamOptions> {
  const all = ["EX_MARKET_DEF", ...FLAGS];
  const filters = Object.entries(FILTERS).map(([filter, key]) => {
    const value = definitions
      .map((definition) => definition[key])
      .find((value) => value !== undefined && value !== null);
    return [
      filter,
      { lightweight: true, filter: { [filter]: typeof value === "boolean" ? value : [value] }, conflate_ms: 0 },
    ] as const;
  });
  return {
    plain: {},
    ...Object.fromEntries(filters),
    market_ids: {
      lightweight: true,
      filter: { market_ids: ["1.250000002", "1.250000001.later", "1.none"] },
      conflate_ms: 0,
    },
    ...Object.fromEntries(
      FLAGS.map((flag) => [
        flag,
        { lightweight: true, fields: [flag], ...(flag.startsWith("SP") && { filter: { market_ids: [STARTING.id] } }) },
      ]),
    ),
    ...Object.fromEntries(
      [1, 3, 10].map((depth) => [`${depth} levels`, { fields: all, ladderLevels: depth, conflate_ms: 0 }]),
    ),
    ...Object.fromEntries([0, 500].map((ms) => [`conflated ${ms}`, { conflate_ms: ms, fields: all }])),
    "not in segments": { segmentation_enabled: false, conflate_ms: 0 },
    "large reads": { buffer_size: 65_536, heartbeat_ms: 500 },
  };
}

/** Which of two markets with one start comes first is nobody's promise. */
function sorted(list: readonly object[]): readonly object[] {
  const key = (each: object) => JSON.stringify(Object.values(each)[0]);
  return list.map((each) => ({ key: (each as { marketId?: string }).marketId ?? key(each), each })).sort(byKey);
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : 1;
}

/** Where two values part first: the path there, and both. */
function parting(here: unknown, there: unknown, path = ""): string | null {
  if (Bun.deepEquals(here, there)) return null;
  const isObject = (value: unknown) => typeof value === "object" && value !== null;
  if (!isObject(here) || !isObject(there)) return `${path}: ${JSON.stringify(here)} against ${JSON.stringify(there)}`;
  const [a, b] = [here as Record<string, unknown>, there as Record<string, unknown>];
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return keys.map((key) => parting(a[key], b[key], `${path}.${key}`)).find((found) => found !== null) ?? path;
}
