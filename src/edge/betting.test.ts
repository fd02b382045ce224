import { describe, expect, test } from "bun:test";
import { VirtualClock } from "../sim/clock.ts";
import { type Account, TokenList } from "../tenancy/tokens.ts";
import { BATCH_MAX, BettingDoor, type BettingReader, BODY_BYTES_MAX, type OrderListReader } from "./betting.ts";
import { bookWeight, type PriceData } from "./betting-requests.ts";

const RPC = "/exchange/betting/json-rpc/v1";
const REST = "/exchange/betting/rest/v1.0";
const GOOD = { "X-Application": "key", "X-Authentication": "token-of-anna" };

const TOKENS = new TokenList(
  ["anna", "bert"].map((name) => ({ token: `token-of-${name}`, name })),
  ["key"],
);

interface Answer {
  readonly status: number;
  readonly body: Json;
}
// biome-ignore lint/suspicious/noExplicitAny: answers are looked at as they come
type Json = any;

function setUp(callsPerSecondMax = 1_000, tokens = TOKENS) {
  const clock = new VirtualClock();
  const asked: Json[] = [];
  const note = (name: string) => (query: object) => {
    asked.push([name, query]);
    return `[{"from":"${name}"}]`;
  };
  const reader: BettingReader = {
    listMarketBook: note("listMarketBook"),
    listMarketCatalogue: note("listMarketCatalogue"),
    listEventTypes: note("listEventTypes"),
    listEvents: note("listEvents"),
  };
  const known = { isReady: true };
  const orders: OrderListReader = {
    async ask(name, params) {
      asked.push([name, params as object]);
      return outcome.next;
    },
  };
  const outcome: { next: Awaited<ReturnType<OrderListReader["ask"]>> } = {
    next: { kind: "result", result: { clearedOrders: [{ betId: "1", priceMatched: 2.5 }], moreAvailable: false } },
  };
  const door = new BettingDoor({ tokens, reader, orders, isReady: () => known.isReady, clock, callsPerSecondMax });
  const send = async (path: string, body: BodyInit | null, init: RequestInit = {}): Promise<Answer> => {
    const url = new URL(path, "http://h");
    expect(door.matches(url.pathname)).toBe(true);
    const response = await door.answer(new Request(url, { method: "POST", headers: GOOD, body, ...init }), url);
    return { status: response.status, body: await response.json() };
  };
  const rpc = (method: string, params?: unknown, headers: HeadersInit = GOOD) =>
    send(RPC, JSON.stringify({ jsonrpc: "2.0", method: `SportsAPING/v1.0/${method}`, params, id: 1 }), { headers });
  const rest = (method: string, params: unknown, headers: HeadersInit = GOOD) =>
    send(`${REST}/${method}/`, JSON.stringify(params), { headers });
  return { clock, asked, door, known, outcome, send, rpc, rest };
}

function books(count: number, priceData: readonly string[] = [], more: object = {}) {
  const marketIds = Array.from({ length: count }, (_, i) => `1.${i}`);
  return { marketIds, priceProjection: { priceData, ...more } };
}

test("before there are prices an answer would be a lie, and none is given", async () => {
  const { known, asked, rpc, rest } = setUp();
  known.isReady = false;
  expect((await rpc("listMarketBook", books(1))).body.error).toMatchObject({
    message: "ANGX-0009",
    data: { APINGException: { errorCode: "SERVICE_BUSY" } },
  });
  expect((await rest("listEvents", { filter: {} })).status).toBe(503);
  expect(asked).toEqual([]);
});

describe("the JSON-RPC form", () => {
  test("answers one call, at both spellings of its path, with its id as it was given", async () => {
    const { send } = setUp();
    const call = { jsonrpc: "2.0", method: "SportsAPING/v1.0/listEventTypes", params: { filter: {} } };
    for (const path of [RPC, `${RPC}/`])
      for (const id of [1, "a", null])
        expect(await send(path, JSON.stringify({ ...call, id }))).toEqual({
          status: 200,
          body: { jsonrpc: "2.0", result: [{ from: "listEventTypes" }], id },
        });
    expect((await send(RPC, JSON.stringify(call))).body).not.toHaveProperty("id");
  });

  test("answers in ASCII, and takes nothing for an id that is none, however deep", async () => {
    const { door } = setUp();
    const ask = async (id: string) => {
      const body = `{"method":"SportsAPING/v1.0/listEventTypes","params":{"filter":{}},"id":${id}}`;
      const url = new URL(RPC, "http://h");
      return (await door.answer(new Request(url, { method: "POST", headers: GOOD, body }), url)).text();
    };
    expect(await ask('"\u00e9"')).toEndWith('"id":"\\u00e9"}');
    expect(await ask('{"a":[1]}')).toEndWith('"id":null}');
    expect(await ask(`${"[".repeat(200_000)}${"]".repeat(200_000)}`)).toEndWith('"id":null}');
  });

  test("answers a batch in its order, each call for itself", async () => {
    const { send } = setUp();
    const call = (method: string, params: object, id: number) => ({ jsonrpc: "2.0", method, params, id });
    const batch = [
      call("SportsAPING/v1.0/listEvents", { filter: {} }, 7),
      call("SportsAPING/v1.0/placeOrders", {}, 8),
      call("SportsAPING/v1.0/listMarketBook", {}, 9),
      5,
    ];
    const { status, body } = await send(RPC, JSON.stringify(batch));
    expect(status).toBe(200);
    expect(body.map(({ id, error }: Json) => [id, error?.code, error?.message])).toEqual([
      [7, undefined, undefined],
      [8, -32601, "DSC-0021"],
      [9, -32602, "DSC-0018"],
      [null, -32600, "DSC-0024"],
    ]);
  });

  test("refuses what is no request in the exchange's words", async () => {
    const { send } = setUp();
    const error = async (body: BodyInit) => {
      const answer = await send(RPC, body);
      return [answer.status, answer.body.error.code, answer.body.error.message];
    };
    expect(await error("{")).toEqual([400, -32700, "DSC-0008"]);
    expect(await error("[]")).toEqual([400, -32600, "DSC-0024"]);
    expect(await error(JSON.stringify(new Array(BATCH_MAX + 1).fill({})))).toEqual([400, -32099, "ANGX-0014"]);
    expect(await error("x".repeat(BODY_BYTES_MAX + 1))).toEqual([400, -32099, "ANGX-0014"]);
    const endless = new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(65_536)) });
    expect(await error(endless)).toEqual([400, -32099, "ANGX-0014"]);
  });

  test("says an exception in the exchange's shape", async () => {
    const { rpc } = setUp();
    const { status, body } = await rpc("listEvents", { filter: {} }, { ...GOOD, "X-Authentication": "stale" });
    expect(status).toBe(200);
    expect(body).toEqual({
      jsonrpc: "2.0",
      error: {
        code: -32099,
        message: "ANGX-0003",
        data: {
          APINGException: {
            requestUUID: expect.any(String),
            errorCode: "INVALID_SESSION_INFORMATION",
            errorDetails: expect.any(String),
          },
          exceptionname: "APINGException",
        },
      },
      id: 1,
    });
  });
});

describe("orders", () => {
  const none = { currentOrders: [], moreAvailable: false };

  test("of who may see none: there are none, as frameworks want to hear of every market that closes", async () => {
    const { rpc, rest } = setUp();
    expect((await rpc("listCurrentOrders", {})).body.result).toEqual(none);
    expect((await rest("listClearedOrders", { betStatus: "SETTLED" })).body).toEqual({
      clearedOrders: [],
      moreAvailable: false,
    });
  });

  const who = (orders: Account["orders"]) => new TokenList([{ token: "token-of-anna", name: "anna", orders }], ["key"]);

  test("of who may see all are the exchange's own answer", async () => {
    const { asked, outcome, rpc } = setUp(1_000, who("account"));
    const answer = await rpc("listClearedOrders", { betStatus: "SETTLED" });
    expect(answer.body.result).toEqual({ clearedOrders: [{ betId: "1", priceMatched: 2.5 }], moreAvailable: false });
    expect(asked).toEqual([["listClearedOrders", { betStatus: "SETTLED" }]]);
    outcome.next = { kind: "refused", code: "TOO_MANY_REQUESTS" };
    expect((await rpc("listCurrentOrders", {})).body.error.message).toBe("ANGX-0008");
    outcome.next = { kind: "refused", code: "SOMETHING_NEW" };
    expect((await rpc("listCurrentOrders", {})).body.error.data.APINGException.errorCode).toBe("UNEXPECTED_ERROR");
  });

  test("of who has a prefix are asked for by references that begin with it, and in no other way", async () => {
    const { asked, rpc, rest } = setUp(1_000, who({ refPrefix: "alpha-" }));
    for (const customerStrategyRefs of [
      undefined,
      null,
      [],
      ["beta-1"],
      ["alpha-1", "beta-1"],
      [7],
      "alpha-1",
      ["alpha"],
    ]) {
      const { body } = await rpc("listClearedOrders", { betStatus: "SETTLED", customerStrategyRefs });
      expect(body.error.data.APINGException.errorCode).toBe("ACCESS_DENIED");
    }
    expect(asked).toEqual([]);
    const params = { customerStrategyRefs: ["alpha-1", "alpha-2"] };
    expect((await rest("listCurrentOrders", params)).status).toBe(200);
    expect(asked).toEqual([["listCurrentOrders", params]]);
  });
});

describe("the REST form", () => {
  test("answers with the result alone, with or without a slash at the end of its path", async () => {
    const { send, rest } = setUp();
    const result = [{ from: "listMarketBook" }];
    expect(await rest("listMarketBook", { marketIds: ["1.1"] })).toEqual({ status: 200, body: result });
    expect(await send(`${REST}/listMarketBook`, '{"marketIds":["1.1"]}')).toEqual({ status: 200, body: result });
  });

  test("says a fault in the exchange's shape", async () => {
    const { rest, send } = setUp();
    expect(await rest("listMarketBook", books(41, ["EX_BEST_OFFERS"]))).toEqual({
      status: 400,
      body: {
        faultcode: "Client",
        faultstring: "ANGX-0001",
        detail: {
          APINGException: {
            requestUUID: expect.any(String),
            errorCode: "TOO_MUCH_DATA",
            errorDetails: "weight 5 x 41 markets is 205, and the most is 200",
          },
          exceptionname: "APINGException",
        },
      },
    });
    const fault = ({ status, body }: Answer) => [status, body.faultcode, body.faultstring];
    expect(fault(await rest("listMarketBook", {}))).toEqual([400, "Client", "DSC-0018"]);
    expect(fault(await rest("listMarketBook", { marketIds: "1.1" }))).toEqual([400, "Client", "DSC-0009"]);
    expect(fault(await send(`${REST}/listMarketBook/`, "{"))).toEqual([400, "Client", "DSC-0008"]);
    for (const method of ["placeOrders", "constructor", ""])
      expect(fault(await rest(method, {}))).toEqual([404, "Client", "DSC-0021"]);
    const get = await send(`${REST}/listMarketBook/`, null, { method: "GET" });
    expect(get.status).toBe(405);
  });
});

describe("who may ask", () => {
  const refusals: readonly [string, Record<string, string>, string, string][] = [
    ["no app key", { "X-Authentication": "token-of-anna" }, "ANGX-0004", "NO_APP_KEY"],
    ["an app key that is not known", { ...GOOD, "X-Application": "other" }, "ANGX-0007", "INVALID_APP_KEY"],
    ["no session", { "X-Application": "key" }, "ANGX-0005", "NO_SESSION"],
    ["a session that is none", { ...GOOD, "X-Authentication": "x" }, "ANGX-0003", "INVALID_SESSION_INFORMATION"],
  ];
  for (const [words, headers, number, code] of refusals)
    test(`not somebody with ${words}`, async () => {
      const { rpc, rest, asked } = setUp();
      const { error } = (await rpc("listMarketBook", { marketIds: ["1.1"] }, headers)).body;
      expect([error.message, error.data.APINGException.errorCode]).toEqual([number, code]);
      const { status, body } = await rest("listMarketBook", { marketIds: ["1.1"] }, headers);
      expect([status, body.faultstring, body.detail.APINGException.errorCode]).toEqual([400, number, code]);
      expect(asked).toEqual([]);
    });

  test("each visitor so many times a second, whatever the others ask", async () => {
    const { rpc, clock } = setUp(3);
    const filter = { marketIds: ["1.1"] };
    const code = async (headers = GOOD) =>
      (await rpc("listEvents", { filter }, headers)).body.error?.data.APINGException.errorCode;
    expect([await code(), await code(), await code(), await code()]).toEqual([
      undefined,
      undefined,
      undefined,
      "TOO_MANY_REQUESTS",
    ]);
    expect(await code({ ...GOOD, "X-Authentication": "token-of-bert" })).toBeUndefined();
    clock.advance(1_000);
    expect(await code()).toBeUndefined();
  });

  test("fewer times where all markets are looked through, and a batch is as much as what is in it", async () => {
    const { rpc, send, clock } = setUp(20);
    const all = async () => (await rpc("listEvents", { filter: {} })).body.error?.message;
    expect([await all(), await all(), await all()]).toEqual([undefined, undefined, "ANGX-0008"]);
    clock.advance(1_000);
    const call = { jsonrpc: "2.0", method: "SportsAPING/v1.0/listMarketBook", params: { marketIds: ["1.1"] } };
    const batch = async (calls: number) => {
      const { body } = await send(RPC, JSON.stringify(new Array(calls).fill(call)));
      return body.filter(({ result }: Json) => result !== undefined).length;
    };
    expect([await batch(20), await batch(1)]).toEqual([20, 0]);
  });
});

describe("weights", () => {
  const weights: readonly [readonly PriceData[], number | null, number][] = [
    [[], null, 100],
    [["SP_AVAILABLE"], null, 66],
    [["SP_TRADED"], null, 28],
    [["EX_BEST_OFFERS"], null, 40],
    [["EX_ALL_OFFERS"], null, 11],
    [["EX_TRADED"], null, 11],
    [["EX_BEST_OFFERS", "EX_TRADED"], null, 10],
    [["EX_ALL_OFFERS", "EX_TRADED"], null, 6],
    [["EX_ALL_OFFERS", "EX_BEST_OFFERS"], null, 11],
    [["EX_BEST_OFFERS", "SP_AVAILABLE", "SP_TRADED"], null, 13],
    [["EX_BEST_OFFERS"], 3, 40],
    [["EX_BEST_OFFERS"], 1, 120],
    [["EX_BEST_OFFERS"], 10, 12],
    [["EX_BEST_OFFERS"], 1_000, 12],
  ];
  for (const [priceData, bestPricesDepth, most] of weights)
    test(`${priceData.join(" and ") || "nothing"}${bestPricesDepth ? ` ${bestPricesDepth} deep` : ""}: ${most} markets, and no more`, async () => {
      const { rpc } = setUp();
      const more = bestPricesDepth === null ? {} : { exBestOffersOverrides: { bestPricesDepth } };
      expect((await rpc("listMarketBook", books(most, priceData, more))).body).toHaveProperty("result");
      const { error } = (await rpc("listMarketBook", books(most + 1, priceData, more))).body;
      expect([error.message, error.data.APINGException.errorCode]).toEqual(["ANGX-0001", "TOO_MUCH_DATA"]);
    });

  test("of a catalogue: descriptions and metadata count, the rest is free up to 1,000", async () => {
    const { rpc } = setUp();
    const code = async (marketProjection: string[], maxResults: unknown) =>
      (await rpc("listMarketCatalogue", { filter: {}, marketProjection, maxResults })).body.error?.message;
    expect(await code([], 1_000)).toBeUndefined();
    expect(await code(["EVENT", "RUNNER_DESCRIPTION", "COMPETITION"], "1000")).toBeUndefined();
    expect(await code([], 1_001)).toBe("ANGX-0001");
    expect(await code(["MARKET_DESCRIPTION"], 200)).toBeUndefined();
    expect(await code(["MARKET_DESCRIPTION"], 201)).toBe("ANGX-0001");
    expect(await code(["MARKET_DESCRIPTION", "RUNNER_METADATA"], 100)).toBeUndefined();
    expect(await code(["MARKET_DESCRIPTION", "RUNNER_METADATA"], 101)).toBe("ANGX-0001");
  });

  test("are the exchange's own", () => {
    expect(bookWeight(new Set(["EX_BEST_OFFERS", "EX_TRADED"]), null)).toBe(20);
    expect(bookWeight(new Set(["EX_ALL_OFFERS", "EX_TRADED", "EX_BEST_OFFERS"]), 10)).toBe(32);
  });
});

describe("parameters", () => {
  test("of a book: what betfairlightweight sends, nulls, text for numbers, unknown names", async () => {
    const { rpc, asked } = setUp();
    await rpc("listMarketBook", {
      ...books(2, ["EX_BEST_OFFERS"], { virtualise: true, rolloverStakes: false, exBestOffersOverrides: {} }),
      currencyCode: "GBP",
      locale: "en",
      orderProjection: null,
      somethingNew: 1,
    });
    await rpc("listMarketBook", {
      marketIds: [1.5],
      priceProjection: { exBestOffersOverrides: { bestPricesDepth: "5", rollupModel: "STAKE", rollupLimit: 10 } },
    });
    expect(asked.map(([, query]) => query)).toEqual([
      { marketIds: ["1.0", "1.1"], priceData: new Set(["EX_BEST_OFFERS"]), depth: 3, virtualise: true },
      { marketIds: ["1.5"], priceData: new Set(), depth: 5, virtualise: false },
    ]);
  });

  const wrong: readonly [string, object, string][] = [
    ["listMarketBook", { marketIds: [] }, "ANGX-0002"],
    ["listMarketBook", { marketIds: ["1.1"], orderProjection: "ALL" }, "ANGX-0002"],
    ["listMarketBook", { marketIds: ["1.1"], matchProjection: "NO_ROLLUP" }, "ANGX-0002"],
    ["listMarketBook", { marketIds: null }, "DSC-0018"],
    ["listMarketBook", { marketIds: [{}] }, "DSC-0009"],
    ["listMarketBook", { marketIds: ["1.1"], priceProjection: { priceData: ["EX_BEST"] } }, "DSC-0009"],
    ["listMarketBook", { marketIds: ["1.1"], priceProjection: [] }, "DSC-0009"],
    ["listMarketBook", { marketIds: ["1.1"], priceProjection: { virtualise: 1 } }, "DSC-0009"],
    ["listMarketBook", books(1, [], { exBestOffersOverrides: { bestPricesDepth: 1.5 } }), "DSC-0009"],
    ["listMarketBook", books(1, [], { exBestOffersOverrides: { bestPricesDepth: 0 } }), "ANGX-0002"],
    ["listMarketBook", books(1, [], { exBestOffersOverrides: { rollupModel: "ALL" } }), "DSC-0009"],
    ["listMarketCatalogue", { maxResults: 1 }, "DSC-0018"],
    ["listMarketCatalogue", { filter: {} }, "DSC-0018"],
    ["listMarketCatalogue", { filter: {}, maxResults: 0 }, "ANGX-0002"],
    ["listMarketCatalogue", { filter: {}, maxResults: "many" }, "DSC-0009"],
    ["listMarketCatalogue", { filter: {}, maxResults: 1, sort: "BEST" }, "DSC-0009"],
    ["listMarketCatalogue", { filter: {}, maxResults: 1, marketProjection: ["PRICES"] }, "DSC-0009"],
    ["listEvents", {}, "DSC-0018"],
    ["listEvents", { filter: "all" }, "DSC-0009"],
    ["listEvents", { filter: { eventTypeIds: "7" } }, "DSC-0009"],
    ["listEvents", { filter: { bspOnly: "yes" } }, "DSC-0009"],
    ["listEvents", { filter: { marketBettingTypes: ["ASIAN"] } }, "DSC-0009"],
    ["listEvents", { filter: { marketStartTime: { from: "tomorrow" } } }, "DSC-0009"],
    ["listEvents", { filter: { withOrders: ["EXECUTABLE"] } }, "ANGX-0002"],
  ];
  for (const [method, params, message] of wrong)
    test(`of ${method}: ${JSON.stringify(params)} is ${message}`, async () => {
      const { rpc, rest, asked } = setUp();
      expect((await rpc(method, params)).body.error.message).toBe(message);
      expect((await rest(method, params)).body.faultstring).toBe(message);
      expect(asked).toEqual([]);
    });
});
