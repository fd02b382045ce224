import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { EsaErrorCode } from "../src/base/errors.ts";
import { Visitor } from "../src/sim/exchange-visitor.ts";
import type { MarketChange, MarketDefinition } from "../src/sim/naive.ts";
import { APP_KEY, DOORS, type DoorName, SESSION, TwoDoors } from "../src/sim/two-doors.ts";
import { CONFLATE_MS_MAX, FILTER_VALUES_MAX } from "../src/wire/requests.ts";

/**
 * Every op × every field × {good, missing, null, of a wrong type, out of range, beside an unknown one}, and what the exchange gives: its status and, of a
 * subscription, the terms and markets of the first image. Each row is asked at the simulated exchange and at our ESA door; both must give what stands here.
 */
type Json = Record<string, unknown>;
type Before = "connected" | "authenticated" | "subscribed";

interface Row {
  readonly name: string;
  readonly before: Before;
  readonly message: Json | string | Uint8Array;
  readonly expected: Expected;
}

interface Expected {
  readonly id: number | null;
  /** What goes wrong; absent: nothing does. */
  readonly errorCode?: EsaErrorCode;
  /** Of a failure: the connection goes on. */
  readonly stays?: boolean;
  readonly image?: Partial<Image>;
}

/** What is looked at in the answer to a subscription. */
interface Image {
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly markets: readonly string[];
  /** How deep the ladder of 1.1 is shown. */
  readonly levels: number;
}

const HORSES: MarketDefinition = {
  ...{ status: "OPEN", version: 1, bspMarket: true, turnInPlayEnabled: false, bettingType: "ODDS", eventTypeId: "7" },
  ...{ eventId: "70", marketType: "WIN", venue: "Ascot", countryCode: "GB", raceType: "NH Flat" },
  runners: [{ id: 5, status: "ACTIVE", sortPriority: 1 }],
};
const FOOTBALL: MarketDefinition = {
  ...{ status: "OPEN", version: 1, bspMarket: false, turnInPlayEnabled: true, bettingType: "LINE", eventTypeId: "1" },
  ...{ eventId: "10", marketType: "MATCH_ODDS", countryCode: "IT" },
  runners: [{ id: 5, status: "ACTIVE", sortPriority: 1 }],
};
const LADDER = Array.from({ length: 10 }, (_, level) => [level, 10 - level, 5] as const);
const MARKETS: readonly MarketChange[] = [
  { id: "1.1", img: true, tv: 7, marketDefinition: HORSES, rc: [{ id: 5, ltp: 2, batb: LADDER }] },
  { id: "1.2", img: true, marketDefinition: FOOTBALL, rc: [{ id: 5, ltp: 3 }] },
];
const ALL = ["1.1", "1.2"];
const IMAGE: Image = { conflateMs: 0, heartbeatMs: 5000, markets: ALL, levels: 10 };

/** A kind of value, and what is none. */
const NOT = {
  text: [5, 1.5, true, {}, [], ["x"]],
  int32: ["7", "", true, 1.5, {}, [], [7], 2 ** 31, -(2 ** 31) - 1, 1e300],
  int64: ["7", "", true, 0.5, {}, [], 2 ** 63, 1e300],
  flag: ["true", "", 0, 1, {}, []],
  texts: ["x", "", 5, true, {}, [5], [null], [true], [["x"]], [{}], ["x", 5]],
  int64s: [5, "5", {}, ["5"], [null], [1.5], [1e300]],
  flags: ["EX_LTP", 5, {}, [5], [null], ["EX_LPT"], ["ex_ltp"], [""], ["constructor"], ["EX_LTP", "__proto__"]],
  object: ["x", "", 5, true, [], ["x"]],
} as const;

interface Field {
  /** Its place, as "marketFilter.venues". */
  readonly path: string;
  readonly kind: keyof typeof NOT;
  /** Values, and how the answer differs from that to the message without them. */
  readonly good: readonly (readonly [unknown, Partial<Expected>])[];
  /** Absent, null: this instead of the answer to the message without it. */
  readonly missing?: Partial<Expected>;
}

interface Op {
  readonly base: Json;
  readonly before: Before;
  readonly expected: Expected;
  readonly fields: readonly Field[];
}

const fails = (errorCode: EsaErrorCode, rest: Partial<Expected> = {}): Partial<Expected> => ({
  errorCode,
  image: undefined,
  ...rest,
});
const shows = (image: Partial<Image>): Partial<Expected> => ({ image: { ...IMAGE, ...image } });
const ids = (...markets: string[]): Partial<Expected> => shows({ markets });

/** The client's own number; whatever else is wrong, it is repeated. */
const idField = (missing: Partial<Expected>): Field => ({
  path: "id",
  kind: "int32",
  good: [0, -1, 1, 2 ** 31 - 1, -(2 ** 31)].map((id) => [id, { id }]),
  missing,
});
const NO_ID: Partial<Expected> = { id: null };

/** Lists in a filter: a value nobody has matches nothing, an empty list everything, one that is too long is over the limit. */
const list = (path: string, ...good: readonly (readonly [readonly string[], readonly string[]])[]): Field => ({
  path: `marketFilter.${path}`,
  kind: "texts",
  good: [
    ...good.map(([values, markets]) => [values, ids(...markets)] as const),
    [[], ids(...ALL)],
    [["nobody's"], ids()],
    [[""], ids()],
    [Array(FILTER_VALUES_MAX).fill("x"), ids()],
    [Array(FILTER_VALUES_MAX + 1).fill("x"), fails("SUBSCRIPTION_LIMIT_EXCEEDED", { stays: true })],
  ],
});

/** How often and how long; what lies outside is moved to the bound, and said to be. What each asked for is in force exactly, if it is in PROTOCOL.md's list. */
const terms = (shown: (image: Partial<Image>) => Partial<Expected>): readonly Field[] => [
  {
    path: "conflateMs",
    kind: "int64",
    good: [
      ...[0, -1, -(2 ** 62)].map((ms) => [ms, shown({ conflateMs: 0 })] as const),
      ...[50, 1000, 3000, CONFLATE_MS_MAX].map((ms) => [ms, shown({ conflateMs: ms })] as const),
      ...[CONFLATE_MS_MAX + 1, 2 ** 62].map((ms) => [ms, shown({ conflateMs: CONFLATE_MS_MAX })] as const),
    ],
  },
  {
    path: "heartbeatMs",
    kind: "int64",
    good: [
      ...[500, 501, 4999, 5000].map((ms) => [ms, shown({ heartbeatMs: ms })] as const),
      ...[-(2 ** 62), -1, 0, 1, 499].map((ms) => [ms, shown({ heartbeatMs: 500 })] as const),
      ...[5001, 99_999, 2 ** 62].map((ms) => [ms, shown({ heartbeatMs: 5000 })] as const),
    ],
  },
  { path: "segmentationEnabled", kind: "flag", good: [true, false].map((flag) => [flag, {}]) },
  { path: "initialClk", kind: "text", good: ["", "x", "é"].map((clk) => [clk, {}]) },
  { path: "clk", kind: "text", good: ["", "x", "9".repeat(1000)].map((clk) => [clk, {}]) },
];

const ORDER_FILTER: readonly Field[] = [
  { path: "orderFilter", kind: "object", good: [[{}, {}]] },
  { path: "orderFilter.includeOverallPosition", kind: "flag", good: [true, false].map((flag) => [flag, {}]) },
  { path: "orderFilter.partitionMatchedByStrategyRef", kind: "flag", good: [true, false].map((flag) => [flag, {}]) },
  {
    path: "orderFilter.customerStrategyRefs",
    kind: "texts",
    good: [
      [[], {}],
      [["a", "b", "a"], {}],
      [Array(FILTER_VALUES_MAX + 1).fill("a"), fails("SUBSCRIPTION_LIMIT_EXCEEDED", { stays: true })],
    ],
  },
  { path: "orderFilter.accountIds", kind: "int64s", good: [[[], {}]] },
];

const OPS: Readonly<Record<string, Op>> = {
  authentication: {
    base: { op: "authentication", id: 3, appKey: APP_KEY, session: SESSION },
    before: "connected",
    expected: { id: 3 },
    fields: [
      idField(NO_ID),
      {
        path: "appKey",
        kind: "text",
        good: [
          [APP_KEY, {}],
          ["", fails("NO_APP_KEY")],
          ["other", fails("INVALID_APP_KEY")],
        ],
        missing: fails("NO_APP_KEY"),
      },
      {
        path: "session",
        kind: "text",
        good: [
          [SESSION, {}],
          ["", fails("NO_SESSION")],
          ["other", fails("INVALID_SESSION_INFORMATION")],
        ],
        missing: fails("NO_SESSION"),
      },
    ],
  },
  heartbeat: { base: { op: "heartbeat", id: 3 }, before: "subscribed", expected: { id: 3 }, fields: [idField(NO_ID)] },
  marketSubscription: {
    base: { op: "marketSubscription", id: 3 },
    before: "authenticated",
    expected: { id: 3, image: IMAGE },
    fields: [
      // Change messages carry the subscription's id, so there is none without.
      idField(fails("INVALID_INPUT", NO_ID)),
      ...terms(shows),
      { path: "marketFilter", kind: "object", good: [[{}, {}]] },
      list("marketIds", [["1.1"], ["1.1"]], [["1.1", "1.1", "1.404"], ["1.1"]], [ALL, ALL]),
      list("bettingTypes", [["ODDS"], ["1.1"]], [["ODDS", "LINE"], ALL]),
      list("eventTypeIds", [["7"], ["1.1"]], [["1", "7", "1"], ALL]),
      list("eventIds", [["70"], ["1.1"]], [["10"], ["1.2"]]),
      list("marketTypes", [["WIN"], ["1.1"]], [["WIN", "PLACE"], ["1.1"]]),
      list("venues", [["Ascot"], ["1.1"]]),
      list("countryCodes", [["GB", "IE"], ["1.1"]], [["IT"], ["1.2"]]),
      list("raceTypes", [["NH Flat"], ["1.1"]], [["NO_VALUE"], ["1.2"]]),
      flagOf("bspMarket", "1.1", "1.2"),
      flagOf("turnInPlayEnabled", "1.2", "1.1"),
      { path: "marketDataFilter", kind: "object", good: [[{}, {}]] },
      {
        path: "marketDataFilter.fields",
        kind: "flags",
        good: [
          [[], {}],
          [["EX_BEST_OFFERS", "EX_LTP"], {}],
          [["EX_BEST_OFFERS", "EX_BEST_OFFERS"], {}],
          [["EX_MARKET_DEF"], shows({ levels: 0 })],
        ],
      },
      {
        path: "marketDataFilter.ladderLevels",
        kind: "int32",
        good: [
          ...[1, 3, 10].map((levels) => [levels, shows({ levels })] as const),
          ...[0, -1, -(2 ** 31)].map((levels) => [levels, shows({ levels: 1 })] as const),
          ...[11, 2 ** 31 - 1].map((levels) => [levels, shows({ levels: 10 })] as const),
        ],
      },
    ],
  },
  // Whoever may not have these streams is told so, once the request could be read.
  orderSubscription: refusedOp("orderSubscription", ORDER_FILTER),
  raceSubscription: refusedOp("raceSubscription", []),
  cricketSubscription: refusedOp("cricketSubscription", []),
};
/** The same op, for who may have it. Nobody has ordered anything. */
const NO_ORDERS: Image = { ...IMAGE, markets: [], levels: 0 };
const ORDERS: Op = {
  base: { op: "orderSubscription", id: 3 },
  before: "authenticated",
  expected: { id: 3, image: NO_ORDERS },
  fields: [
    idField(fails("INVALID_INPUT", NO_ID)),
    ...terms((image) => ({ image: { ...NO_ORDERS, ...image } })),
    ...ORDER_FILTER,
    { path: "orderFilter.accountIds", kind: "int64s", good: [[[7_000_001], fails("INVALID_REQUEST")]] },
  ],
};

function flagOf(name: string, yes: string, no: string): Field {
  const good = [[true, ids(yes)] as const, [false, ids(no)] as const];
  return { path: `marketFilter.${name}`, kind: "flag", good };
}

function refusedOp(op: string, fields: readonly Field[]): Op {
  return {
    base: { op, id: 3 },
    before: "authenticated",
    expected: { id: 3, errorCode: "NOT_AUTHORIZED" },
    fields: [idField(fails("INVALID_INPUT", NO_ID)), ...terms(() => ({})), ...fields],
  };
}

function rowsOf({ base, before, expected, fields }: Op): Row[] {
  const row = (name: string, message: Json, differs: Partial<Expected> = {}): Row => {
    return { name: `${base.op} ${name}`, before, message, expected: { ...expected, ...differs } };
  };
  const unread = fails("INVALID_INPUT", { stays: false });
  return [
    row("as it should be", base),
    row("beside unknown fields", { ...base, _stream_id: 1000, op2: "x", nested: { deep: [{}] } }),
    ...fields.flatMap(({ path, kind, good, missing = {} }) => [
      ...good.map(([value, differs]) => row(`with ${path} ${short(value)}`, put(base, path, value), differs)),
      ...NOT[kind].map((value) => {
        const id = path === "id" ? NO_ID : {};
        return row(`with ${path} ${short(value)}`, put(base, path, value), { ...unread, ...id });
      }),
      row(`without ${path}`, put(base, path, undefined), missing),
      row(`with ${path} null`, put(base, path, null), missing),
      ...(kind === "object" ? [row(`with an unknown field in ${path}`, put(base, path, { x: [1] }))] : []),
    ]),
  ];
}

function put(base: Json, path: string, value: unknown): Json {
  const [first, second] = path.split(".") as [string, string?];
  return { ...base, [first]: second === undefined ? value : { [second]: value } };
}

function short(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 20)}… of ${text.length} bytes` : text;
}

/** What is no request of any op. */
const NONE: readonly (readonly [string, string | Uint8Array, Expected])[] = [
  ["half an object", '{"op":"heartbeat"', { id: null, errorCode: "INVALID_INPUT" }],
  ["two objects in a line", '{"op":"heartbeat","id":3}{"op":"heartbeat"}', { id: null, errorCode: "INVALID_INPUT" }],
  ["a comma too many", '{"op":"heartbeat","id":3,}', { id: null, errorCode: "INVALID_INPUT" }],
  ["a bare word", "heartbeat", { id: null, errorCode: "INVALID_INPUT" }],
  ["NaN", '{"op":"heartbeat","id":NaN}', { id: null, errorCode: "INVALID_INPUT" }],
  ["blanks", "   ", { id: null, errorCode: "INVALID_INPUT" }],
  ["null", "null", { id: null, errorCode: "INVALID_INPUT" }],
  ["a list", '[{"op":"heartbeat","id":3}]', { id: null, errorCode: "INVALID_INPUT" }],
  ["a number", "17", { id: null, errorCode: "INVALID_INPUT" }],
  ["a string", '"heartbeat"', { id: null, errorCode: "INVALID_INPUT" }],
  ["HTTP", "GET / HTTP/1.1", { id: null, errorCode: "INVALID_INPUT" }],
  ["nesting without end", "[".repeat(200_000), { id: null, errorCode: "INVALID_INPUT" }],
  ["what is not UTF-8", bytes(0x7b, 0x22, 0xc3, 0x28, 0x22), { id: null, errorCode: "INVALID_INPUT" }],
  ["an object without op", '{"id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["op null", '{"op":null,"id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["op 5", '{"op":5,"id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["an unknown op", '{"op":"dance","id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["an op in another case", '{"op":"Heartbeat","id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["an op of Object", '{"op":"toString","id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["our extension", '{"op":"unsubscribe","id":3,"subscription":2}', { id: 3, errorCode: "INVALID_INPUT" }],
  ["an op from a prototype", '{"__proto__":{"op":"heartbeat"},"id":3}', { id: 3, errorCode: "INVALID_INPUT" }],
  // What there is nothing wrong with.
  ["the last of two ids", '{"op":"heartbeat","id":2,"id":3}', { id: 3 }],
  ["blanks around", ' {"op" : "heartbeat" ,\t"id":3} ', { id: 3 }],
  ["an empty line before it", '\r\n\r\n{"op":"heartbeat","id":3}', { id: 3 }],
  ["a bare LF", '\n{"op":"heartbeat","id":3}', { id: 3 }],
  ["a byte order mark, as .NET writes one", '\uFEFF{"op":"heartbeat","id":3}', { id: 3 }],
  ["an id written as 3.0", '{"op":"heartbeat","id":3.0}', { id: 3 }],
];

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** Who may ask what when. */
const ORDER: readonly Row[] = [
  ...["heartbeat", "marketSubscription", "orderSubscription", "raceSubscription", "cricketSubscription"].map((op) => ({
    name: `${op} before the authentication`,
    before: "connected" as const,
    message: { op, id: 3 },
    expected: { id: 3, errorCode: "NOT_AUTHORIZED" as const },
  })),
  ...(["authenticated", "subscribed"] as const).map((before) => ({
    name: `a second authentication, ${before}`,
    before,
    message: { op: "authentication", id: 3, appKey: APP_KEY, session: SESSION },
    expected: { id: 3, errorCode: "INVALID_REQUEST" as const },
  })),
  {
    name: "a heartbeat before any subscription",
    before: "authenticated",
    message: { op: "heartbeat", id: 3 },
    expected: { id: 3 },
  },
  {
    name: "an id used before",
    before: "subscribed",
    message: { op: "heartbeat", id: 2 },
    expected: { id: 2 },
  },
  {
    name: "a subscription with the id of the one that it replaces",
    before: "subscribed",
    message: { op: "marketSubscription", id: 2 },
    expected: { id: 2, image: IMAGE },
  },
  {
    name: "a request of a wrong type, which ends a subscription too",
    before: "subscribed",
    message: { op: "marketSubscription", id: 3, clk: 5 },
    expected: { id: 3, errorCode: "INVALID_INPUT" },
  },
];

const ROWS: readonly Row[] = [
  ...Object.values(OPS).flatMap(rowsOf),
  ...NONE.map(([name, message, expected]) => ({ name, before: "authenticated" as const, message, expected })),
  ...ORDER,
];

/** What came of a row at one door. */
interface Outcome {
  readonly status: Json;
  readonly image: Json | null;
  readonly closed: boolean;
  /** The keys of what was said, message by message. */
  readonly keys: readonly string[];
}

let doors: TwoDoors;

function openDoors(orders: boolean): void {
  beforeAll(async () => {
    doors = await TwoDoors.open({ connectionsMax: 1_000, orders }, MARKETS);
  });
  afterAll(() => doors.stop());
}

function enter(door: DoorName, before: Before): Visitor {
  const { dial, at } = doors.dial(door, "client");
  const visitor = new Visitor(dial, at);
  doors.pass(10);
  if (before === "connected") return visitor;
  visitor.authenticate(APP_KEY, SESSION);
  doors.pass(10);
  if (before === "subscribed") visitor.subscribe();
  doors.pass(10);
  return visitor;
}

function outcomeOf(door: DoorName, { before, message }: Row): Outcome {
  const visitor = enter(door, before);
  const heard = visitor.messages.length;
  visitor.send(message);
  doors.pass(20);
  const said = visitor.messages.slice(heard) as unknown as Json[];
  const image = said.find(({ op }) => op === "mcm" || op === "ocm");
  // Taken before we go: that, too, is a close.
  const closed = visitor.closed !== null;
  visitor.leave();
  return {
    status: said.find(({ op }) => op === "status") ?? {},
    image: image ?? null,
    closed,
    keys: said.map((each) => Object.keys(each).sort().join(",")),
  };
}

function imageOf(image: Json | null): Image | undefined {
  if (image === null) return undefined;
  const mc = (image.mc ?? image.oc) as readonly MarketChange[] | undefined;
  const depth = mc?.find(({ id }) => id === "1.1")?.rc?.[0]?.batb?.length ?? 0;
  const markets = (mc ?? []).map(({ id }) => id).sort();
  return { conflateMs: image.conflateMs as number, heartbeatMs: image.heartbeatMs as number, markets, levels: depth };
}

function check(row: Row, { status, image, closed }: Outcome): void {
  const { id, errorCode, stays = false } = row.expected;
  const isFailure = errorCode !== undefined;
  expect(status).toMatchObject({
    op: "status",
    ...(id !== null && { id }),
    statusCode: isFailure ? "FAILURE" : "SUCCESS",
    connectionClosed: isFailure && !stays,
    ...(isFailure && { errorCode }),
  });
  if (id === null) expect(status).not.toHaveProperty("id");
  if (isFailure) expect(String(status.errorMessage).length).toBeGreaterThan(3);
  const isLogin = !isFailure && (row.message as Json).op === "authentication";
  expect(Object.hasOwn(status, "connectionsAvailable")).toBe(isLogin);
  expect(closed).toBe(isFailure && !stays);
  const shown = imageOf(image);
  if (row.expected.image === undefined) return expect(image).toBeNull();
  const levels = row.expected.image.markets?.includes("1.1") ? row.expected.image.levels : 0;
  expect(shown).toEqual({ ...IMAGE, ...row.expected.image, levels: levels ?? 0 });
  expect(image).toMatchObject({ id: id as number, ct: "SUB_IMAGE" });
  expect([typeof image?.initialClk, typeof image?.clk, typeof image?.pt]).toEqual(["string", "string", "number"]);
}

function ask(rows: readonly Row[]): void {
  expect(rows.length).toBeGreaterThan(5);
  for (const row of rows) {
    const outcomes = DOORS.map((door) => outcomeOf(door, row));
    for (const [i, outcome] of outcomes.entries()) {
      try {
        check(row, outcome);
      } catch (error) {
        throw new Error(`${row.name}, at ${DOORS[i]}: ${JSON.stringify(outcome).slice(0, 600)}`, { cause: error });
      }
    }
    // No key that the exchange would not send, and none less.
    expect(outcomes[1]?.keys.map(withoutList)).toEqual(outcomes[0]?.keys.map(withoutList) as string[]);
  }
}

describe(`the table of requests (${ROWS.length} rows), at the exchange and at our door`, () => {
  openDoors(false);
  for (const op of Object.keys(OPS)) test(op, () => ask(ROWS.filter(({ name }) => name.startsWith(`${op} `))));
  test("everything else", () => ask(ROWS.filter(({ name }) => OPS[name.split(" ")[0] as string] === undefined)));
});

describe("the same of the order stream, where it is served", () => {
  openDoors(true);
  test("orderSubscription", () => ask(rowsOf(ORDERS)));
});

/** An image of nothing has an empty list with us, and none at the simulated exchange; clients take both. */
function withoutList(keys: string): string {
  return keys.replace(/,(mc|oc),/, ",");
}
