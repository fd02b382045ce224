import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { seededRandom } from "../base/random.ts";
import { PRICE_DATA, type PriceData, readBookQuery, readCatalogueQuery, readFilter } from "../edge/betting-requests.ts";
import { type CatalogueEntry, EntryReader } from "../exchange/catalogue-entry.ts";
import { ChangeBatch } from "../market/batch.ts";
import { Cache } from "../market/cache.ts";
import { ALL_FIELDS, FIELD } from "../market/types.ts";
import { VirtualClock } from "../sim/clock.ts";
import { type MarketChange, NaiveBook, type PriceSize, type RunnerState } from "../sim/naive.ts";
import { OddMarkets } from "../sim/odd-markets.ts";
import { decodeServerLine } from "../wire/esa.ts";
import { BettingDesk } from "./betting.ts";

const RECORDINGS =
  process.env.ODDSWIRE_RECORDINGS ?? fileURLToPath(new URL("../../../shared/recordings", import.meta.url));
const FIXTURES = `${RECORDINGS}/messages/betfairlightweight`;

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at as they come
type Loose = any;
type Json = Record<string, Loose>;

function setUp(options: { fields?: number; delayed?: boolean } = {}) {
  const cache = new Cache({ epoch: "e", clock: new VirtualClock(), retentionMs: 1e6, forgetMs: 1e6 });
  const batch = new ChangeBatch();
  const names = new Map<string, CatalogueEntry>();
  const reader = new EntryReader();
  const { fields = ALL_FIELDS, delayed = false } = options;
  const desk = new BettingDesk({ cache, catalogue: names, fields, isDelayed: () => delayed });
  const answer = (result: unknown) => (typeof result === "string" ? JSON.parse(result) : result);
  return {
    desk,
    say(...mc: MarketChange[]) {
      const line = Buffer.from(JSON.stringify({ op: "mcm", id: 1, pt: 1, clk: "a", mc }));
      decodeServerLine(line, 0, line.length, batch);
      cache.apply(batch);
    },
    learn(...markets: Json[]) {
      for (const market of markets) names.set(market.marketId, reader.read(market)?.entry as CatalogueEntry);
    },
    books: (params: Json) => asked(readBookQuery(params), (query) => answer(desk.listMarketBook(query as Loose))),
    catalogue: (params: Json) =>
      asked(readCatalogueQuery({ filter: {}, maxResults: 100, ...params }), (query) =>
        answer(desk.listMarketCatalogue(query as Loose)),
      ),
    ids: (filter: Json, sort?: string) =>
      answer(desk.listMarketCatalogue(readCatalogueQuery({ filter, sort, maxResults: 1000 }) as Loose)).map(
        (market: Json) => market.marketId,
      ),
    eventTypes: (filter: Json) => answer(desk.listEventTypes(readFilter({ filter }) as Loose)),
    events: (filter: Json) => answer(desk.listEvents(readFilter({ filter }) as Loose)),
  };
}

function asked(query: object, ask: (query: object) => Loose): Loose {
  return "kind" in query ? query : ask(query);
}

function market(id: string, definition: Json = {}, rest: Json = {}): MarketChange {
  const runners = [{ id: 1, status: "ACTIVE", sortPriority: 1 }];
  return { id, img: true, marketDefinition: { status: "OPEN", runners, ...definition }, ...rest };
}

/** What listMarketBook must say of a naive book: the rules once more, on plain objects. */
function expectedRunner(
  state: RunnerState,
  handicap: number,
  query: { priceData: PriceData[]; depth: number; virtualise: boolean },
) {
  const has = (name: PriceData) => query.priceData.includes(name);
  const plain = (rows: readonly (readonly number[])[] = []) =>
    rows.map((row) => ({ price: row.at(-2) as number, size: row.at(-1) as number }));
  const pairs = [
    ...(query.virtualise ? [[plain(state.bdatb), plain(state.bdatl)]] : []),
    [plain(state.atb), plain(state.atl)],
    [plain(state.batb), plain(state.batl)],
  ] as const;
  const [back, lay] = pairs.find(([b, l]) => (b?.length ?? 0) + (l?.length ?? 0) > 0) ?? [[], []];
  const levels = has("EX_ALL_OFFERS") ? 1e9 : has("EX_BEST_OFFERS") ? query.depth : 0;
  return {
    selectionId: state.id,
    handicap,
    ...(state.status !== null && { status: state.status }),
    ...(state.ltp !== null && { lastPriceTraded: state.ltp }),
    ...(state.tv !== null && { totalMatched: state.tv }),
    ...((has("SP_AVAILABLE") || has("SP_TRADED")) && {
      sp: {
        ...(state.spn !== undefined && { nearPrice: state.spn }),
        ...(state.spf !== undefined && { farPrice: state.spf }),
        backStakeTaken: plain(state.spl as PriceSize[]),
        layLiabilityTaken: plain(state.spb as PriceSize[]),
      },
    }),
    ...((has("EX_BEST_OFFERS") || has("EX_ALL_OFFERS") || has("EX_TRADED")) && {
      ex: {
        availableToBack: back?.slice(0, levels),
        availableToLay: lay?.slice(0, levels),
        tradedVolume: has("EX_TRADED") ? plain(state.trd) : [],
      },
    }),
  };
}

describe("listMarketBook", () => {
  test("is the book that the naive book holds, in every projection, whatever the exchange sent", () => {
    const projection = fc.record({
      priceData: fc.subarray([...PRICE_DATA]),
      depth: fc.integer({ min: 1, max: 10 }),
      virtualise: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.nat(), fc.array(projection, { minLength: 3, maxLength: 6 }), (seed, projections) => {
        const odd = new OddMarkets(seededRandom(seed), { markets: 4, marketsMax: 6, churning: 1 });
        const { say, books } = setUp();
        const naive = new Map<string, NaiveBook>();
        const publish = (changes: MarketChange[]) => {
          for (const change of changes) {
            if (!naive.has(change.id)) naive.set(change.id, new NaiveBook(change.id));
            naive.get(change.id)?.apply(change);
          }
          say(...changes);
        };
        publish(odd.first());
        for (let i = 0; i < 60; i++) publish(odd.next());
        for (const query of projections)
          for (const [id, book] of naive) {
            const state = book.state();
            const { priceData, depth, virtualise } = query;
            const overrides = { exBestOffersOverrides: { bestPricesDepth: depth } };
            const [said] = books({ marketIds: [id], priceProjection: { priceData, virtualise, ...overrides } });
            if (book.definition === null) {
              expect(said).toBeUndefined();
              continue;
            }
            const runners = (book.definition.runners ?? []).map(({ id: runner, hc }) =>
              expectedRunner(
                state.runners.find((one) => one.id === runner && one.hc === (hc ?? 0)) as RunnerState,
                hc ?? 0,
                query,
              ),
            );
            expect(said.runners).toEqual(runners);
            expect(said).toMatchObject({
              marketId: id,
              status: state.status,
              inplay: state.inPlay,
              version: state.version,
              totalMatched: state.totalMatched ?? 0,
              numberOfRunners: runners.length,
            });
          }
      }),
      { numRuns: 40 },
    );
  });

  test("gives every number exactly, and the exchange's words where it is none", () => {
    const { say, books } = setUp();
    const bsp = 4.016960432793567;
    const runners = [
      { id: 2, status: "ACTIVE", sortPriority: 2, bsp: "NaN", adjustmentFactor: 16.667 },
      { id: 1, hc: -0.5, status: "ACTIVE", sortPriority: 1, bsp },
      { id: 3, status: "REMOVED", sortPriority: 3, removalDate: "2026-01-01T10:00:00.000Z" },
    ];
    const rc = [
      {
        id: 1,
        hc: -0.5,
        ltp: 1.33,
        tv: 0.1,
        spn: "Infinity",
        spf: 70.1621307023403,
        atb: [
          [1.32, 0.07],
          [1.31, 0.1],
          [1.3, 0.2],
        ],
      },
    ];
    say(market("1.1", { runners, version: 6_000_000_001 }, { tv: 42_949_672.97, rc }) as MarketChange);
    const [book] = books({ marketIds: ["1.1"], priceProjection: { priceData: ["EX_BEST_OFFERS", "SP_TRADED"] } });
    expect(book).toMatchObject({ version: 6_000_000_001, totalMatched: 42_949_672.97, totalAvailable: 0.37 });
    expect(book.runners.map((runner: Json) => runner.selectionId)).toEqual([1, 2, 3]);
    expect(book.runners[0]).toEqual({
      selectionId: 1,
      handicap: -0.5,
      status: "ACTIVE",
      lastPriceTraded: 1.33,
      totalMatched: 0.1,
      sp: {
        nearPrice: "Infinity",
        farPrice: 70.1621307023403,
        backStakeTaken: [],
        layLiabilityTaken: [],
        actualSP: bsp,
      },
      ex: {
        availableToBack: [
          { price: 1.32, size: 0.07 },
          { price: 1.31, size: 0.1 },
          { price: 1.3, size: 0.2 },
        ],
        availableToLay: [],
        tradedVolume: [],
      },
    });
    expect(book.runners[1]).toMatchObject({ adjustmentFactor: 16.667, sp: { actualSP: "NaN" } });
    expect(book.runners[2]).toMatchObject({ status: "REMOVED", removalDate: "2026-01-01T10:00:00.000Z" });
  });

  test("leaves out markets it does not know, and says one asked for twice once", () => {
    const { say, books } = setUp();
    say(market("1.1"), { id: "1.2", img: true, rc: [{ id: 1, ltp: 2 }] });
    expect(books({ marketIds: ["1.9", "1.1", "1.2", "1.1"] }).map((book: Json) => book.marketId)).toEqual(["1.1"]);
  });

  test("says that it may be old when the stream is late, and refuses what the stream does not carry", () => {
    const { say, books } = setUp({ fields: FIELD.EX_BEST_OFFERS | FIELD.EX_MARKET_DEF, delayed: true });
    say(
      market(
        "1.1",
        {},
        {
          rc: [
            {
              id: 1,
              batb: [
                [0, 2, 5],
                [1, 1.9, 6],
                [2, 0, 0],
              ],
              batl: [[0, 2.1, 1]],
            },
          ],
        },
      ) as MarketChange,
    );
    const ask = (name: string) => books({ marketIds: ["1.1"], priceProjection: { priceData: [name] } });
    const [book] = ask("EX_BEST_OFFERS");
    expect(book.isMarketDataDelayed).toBe(true);
    expect(book.runners[0].ex.availableToBack).toEqual([
      { price: 2, size: 5 },
      { price: 1.9, size: 6 },
    ]);
    expect(book).not.toHaveProperty("totalMatched");
    for (const name of ["EX_ALL_OFFERS", "EX_TRADED", "SP_AVAILABLE"])
      expect(ask(name)).toMatchObject({ kind: "exception", code: "INVALID_INPUT_DATA" });
  });
});

describe("listMarketCatalogue", () => {
  const noon = "2026-11-24T12:00:00.000Z";
  const one = "2026-11-24T13:00:00.000Z";
  const two = "2026-11-24T14:00:00.000Z";

  function several() {
    const house = setUp();
    house.say(
      market(
        "1.1",
        { eventTypeId: "1", eventId: "31", marketType: "MATCH_ODDS", marketTime: two, countryCode: "GB" },
        { tv: 5 },
      ),
      market(
        "1.2",
        {
          eventTypeId: "7",
          eventId: "32",
          marketType: "WIN",
          marketTime: noon,
          venue: "Ascot",
          bspMarket: true,
          raceType: "Flat",
        },
        { tv: 7 },
      ),
      market("1.3", {
        eventTypeId: "1",
        eventId: "31",
        marketType: "OVER_UNDER_25",
        marketTime: two,
        inPlay: true,
        bettingType: "ODDS",
      }),
      market("1.4", {
        eventTypeId: "2",
        eventId: "33",
        marketTime: one,
        turnInPlayEnabled: true,
        eventName: "Zoë v Ana",
        name: "Sieger",
        timezone: "GMT",
        openDate: one,
      }),
      market("1.5", { eventTypeId: "1", eventId: "31", status: "CLOSED", marketTime: two }),
    );
    const football = {
      event: { id: "31", name: "Arsenal v Chelsea", timezone: "GMT", openDate: two },
      eventType: { id: "1", name: "Soccer" },
      competition: { id: "10932509", name: "Premier League" },
    };
    house.learn(
      { marketId: "1.1", marketName: "Match Odds", ...football },
      { marketId: "1.3", marketName: "Over/Under 2.5 Goals", ...football },
    );
    return house;
  }

  const filters: readonly [object, string[]][] = [
    [{}, ["1.2", "1.4", "1.1", "1.3"]],
    [{ eventTypeIds: ["1"] }, ["1.1", "1.3"]],
    [{ eventTypeIds: [7, "2"] }, ["1.2", "1.4"]],
    [{ eventIds: ["31"], marketTypeCodes: ["MATCH_ODDS"] }, ["1.1"]],
    [{ marketIds: ["1.3", "1.1", "1.1", "1.5", "1.99"] }, ["1.3", "1.1"]],
    [{ marketCountries: ["GB"] }, ["1.1"]],
    [{ venues: ["Ascot"] }, ["1.2"]],
    [{ raceTypes: ["Flat"] }, ["1.2"]],
    [{ bspOnly: true }, ["1.2"]],
    [{ turnInPlayEnabled: "true" }, ["1.4"]],
    [{ inPlayOnly: true }, ["1.3"]],
    [{ marketBettingTypes: ["ODDS"] }, ["1.3"]],
    [{ marketStartTime: { from: "2026-11-24T12:30:00Z", to: one } }, ["1.4"]],
    [{ marketStartTime: { from: two } }, ["1.1", "1.3"]],
    [{ competitionIds: ["10932509"] }, ["1.1", "1.3"]],
    [{ textQuery: "arsenal" }, ["1.1", "1.3"]],
    [{ textQuery: "ars*chel" }, ["1.1", "1.3"]],
    [{ textQuery: "zoë" }, ["1.4"]],
    [{ textQuery: "chel*ars" }, []],
    [{ eventTypeIds: [], textQuery: null, venues: null }, ["1.2", "1.4", "1.1", "1.3"]],
  ];
  for (const [filter, ids] of filters)
    test(`filters ${JSON.stringify(filter)}`, () => expect(several().ids(filter)).toEqual(ids));

  test("sorts as it is asked, and gives no more than it is asked for", () => {
    const { ids, catalogue } = several();
    expect(ids({}, "FIRST_TO_START")).toEqual(["1.2", "1.4", "1.1", "1.3"]);
    expect(ids({}, "LAST_TO_START")).toEqual(["1.1", "1.3", "1.4", "1.2"]);
    expect(ids({}, "MAXIMUM_TRADED").slice(0, 2)).toEqual(["1.2", "1.1"]);
    expect(ids({}, "MINIMUM_TRADED").slice(2)).toEqual(["1.1", "1.2"]);
    expect(catalogue({ maxResults: 2 }).length).toBe(2);
  });

  test("a query of nothing but stars, a million of them, costs no more than one", () => {
    const { say, ids } = setUp();
    say(
      ...Array.from({ length: 1_000 }, (_, n) => ({
        id: `1.${n}`,
        marketDefinition: { status: "OPEN", eventId: "3", eventName: "A v B" },
      })),
    );
    const startedAt = performance.now();
    expect(ids({ textQuery: `${"*".repeat(1_000_000)}v*` })).toHaveLength(1_000);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test("tells names from the catalogue, else from the definition, else shows ids", () => {
    const { catalogue, eventTypes, events } = several();
    const marketProjection = ["EVENT", "EVENT_TYPE", "RUNNER_DESCRIPTION", "MARKET_START_TIME", "COMPETITION"];
    const [race, tennis, football] = catalogue({ marketProjection });
    expect(football).toMatchObject({
      marketName: "Match Odds",
      totalMatched: 5,
      competition: { name: "Premier League" },
    });
    expect(football.event).toEqual({ id: "31", name: "Arsenal v Chelsea", timezone: "GMT", openDate: two });
    expect(tennis).toMatchObject({
      marketName: "Sieger",
      event: { id: "33", name: "Zoë v Ana" },
      eventType: { id: "2", name: "2" },
    });
    expect(race).toMatchObject({
      marketName: "1.2",
      marketStartTime: noon,
      event: { id: "32", name: "32", venue: "Ascot" },
    });
    expect(race.runners).toEqual([{ selectionId: 1, runnerName: "1", handicap: 0, sortPriority: 1 }]);
    expect(eventTypes({})).toEqual([
      { eventType: { id: "1", name: "Soccer" }, marketCount: 2 },
      { eventType: { id: "7", name: "7" }, marketCount: 1 },
      { eventType: { id: "2", name: "2" }, marketCount: 1 },
    ]);
    expect(events({ eventTypeIds: ["1"] })).toEqual([
      { event: { id: "31", name: "Arsenal v Chelsea", timezone: "GMT", openDate: two }, marketCount: 2 },
    ]);
    expect(events({ textQuery: "zoë" })[0]).toMatchObject({ event: { id: "33" }, marketCount: 1 });
  });

  test("gives only what its projections ask for", () => {
    const { catalogue } = several();
    expect(catalogue({ filter: { marketIds: ["1.1"] } })).toEqual([
      { marketId: "1.1", marketName: "Match Odds", totalMatched: 5 },
    ]);
  });
});

describe.skipIf(!existsSync(FIXTURES))("answers of the real exchange", () => {
  const fixture = (name: string) => JSON.parse(readFileSync(`${FIXTURES}/${name}.json`, "utf8")).result[0] as Json;

  test("a catalogue entry comes out as it went in, in each key and value", () => {
    const entry = fixture("list_market_catalogue");
    const { say, learn, catalogue } = setUp();
    say(market(entry.marketId, { marketTime: entry.marketStartTime }, { tv: 0 }));
    learn(entry);
    const marketProjection = [
      "COMPETITION",
      "EVENT",
      "EVENT_TYPE",
      "MARKET_START_TIME",
      "MARKET_DESCRIPTION",
      "RUNNER_METADATA",
    ];
    expect(catalogue({ marketProjection })).toEqual([entry]);
    const [{ runners }] = catalogue({ marketProjection: ["RUNNER_DESCRIPTION"] });
    expect(runners).toEqual(entry.runners.map(({ metadata, ...rest }: Json) => rest));
  });

  test("a book, told to us as the stream would tell it, is the exchange's own", () => {
    const { lastMatchTime, totalAvailable, ...book } = fixture("list_market_book");
    // the recorded answer has a price with nothing at it, which a ladder of the stream cannot have
    for (const { ex } of book.runners) ex.availableToBack = ex.availableToBack.filter(({ size }: Json) => size > 0);
    const rows = (list: Json[]) => list.map(({ price, size }) => [price, size]);
    const { say, books } = setUp();
    say({
      id: book.marketId,
      img: true,
      tv: book.totalMatched,
      marketDefinition: {
        ...book,
        inPlay: book.inplay,
        keyLineDefinition: {
          kl: book.keyLineDescription.keyLine.map((line: Json) => ({ id: line.selectionId, hc: line.handicap })),
        },
        runners: book.runners.map((runner: Json, i: number) => ({
          id: runner.selectionId,
          status: runner.status,
          sortPriority: i + 1,
          adjustmentFactor: runner.adjustmentFactor,
          bsp: runner.sp.actualSP,
          ...(runner.removalDate && { removalDate: runner.removalDate }),
        })),
      },
      rc: book.runners.map((runner: Json) => ({
        id: runner.selectionId,
        ...(runner.lastPriceTraded && { ltp: runner.lastPriceTraded, tv: runner.totalMatched }),
        atb: rows(runner.ex.availableToBack),
        atl: rows(runner.ex.availableToLay),
        trd: rows(runner.ex.tradedVolume),
        spb: rows(runner.sp.layLiabilityTaken),
        spl: rows(runner.sp.backStakeTaken),
      })),
    });
    const priceProjection = { priceData: ["EX_ALL_OFFERS", "EX_TRADED", "SP_TRADED", "SP_AVAILABLE"] };
    const [said] = books({ marketIds: [book.marketId], priceProjection });
    expect(said.totalAvailable).toBeCloseTo(totalAvailable, 0);
    const { totalAvailable: _, ...rest } = said;
    expect(rest).toEqual({ ...book, runners: book.runners.map(({ orders, matches, ...runner }: Json) => runner) });
  });
});
