import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ALL_FIELDS, FIELD } from "../market/types.ts";
import { type ClientRequest, FILTER_VALUES_MAX, parseRequest, type SubscribeRequest } from "./requests.ts";

const parse = (message: unknown, extensions = false) => parseRequest(JSON.stringify(message), extensions);
/** Where extensions are spoken, a broken protocol is told from what is no message. */
const refusal = (message: unknown, extensions = true) => {
  const request = parse(message, extensions);
  return request.kind === "invalid" ? `${request.id} ${request.code} ${request.message}` : `accepted ${request.kind}`;
};
const subscription = (fields: object = {}): SubscribeRequest => {
  const request = parse({ op: "marketSubscription", id: 7, ...fields });
  if (request.kind !== "marketSubscription") throw new Error(JSON.stringify(request));
  return request.request;
};

const TERMS = {
  id: 4,
  conflateMs: 0,
  heartbeatMs: 5000,
  segmentationEnabled: false,
  initialClk: null,
  clk: null,
};

describe("each op", () => {
  const good: readonly (readonly [object, ClientRequest])[] = [
    [
      { op: "authentication", id: 1, appKey: "key", session: "token" },
      { kind: "authentication", id: 1, appKey: "key", session: "token" },
    ],
    [{ op: "authentication" }, { kind: "authentication", id: null, appKey: null, session: null }],
    [
      { op: "authentication", id: null, appKey: null, session: null },
      { kind: "authentication", id: null, appKey: null, session: null },
    ],
    [
      { op: "heartbeat", id: 3 },
      { kind: "heartbeat", id: 3 },
    ],
    [{ op: "heartbeat" }, { kind: "heartbeat", id: null }],
    [
      { op: "orderSubscription", id: 4, orderFilter: { accountIds: [1] } },
      {
        kind: "orderSubscription",
        id: 4,
        request: {
          ...TERMS,
          filter: {
            includeOverallPosition: null,
            customerStrategyRefs: [],
            partitionMatchedByStrategyRef: false,
            accountIds: [1],
          },
        },
      },
    ],
    [
      { op: "cricketSubscription", id: 4 },
      { kind: "cricketSubscription", id: 4, request: TERMS },
    ],
  ];
  for (const [message, request] of good) {
    test(`reads ${JSON.stringify(message)}`, () => expect(parse(message)).toEqual(request));
  }

  test("passes over keys it does not know", () => {
    expect(parse({ op: "heartbeat", id: 3, _stream_id: 1000, op2: [] })).toEqual({ kind: "heartbeat", id: 3 });
  });

  test("what runs is altered by extensions, with the bounds and defaults of a subscription", () => {
    const change = { op: "change", id: 9, subscription: 7 };
    const fields = { fields: FIELD.EX_LTP, ladderLevels: 3 };
    const filter = { fields: ["EX_LTP"], ladderLevels: 3 };
    const of = (rest: object) => parse({ ...change, ...rest }, true);
    const changed = { kind: "change", id: 9, subscription: 7, conflateMs: null, data: null } as const;
    expect(of({ conflateMs: 999_999 })).toEqual({ ...changed, conflateMs: 120_000 });
    expect(of({ conflateMs: 0 })).toEqual({ ...changed, conflateMs: 0 });
    expect(of({ marketDataFilter: filter })).toEqual({ ...changed, data: fields });
    expect(of({ marketDataFilter: {} })).toEqual({ ...changed, data: { fields: ALL_FIELDS, ladderLevels: 10 } });
    const missing = "9 INVALID_REQUEST neither conflateMs nor marketDataFilter is there";
    expect(refusal({ ...change, marketDataFilter: null }, true)).toBe(missing);
    expect(refusal({ ...change, subscription: null, conflateMs: 1 }, true)).toBe(
      "9 INVALID_REQUEST subscription is missing",
    );
    for (const kind of ["addMarkets", "removeMarkets"] as const) {
      const marketIds = ["1.1", "1.2"];
      const altered = { kind, id: 9, subscription: 7, marketIds };
      expect(parse({ op: kind, id: 9, subscription: 7, marketIds }, true)).toEqual(altered);
      const none = { op: kind, id: 9, subscription: 7, marketIds: [] };
      expect(refusal(none, true)).toBe("9 INVALID_REQUEST marketIds is missing or empty");
    }
    const limits = { kind: "limits", id: 9, bytesPerSecond: null } as const;
    expect(parse({ op: "limits", id: 9, bytesPerSecond: 5000 }, true)).toEqual({ ...limits, bytesPerSecond: 5000 });
    expect(parse({ op: "limits", id: 9 }, true)).toEqual(limits);
    expect(refusal({ op: "limits", id: 9, bytesPerSecond: 1.5 }, true)).toBe(
      "9 INVALID_REQUEST bytesPerSecond must be an integer of 64 bits",
    );
  });

  for (const op of ["limits", "change", "addMarkets", "removeMarkets"])
    test(`${op} is not known to the exchange's own protocol`, () => {
      const message = { op, id: 9, subscription: 7, conflateMs: 1, marketIds: ["1.1"], bytesPerSecond: 5000 };
      expect(refusal(message, false)).toBe(`9 INVALID_INPUT unknown op "${op}"`);
    });

  test("of the extensions is read where they are spoken, and unknown elsewhere", () => {
    const message = { op: "unsubscribe", id: 9, subscription: 7 };
    expect(parse(message, true)).toEqual({ kind: "unsubscribe", id: 9, subscription: 7 });
    expect(refusal(message, false)).toBe('9 INVALID_INPUT unknown op "unsubscribe"');
    expect(refusal({ op: "unsubscribe", id: 9 }, true)).toBe("9 INVALID_REQUEST subscription is missing");
    expect(refusal({ op: "unsubscribe", id: 9, subscription: "7" }, true)).toBe(
      "9 INVALID_REQUEST subscription must be an integer of 32 bits",
    );
  });
});

describe("a marketSubscription", () => {
  const bare: SubscribeRequest = {
    id: 7,
    filter: {},
    fields: ALL_FIELDS,
    ladderLevels: 10,
    conflateMs: 0,
    heartbeatMs: 5000,
    segmentationEnabled: false,
    initialClk: null,
    clk: null,
  };

  test("without anything gets the defaults", () => expect(subscription()).toEqual(bare));

  test("with null for everything, as betfairlightweight sends it, gets the defaults", () => {
    const nulls = {
      marketFilter: { marketIds: null, bspMarket: null, eventTypeIds: null, turnInPlayEnabled: null, venues: null },
      marketDataFilter: { fields: null, ladderLevels: null },
      segmentationEnabled: null,
      conflateMs: null,
      heartbeatMs: null,
      initialClk: null,
      clk: null,
    };
    expect(subscription(nulls)).toEqual(bare);
    expect(subscription({ marketFilter: null, marketDataFilter: null })).toEqual(bare);
  });

  test("keeps everything it asks for", () => {
    const marketFilter = {
      marketIds: ["1.2", "1.3"],
      bspMarket: false,
      bettingTypes: ["ODDS"],
      eventTypeIds: ["7"],
      eventIds: ["27540841"],
      turnInPlayEnabled: true,
      marketTypes: ["WIN"],
      venues: ["Ascot"],
      countryCodes: ["GB"],
      raceTypes: ["NH Flat"],
    };
    const fields = ["EX_BEST_OFFERS", "EX_MARKET_DEF"];
    const asked = { conflateMs: 250, heartbeatMs: 1000, segmentationEnabled: true, initialClk: "a", clk: "b" };
    expect(subscription({ marketFilter, marketDataFilter: { fields, ladderLevels: 3 }, ...asked })).toEqual({
      id: 7,
      filter: marketFilter,
      fields: FIELD.EX_BEST_OFFERS | FIELD.EX_MARKET_DEF,
      ladderLevels: 3,
      ...asked,
    });
  });

  test("knows every field of the exchange; none means all", () => {
    for (const [name, bit] of Object.entries(FIELD)) {
      expect(subscription({ marketDataFilter: { fields: [name] } }).fields).toBe(bit);
    }
    expect(subscription({ marketDataFilter: { fields: [] } }).fields).toBe(ALL_FIELDS);
  });

  test("moves what is out of bounds to the bound", () => {
    const asked = (conflateMs: number, heartbeatMs: number, ladderLevels: number) => {
      const request = subscription({ conflateMs, heartbeatMs, marketDataFilter: { ladderLevels } });
      return [request.conflateMs, request.heartbeatMs, request.ladderLevels];
    };
    expect(asked(-1, 0, 0)).toEqual([0, 500, 1]);
    expect(asked(2 ** 62, 30_000, 99)).toEqual([120_000, 5000, 10]);
    expect(asked(120_000, 500, 1)).toEqual([120_000, 500, 1]);
  });

  test("passes over unknown keys and empty lists in its filters", () => {
    expect(subscription({ marketFilter: { marketIds: [], exchangeIds: ["1"] }, marketDataFilter: { x: 1 } })).toEqual(
      bare,
    );
  });

  const wrong: readonly (readonly [object, string])[] = [
    [{ id: null }, "null INVALID_REQUEST id is missing"],
    [{ id: "7" }, "null INVALID_REQUEST id must be an integer of 32 bits"],
    [{ id: 2 ** 31 }, "null INVALID_REQUEST id must be an integer of 32 bits"],
    [{ id: 1.5 }, "null INVALID_REQUEST id must be an integer of 32 bits"],
    [{ conflateMs: 1e300 }, "7 INVALID_REQUEST conflateMs must be an integer of 64 bits"],
    [{ conflateMs: "0" }, "7 INVALID_REQUEST conflateMs must be an integer of 64 bits"],
    [{ heartbeatMs: 0.5 }, "7 INVALID_REQUEST heartbeatMs must be an integer of 64 bits"],
    [{ segmentationEnabled: 1 }, "7 INVALID_REQUEST segmentationEnabled must be true or false"],
    [{ initialClk: 1 }, "7 INVALID_REQUEST initialClk must be a string"],
    [{ clk: ["x"] }, "7 INVALID_REQUEST clk must be a string"],
    [{ marketFilter: [] }, "7 INVALID_REQUEST marketFilter must be an object"],
    [{ marketFilter: "all" }, "7 INVALID_REQUEST marketFilter must be an object"],
    [{ marketFilter: { marketIds: "1.2" } }, "7 INVALID_REQUEST marketFilter.marketIds must be a list of strings"],
    [{ marketFilter: { eventTypeIds: [7] } }, "7 INVALID_REQUEST marketFilter.eventTypeIds must be a list of strings"],
    [{ marketFilter: { venues: [null] } }, "7 INVALID_REQUEST marketFilter.venues must be a list of strings"],
    [{ marketFilter: { bspMarket: "yes" } }, "7 INVALID_REQUEST marketFilter.bspMarket must be true or false"],
    [{ marketDataFilter: true }, "7 INVALID_REQUEST marketDataFilter must be an object"],
    [
      { marketDataFilter: { fields: { EX_LTP: 1 } } },
      "7 INVALID_REQUEST marketDataFilter.fields must be a list of strings",
    ],
    [
      { marketDataFilter: { fields: ["EX_LPT"] } },
      '7 INVALID_REQUEST unknown field "EX_LPT" in marketDataFilter.fields',
    ],
    [
      { marketDataFilter: { fields: ["constructor"] } },
      '7 INVALID_REQUEST unknown field "constructor" in marketDataFilter.fields',
    ],
    [
      { marketDataFilter: { ladderLevels: "3" } },
      "7 INVALID_REQUEST marketDataFilter.ladderLevels must be an integer of 32 bits",
    ],
  ];
  for (const [fields, said] of wrong) {
    test(`with ${JSON.stringify(fields)} is refused`, () =>
      expect(refusal({ op: "marketSubscription", id: 7, ...fields })).toBe(said));
  }

  test("that cannot be read is INVALID_INPUT where only the exchange's own words are spoken", () => {
    expect(refusal({ op: "marketSubscription", id: 7, clk: 1 }, false)).toBe("7 INVALID_INPUT clk must be a string");
  });

  test("with a list longer than any gateway has markets is over the limit, on every door", () => {
    const marketIds = Array.from({ length: FILTER_VALUES_MAX + 1 }, (_, i) => `1.${i}`);
    for (const extensions of [false, true])
      expect(refusal({ op: "marketSubscription", id: 7, marketFilter: { marketIds } }, extensions)).toBe(
        "7 SUBSCRIPTION_LIMIT_EXCEEDED marketFilter.marketIds is longer than 20000",
      );
  });
});

describe("a message that is none", () => {
  const texts: readonly (readonly [string, string])[] = [
    ["", "INVALID_INPUT the message is not JSON"],
    ["{", "INVALID_INPUT the message is not JSON"],
    ["GET / HTTP/1.1", "INVALID_INPUT the message is not JSON"],
    ['{"op":"heartbeat"}{"op":"heartbeat"}', "INVALID_INPUT the message is not JSON"],
    ["[".repeat(500_000), "INVALID_INPUT the message is not JSON"],
    ["null", "INVALID_INPUT the message is not a JSON object"],
    ["[]", "INVALID_INPUT the message is not a JSON object"],
    ["17", "INVALID_INPUT the message is not a JSON object"],
    ['"heartbeat"', "INVALID_INPUT the message is not a JSON object"],
    ["{}", "INVALID_REQUEST op is missing"],
    ['{"op":null}', "INVALID_REQUEST op is missing"],
    ['{"op":5}', "INVALID_REQUEST op must be a string"],
    ['{"op":"toString"}', 'INVALID_REQUEST unknown op "toString"'],
    [`{"op":"${"x".repeat(99)}"}`, `INVALID_REQUEST unknown op "${"x".repeat(40)}..."`],
    ['{"op":"authentication","session":{}}', "INVALID_REQUEST session must be a string"],
    ['{"op":"authentication","appKey":1}', "INVALID_REQUEST appKey must be a string"],
  ];
  for (const [text, said] of texts) {
    test(`such as ${text.slice(0, 40)} says why`, () => {
      const request = parseRequest(text, true);
      if (request.kind !== "invalid") throw new Error(request.kind);
      expect(`${request.code} ${request.message}`).toBe(said);
    });
  }

  test("nested deep in a good one does no harm", () => {
    const deep = `{"op":"heartbeat","id":1,"x":${"[".repeat(50_000)}${"]".repeat(50_000)}}`;
    expect(["heartbeat", "invalid"]).toContain(parseRequest(deep, true).kind);
  });

  test("cannot reach a prototype, nor speak through one", () => {
    expect(parseRequest('{"__proto__":{"op":"heartbeat"}}', true).kind).toBe("invalid");
    const marketFilter = '{"__proto__":{"marketIds":["1.1"]},"constructor":{"prototype":{"polluted":true}}}';
    const request = parseRequest(`{"op":"marketSubscription","id":1,"marketFilter":${marketFilter}}`, true);
    expect(request).toMatchObject({ kind: "marketSubscription", request: { filter: {} } });
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test("is answered, never thrown at, whatever it holds", () => {
    const key = fc.constantFrom(
      "op",
      "id",
      "marketFilter",
      "marketDataFilter",
      "fields",
      "marketIds",
      "clk",
      "session",
    );
    const op = fc.constantFrom(
      ...["authentication", "marketSubscription", "heartbeat", "unsubscribe"],
      ...["limits", "change", "addMarkets", "removeMarkets"],
    );
    const value = fc.letrec((tie) => ({
      node: fc.oneof(
        { depthSize: "small" },
        fc.jsonValue(),
        op,
        tie("object"),
        fc.array(tie("node"), { maxLength: 3 }),
      ),
      object: fc.dictionary(key, tie("node")),
    })).object;
    fc.assert(
      fc.property(value, fc.boolean(), (message, extensions) => {
        expect(typeof parse(message, extensions).kind).toBe("string");
      }),
      { numRuns: 200 },
    );
  });
});
