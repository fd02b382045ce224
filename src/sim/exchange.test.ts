import { describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { type ExchangeLimits, SimExchange } from "./exchange.ts";
import { Visitor } from "./exchange-visitor.ts";
import { SimIdentity } from "./identity.ts";
import type { MarketChange, MarketDefinition } from "./naive.ts";
import { VirtualNetwork } from "./network.ts";

const AT = { host: "exchange", port: 443 };
const FOOTBALL: MarketDefinition = {
  eventTypeId: "1",
  eventId: "e1",
  marketType: "MATCH_ODDS",
  bettingType: "ODDS",
  countryCode: "GB",
  bspMarket: false,
  turnInPlayEnabled: true,
  status: "OPEN",
  version: 1,
  runners: [{ id: 1, sortPriority: 1, status: "ACTIVE" }],
};
const RACE: MarketDefinition = {
  ...FOOTBALL,
  eventTypeId: "7",
  eventId: "e2",
  marketType: "WIN",
  countryCode: "IE",
  venue: "Galway",
  raceType: "Flat",
  bspMarket: true,
  turnInPlayEnabled: false,
};

function scene(limits: Partial<ExchangeLimits> = {}) {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const network = new VirtualNetwork(clock, random);
  const identity = new SimIdentity({
    clock,
    random,
    accounts: [{ username: "ada", password: "secret" }],
    appKeys: ["key"],
  });
  const exchange = new SimExchange({
    clock,
    random,
    log: silentLog,
    sessions: identity,
    appKeys: ["key"],
    delayedAppKeys: ["free"],
    limits,
  });
  exchange.listen(network.listen, AT);
  const visit = (before?: Visitor) => {
    const visitor = new Visitor(network.dial, AT, before);
    clock.advance(10);
    return visitor;
  };
  const enter = (fields?: Record<string, unknown>, before?: Visitor) => {
    const visitor = visit(before);
    visitor.authenticate("key", identity.issue("ada"));
    clock.advance(10);
    if (fields) visitor.subscribe(fields);
    clock.advance(10);
    return visitor;
  };
  const publish = (...changes: MarketChange[]) => {
    exchange.publish(clock.wall(), changes);
    clock.advance(10);
  };
  return { clock, network, identity, exchange, visit, enter, publish };
}

function definition(id: string, marketDefinition: MarketDefinition): MarketChange {
  return { id, img: true, marketDefinition, rc: [] };
}

function back(id: string, price: number, size: number): MarketChange {
  return { id, rc: [{ id: 1, atb: [[price, size]] }] };
}

describe("a connection", () => {
  test("is greeted with its id, and alone in its write", () => {
    const { visit } = scene();
    const visitor = visit();
    expect(visitor.messages).toEqual([{ op: "connection", connectionId: "101-260101000000-1" }]);
    expect(visitor.chunks).toEqual([`${JSON.stringify(visitor.messages[0])}\r\n`]);
  });

  test("is told how many more the account may open, also beside half-open ones", () => {
    const { enter, exchange } = scene();
    expect(enter().last).toEqual({
      op: "status",
      id: 1,
      statusCode: "SUCCESS",
      connectionClosed: false,
      connectionsAvailable: 9,
    });
    exchange.freeze();
    expect(enter().last.connectionsAvailable).toBe(8);
  });

  test("that is not subscribed is closed after 15 s without a word, and every word gives 15 s more", () => {
    const { enter, clock, exchange } = scene();
    const visitor = enter();
    clock.advance(14_000);
    visitor.send({ op: "heartbeat", id: 5 });
    clock.advance(10);
    expect(visitor.last).toEqual({ op: "status", id: 5, statusCode: "SUCCESS", connectionClosed: false });
    clock.advance(14_900);
    expect(visitor.closed).toBeNull();
    clock.advance(200);
    expect(visitor.last).toMatchObject({
      statusCode: "FAILURE",
      errorCode: "TIMEOUT",
      errorMessage: "Connection is not subscribed and is idle: 15000 ms",
      connectionClosed: true,
    });
    expect(visitor.last).not.toHaveProperty("id");
    expect(visitor.closed).toBe("quietly");
    expect(exchange.counters).toMatchObject({ connections: 0, connectionsEver: 1 });
  });

  test("that is subscribed may stay silent for ever", () => {
    const { enter, clock } = scene();
    const visitor = enter({});
    clock.advance(60_000);
    expect(visitor.closed).toBeNull();
  });
});

describe("what is refused", () => {
  const token = (s: ReturnType<typeof scene>) => s.identity.issue("ada");
  const cases: readonly [string, Partial<ExchangeLimits>, (s: ReturnType<typeof scene>) => Visitor][] = [
    ["NO_APP_KEY", {}, (s) => authenticating(s, { appKey: null, session: token(s) })],
    ["INVALID_APP_KEY", {}, (s) => authenticating(s, { appKey: "other", session: token(s) })],
    ["NO_SESSION", {}, (s) => authenticating(s, { appKey: "key", session: null })],
    ["INVALID_SESSION_INFORMATION", {}, (s) => authenticating(s, { appKey: "key", session: "guess" })],
    ["MAX_CONNECTION_LIMIT_EXCEEDED", { connectionsMax: 1 }, (s) => [s.enter(), s.enter()][1] as Visitor],
    ["TOO_MANY_REQUESTS", { authenticationsPerMinuteMax: 1 }, (s) => [s.enter(), s.enter()][1] as Visitor],
    ["INVALID_REQUEST", {}, (s) => sending(s, s.enter(), { op: "authentication", id: 9, appKey: "key", session: "x" })],
    ["NOT_AUTHORIZED", {}, (s) => sending(s, s.visit(), { op: "marketSubscription", id: 9 })],
    ["NOT_AUTHORIZED", {}, (s) => sending(s, s.enter(), { op: "raceSubscription", id: 9 })],
    ["INVALID_INPUT", {}, (s) => sending(s, s.visit(), "{not json")],
    ["INVALID_INPUT", {}, (s) => sending(s, s.visit(), "[1]")],
    ["INVALID_INPUT", {}, (s) => sending(s, s.visit(), { op: "dance", id: 9 })],
    ["INVALID_INPUT", {}, (s) => sending(s, s.enter(), { op: "marketSubscription", id: 9, conflateMs: "soon" })],
    [
      "INVALID_INPUT",
      {},
      (s) => sending(s, s.enter(), { op: "marketSubscription", marketFilter: { marketIds: "1.1" } }),
    ],
    ["INVALID_INPUT", {}, (s) => sending(s, s.visit(), "x".repeat(1024 * 1024 + 1))],
    [
      "INVALID_CLOCK",
      {},
      (s) => {
        s.exchange.knobs.staleClk = "INVALID_CLOCK";
        return sending(s, s.enter(), { op: "marketSubscription", id: 9, initialClk: "old", clk: "old" });
      },
    ],
    [
      "UNEXPECTED_ERROR",
      {},
      (s) => {
        s.exchange.refuseAuthentications("UNEXPECTED_ERROR", 1);
        return s.enter();
      },
    ],
  ];
  for (const [code, limits, act] of cases)
    test(`${code} closes the connection`, () => {
      const s = scene(limits);
      const visitor = act(s);
      s.clock.advance(10_000);
      expect(visitor.last).toMatchObject({
        op: "status",
        statusCode: "FAILURE",
        errorCode: code,
        connectionClosed: true,
      });
      expect(visitor.closed).not.toBeNull();
    });

  test("SUBSCRIPTION_LIMIT_EXCEEDED keeps the connection, and what it was subscribed to before", () => {
    const { publish, enter, clock } = scene({ marketsMax: 1 });
    publish(definition("1.1", FOOTBALL), definition("1.2", FOOTBALL));
    const visitor = enter({ marketFilter: { marketIds: ["1.1"] } });
    visitor.send({ op: "marketSubscription", id: 3 });
    clock.advance(10);
    expect(visitor.last).toMatchObject({ id: 3, errorCode: "SUBSCRIPTION_LIMIT_EXCEEDED", connectionClosed: false });
    publish(back("1.1", 2, 5));
    expect(visitor.last).toMatchObject({ op: "mcm", id: 2 });
  });

  test("closed markets do not count against the limit", () => {
    const { publish, enter } = scene({ marketsMax: 1 });
    publish(definition("1.1", FOOTBALL), definition("1.2", { ...FOOTBALL, status: "CLOSED" }));
    expect(enter({}).last.ct).toBe("SUB_IMAGE");
  });

  test("a refusal that was ordered ends when it was ordered to", () => {
    const { enter, exchange } = scene();
    exchange.refuseAuthentications("INVALID_SESSION_INFORMATION", 1);
    expect(enter().last.errorCode).toBe("INVALID_SESSION_INFORMATION");
    expect(enter().last.statusCode).toBe("SUCCESS");
    expect(exchange.counters).toMatchObject({ authentications: 1, authenticationsRefused: 1 });
  });

  test("an ended token is not taken", () => {
    const { visit, identity, clock } = scene();
    const session = identity.issue("ada");
    identity.expire(session);
    const visitor = visit();
    visitor.authenticate("key", session);
    clock.advance(10);
    expect(visitor.last.errorCode).toBe("INVALID_SESSION_INFORMATION");
  });

  function authenticating(s: ReturnType<typeof scene>, fields: Record<string, unknown>): Visitor {
    return sending(s, s.visit(), { op: "authentication", id: 1, ...fields });
  }

  function sending(s: ReturnType<typeof scene>, visitor: Visitor, message: Record<string, unknown> | string): Visitor {
    visitor.send(message);
    s.clock.advance(10);
    return visitor;
  }
});

describe("a subscription", () => {
  test("is answered by a status, then an image with everything in force, then messages as they were published", () => {
    const { publish, enter, clock } = scene();
    publish(definition("1.1", FOOTBALL));
    publish(back("1.1", 2, 5));
    const visitor = enter({ conflateMs: null, heartbeatMs: 99_999, marketDataFilter: { fields: null } });
    const [, , status, image] = visitor.messages;
    expect(status).toEqual({ op: "status", id: 2, statusCode: "SUCCESS", connectionClosed: false });
    expect(image).toMatchObject({ op: "mcm", id: 2, ct: "SUB_IMAGE", conflateMs: 0, heartbeatMs: 5000 });
    expect(image?.initialClk).toBeString();
    expect(image?.clk).toBeString();
    expect(image?.pt).toBeWithin(clock.wall() - 20, clock.wall());
    expect(image?.mc).toEqual([{ id: "1.1", img: true, marketDefinition: FOOTBALL, rc: [{ id: 1, atb: [[2, 5]] }] }]);

    const twice: MarketChange[] = [
      {
        id: "1.1",
        con: true,
        rc: [
          { id: 1, atb: [[2, 0]] },
          { id: 1, ltp: 2.5, atb: [] },
        ],
        stray: 1,
      },
      { id: "1.1", rc: [], img: false },
    ];
    publish(...twice);
    expect(visitor.last).toEqual({ op: "mcm", id: 2, clk: visitor.clk as string, pt: clock.wall() - 10, mc: twice });
    expect(visitor.chunks.at(-1)).toEndWith("}\r\n");
  });

  test("that matches nothing yet gets an empty image, and its market when it appears", () => {
    const { publish, enter } = scene();
    const visitor = enter({ marketFilter: { marketIds: ["1.1"] } });
    expect(visitor.last).toMatchObject({ ct: "SUB_IMAGE" });
    publish({ id: "1.2", marketDefinition: FOOTBALL }, { id: "1.1", marketDefinition: FOOTBALL }, back("1.1", 3, 1));
    expect(visitor.last.mc).toEqual([{ id: "1.1", marketDefinition: FOOTBALL, img: true }, back("1.1", 3, 1)]);
  });

  test("gets a market whose definition comes to pass its filter as an image, and no more of one that passes it no longer", () => {
    const { publish, enter } = scene();
    publish(definition("1.1", FOOTBALL), back("1.1", 2, 5));
    const visitor = enter({ marketFilter: { eventIds: ["e9"] } });
    publish({ id: "1.1", marketDefinition: { ...FOOTBALL, eventId: "e9" } }, back("1.1", 3, 1));
    const image = { id: "1.1", img: true, marketDefinition: { ...FOOTBALL, eventId: "e9" } };
    expect(visitor.last.mc).toEqual([
      {
        ...image,
        rc: [
          {
            id: 1,
            atb: [
              [2, 5],
              [3, 1],
            ],
          },
        ],
      },
    ]);
    publish({ id: "1.1", marketDefinition: FOOTBALL });
    publish(back("1.1", 4, 1));
    expect(visitor.messages.filter((message) => message.mc)).toHaveLength(1);
  });

  test("that is followed by another ends: a new image under the new id, and nothing under the old one", () => {
    const { publish, enter, clock, exchange } = scene();
    publish(definition("1.1", FOOTBALL));
    const visitor = enter({});
    visitor.send({ op: "marketSubscription", id: 7 });
    clock.advance(10);
    expect(visitor.last).toMatchObject({ id: 7, ct: "SUB_IMAGE" });
    const before = visitor.messages.length;
    publish(back("1.1", 2, 5));
    clock.advance(30_000);
    expect(visitor.messages.slice(before).map(({ id }) => id)).not.toContain(2);
    expect(visitor.messages[before]?.mc).toEqual([back("1.1", 2, 5)]);
    expect(exchange.counters.images).toBe(2);
  });

  test("hears a heartbeat with clk whenever it would be silent for heartbeatMs, and none in between", () => {
    const { publish, enter, clock, exchange } = scene();
    publish(definition("1.1", FOOTBALL));
    const visitor = enter({ heartbeatMs: 100 });
    expect(visitor.last.heartbeatMs).toBe(500);
    clock.advance(470);
    publish(back("1.1", 2, 5));
    clock.advance(480);
    expect(visitor.last.mc).toBeDefined();
    clock.advance(30);
    expect(visitor.last).toEqual({
      op: "mcm",
      id: 2,
      clk: visitor.clk as string,
      pt: visitor.last.pt as number,
      ct: "HEARTBEAT",
    });
    const heard = visitor.messages.length;
    clock.advance(5_000);
    expect(visitor.messages).toHaveLength(heard + 10);
    exchange.knobs.heartbeatsPaused = true;
    clock.advance(5_000);
    expect(visitor.messages).toHaveLength(heard + 10);
  });

  test("carries status 503 while the exchange says so", () => {
    const { publish, enter, clock, exchange } = scene();
    publish(definition("1.1", FOOTBALL));
    const visitor = enter({ heartbeatMs: 500 });
    exchange.knobs.status = 503;
    publish(back("1.1", 2, 5));
    expect(visitor.last).toMatchObject({ status: 503, mc: [back("1.1", 2, 5)] });
    clock.advance(600);
    expect(visitor.last).toMatchObject({ status: 503, ct: "HEARTBEAT" });
    exchange.knobs.status = null;
    clock.advance(600);
    expect(visitor.last).not.toHaveProperty("status");
  });

  test("of a delayed app key is conflated to 180 s and told so", () => {
    const { visit, identity, clock } = scene();
    const visitor = visit();
    visitor.authenticate("free", identity.issue("ada"));
    clock.advance(10);
    visitor.subscribe({ conflateMs: 0 });
    clock.advance(10);
    expect(visitor.last.conflateMs).toBe(180_000);
  });

  test("of a connection that was cut or went half-open hears nothing more", () => {
    const { publish, enter, clock, exchange } = scene();
    publish(definition("1.1", FOOTBALL));
    const [cut, frozen] = [enter({}), enter({ heartbeatMs: 500 })];
    exchange.cut([...exchange.connections][0]);
    exchange.freeze([...exchange.connections][0]);
    clock.advance(10);
    const heard = frozen.messages.length;
    publish(back("1.1", 2, 5));
    frozen.send({ op: "heartbeat", id: 4 });
    clock.advance(10_000);
    expect(cut.closed).toBeInstanceOf(Error);
    expect(frozen.closed).toBeNull();
    expect(frozen.messages).toHaveLength(heard);
    expect(exchange.counters.connections).toBe(1);
  });

  test("tells its hook what was served", () => {
    const { publish, enter, exchange } = scene();
    const served: unknown[] = [];
    exchange.onServed = ({ kind, markets }) => served.push([kind, markets]);
    publish(definition("1.1", FOOTBALL), definition("1.2", FOOTBALL));
    const visitor = enter({});
    exchange.cut();
    publish(back("1.2", 2, 5));
    enter({}, visitor);
    expect(served).toEqual([
      ["image", 2],
      ["resume", 1],
    ]);
  });
});

describe("segmentation", () => {
  test("splits what is large, says clk and initialClk at the end only, and leaves small things whole", () => {
    const { publish, enter } = scene({ segmentBytes: 1000 });
    publish(...Array.from({ length: 8 }, (_, i) => definition(`1.${i}`, FOOTBALL)));
    const visitor = enter({ segmentationEnabled: true });
    const segments = visitor.messages.slice(3);
    expect(
      segments.map(({ ct, segmentType, clk, initialClk, heartbeatMs, mc }) => [
        ct,
        segmentType,
        clk !== undefined,
        initialClk !== undefined,
        heartbeatMs !== undefined,
        mc?.length,
      ]),
    ).toEqual([
      ["SUB_IMAGE", "SEG_START", false, false, true, 3],
      ["SUB_IMAGE", "SEG", false, false, false, 3],
      ["SUB_IMAGE", "SEG_END", true, true, false, 2],
    ]);
    publish(...Array.from({ length: 8 }, (_, i) => ({ id: `1.${i}`, marketDefinition: FOOTBALL })));
    expect(visitor.messages.slice(6).map(({ ct, segmentType }) => [ct, segmentType])).toEqual([
      [undefined, "SEG_START"],
      [undefined, "SEG"],
      [undefined, "SEG_END"],
    ]);
    publish(back("1.1", 2, 5));
    expect(visitor.last).not.toHaveProperty("segmentType");
  });

  test("is not done for those who did not ask", () => {
    const { publish, enter } = scene({ segmentBytes: 1000 });
    publish(...Array.from({ length: 8 }, (_, i) => definition(`1.${i}`, FOOTBALL)));
    expect(enter({}).last).toMatchObject({ ct: "SUB_IMAGE", mc: { length: 8 } });
  });
});

describe("the marketFilter", () => {
  const both = ["1.1", "1.2"];
  const cases: readonly [Record<string, unknown>, string[]][] = [
    [{}, both],
    [{ marketIds: ["1.2", "1.9"] }, ["1.2"]],
    [{ marketIds: [] }, both],
    [{ marketIds: null, bspMarket: null }, both],
    [{ bspMarket: true }, ["1.2"]],
    [{ bspMarket: false }, ["1.1"]],
    [{ bettingTypes: ["ODDS", "LINE"] }, both],
    [{ bettingTypes: ["LINE"] }, []],
    [{ eventTypeIds: ["1"] }, ["1.1"]],
    [{ eventIds: ["e2"] }, ["1.2"]],
    [{ turnInPlayEnabled: true }, ["1.1"]],
    [{ marketTypes: ["WIN", "MATCH_ODDS"] }, both],
    [{ marketTypes: ["WIN"] }, ["1.2"]],
    [{ venues: ["Galway"] }, ["1.2"]],
    [{ countryCodes: ["GB"] }, ["1.1"]],
    [{ raceTypes: ["Flat"] }, ["1.2"]],
    [{ raceTypes: ["NO_VALUE"] }, ["1.1"]],
    [{ eventTypeIds: ["1", "7"], countryCodes: ["IE"] }, ["1.2"]],
    [{ eventTypeIds: ["1"], countryCodes: ["IE"] }, []],
  ];
  for (const [marketFilter, expected] of cases)
    test(`${JSON.stringify(marketFilter)} lets ${expected.join(" and ") || "nothing"} through, before and after`, () => {
      const { publish, enter } = scene();
      const early = enter({ marketFilter });
      publish(definition("1.1", FOOTBALL), definition("1.2", RACE));
      publish(back("1.1", 2, 5), back("1.2", 2, 5));
      const late = enter({ marketFilter });
      expect([...early.books.keys()].sort()).toEqual(expected);
      expect([...late.books.keys()].sort()).toEqual(expected);
      for (const id of expected) expect(early.books.get(id)?.state()).toEqual(late.books.get(id)?.state() as never);
    });
});

describe("the marketDataFilter", () => {
  const whole: MarketChange = {
    id: "1.1",
    tv: 10,
    marketDefinition: FOOTBALL,
    rc: [
      {
        id: 1,
        hc: 0.5,
        tv: 10,
        ltp: 2,
        spn: "NaN",
        spf: 2.1,
        atb: [[2, 5]],
        atl: [[3, 5]],
        trd: [[2, 10]],
        spb: [[1.01, 4]],
        spl: [[1000, 4]],
        batb: [
          [0, 2, 5],
          [3, 1.9, 5],
        ],
        batl: [[0, 3, 5]],
        bdatb: [[5, 2, 5]],
        bdatl: [[0, 3, 5]],
      },
    ],
  };
  const runner = whole.rc?.[0] as NonNullable<MarketChange["rc"]>[number];
  const cases: readonly [string[], (keyof typeof runner)[]][] = [
    [["EX_ALL_OFFERS"], ["atb", "atl"]],
    [["EX_TRADED"], ["trd"]],
    [["EX_LTP"], ["ltp"]],
    [["SP_TRADED"], ["spb", "spl"]],
    [
      ["SP_PROJECTED", "EX_LTP"],
      ["ltp", "spn", "spf"],
    ],
    [["EX_BEST_OFFERS"], ["batb", "batl"]],
    [["EX_BEST_OFFERS_DISP"], ["bdatb", "bdatl"]],
  ];
  for (const [fields, keys] of cases)
    test(`${fields.join(" and ")} lets ${keys.join(" and ")} through`, () => {
      const { publish, enter } = scene();
      publish(definition("1.1", FOOTBALL));
      const visitor = enter({ marketDataFilter: { fields } });
      expect(visitor.last.mc).toEqual([{ id: "1.1", img: true }]);
      publish(whole);
      const wanted = Object.fromEntries(["id", "hc", ...keys].map((key) => [key, runner[key]]));
      expect(visitor.last.mc).toEqual([{ id: "1.1", rc: [wanted] }] as never);
    });

  test("EX_TRADED_VOL and EX_MARKET_DEF let volumes and definitions through", () => {
    const { publish, enter } = scene();
    publish(definition("1.1", FOOTBALL));
    const visitor = enter({ marketDataFilter: { fields: ["EX_TRADED_VOL", "EX_MARKET_DEF"] } });
    publish(whole);
    expect(visitor.last.mc).toEqual([
      { id: "1.1", tv: 10, marketDefinition: FOOTBALL, rc: [{ id: 1, hc: 0.5, tv: 10 }] },
    ]);
  });

  test("ladderLevels cuts level ladders, and leaves an empty list where a deeper level changed", () => {
    const { publish, enter } = scene();
    publish(definition("1.1", FOOTBALL));
    const visitor = enter({ marketDataFilter: { fields: ["EX_BEST_OFFERS", "EX_BEST_OFFERS_DISP"], ladderLevels: 3 } });
    publish(whole);
    expect(visitor.last.mc?.[0]?.rc).toEqual([
      { id: 1, hc: 0.5, batb: [[0, 2, 5]], batl: [[0, 3, 5]], bdatb: [], bdatl: [[0, 3, 5]] },
    ]);
  });

  test("says nothing when nothing asked for changed, but its clk goes on", () => {
    const { publish, enter, clock } = scene();
    publish(definition("1.1", FOOTBALL));
    const visitor = enter({ heartbeatMs: 500, marketDataFilter: { fields: ["EX_LTP"] } });
    const clk = visitor.clk;
    publish(back("1.1", 2, 5));
    expect(visitor.last.ct).toBe("SUB_IMAGE");
    clock.advance(600);
    expect(visitor.last.ct).toBe("HEARTBEAT");
    expect(visitor.clk).not.toBe(clk);
  });
});

describe("what is old", () => {
  test("a closed market is forgotten in time, one that opened again is not", () => {
    const { publish, clock, exchange } = scene({ forgetClosedMs: 60_000 });
    const closed = { ...FOOTBALL, status: "CLOSED" };
    publish(definition("1.1", closed), definition("1.2", closed), definition("1.3", FOOTBALL));
    clock.advance(30_000);
    publish(definition("1.2", FOOTBALL));
    clock.advance(40_000);
    publish(back("1.3", 2, 5));
    expect(exchange.image("1.1")).toBeNull();
    expect(exchange.markets).toBe(2);
  });

  test("who has not heard that a forgotten market closed gets an image without it, who has resumes", () => {
    const { publish, enter, clock, exchange } = scene({ forgetClosedMs: 60_000 });
    publish(definition("1.1", FOOTBALL), definition("1.2", FOOTBALL));
    const before = enter({});
    const { initialClk, clk } = before;
    publish(definition("1.1", { ...FOOTBALL, status: "CLOSED" }));
    before.leave();
    clock.advance(70_000);
    publish(back("1.2", 2, 5));
    expect(exchange.image("1.1")).toBeNull();
    expect(enter({ initialClk, clk }).last.ct).toBe("SUB_IMAGE");
    expect(enter({ initialClk: before.initialClk, clk: before.clk }).last.ct).toBe("RESUB_DELTA");
  });

  test("a feed that is not live keeps its own time, also in heartbeats and images", () => {
    const { enter, clock, exchange } = scene();
    exchange.publish(1_500_000_000_000, [definition("1.1", FOOTBALL)]);
    const visitor = enter({ heartbeatMs: 500 });
    clock.advance(600);
    expect(visitor.messages.slice(3).map(({ pt }) => pt)).toEqual([1_500_000_000_000, 1_500_000_000_000]);
  });
});
