import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Random } from "../base/random.ts";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { type MarketChange, type MarketDefinition, NaiveBook, type RunnerChange } from "./naive.ts";
import { ORDERS_MAX } from "./order-account.ts";
import { isOnLadder } from "./order-instructions.ts";
import type { Order } from "./order-life.ts";
import { orderMethods } from "./order-methods.ts";
import { OrderBooks } from "./orders.ts";

const OPEN: MarketDefinition = {
  status: "OPEN",
  inPlay: false,
  bspMarket: true,
  bspReconciled: false,
  turnInPlayEnabled: true,
  persistenceEnabled: true,
  version: 7,
  eventId: "e1",
  eventTypeId: "7",
  marketTime: "2026-01-01T01:00:00.000Z",
  runners: [
    { id: 11, status: "ACTIVE", sortPriority: 1 },
    { id: 12, status: "ACTIVE", sortPriority: 2 },
  ],
};
const ALWAYS: Random = { next: () => 0.9 };

/** Orders in one market that a test moves by hand; the clock begins an hour before the off. */
function scene(random: Random = ALWAYS) {
  const clock = new VirtualClock();
  const books = new Map<string, NaiveBook>();
  const image = (id: string) => books.get(id)?.image() ?? null;
  const orders = new OrderBooks({ clock, random, now: () => clock.wall(), image });
  const methods = orderMethods(orders);
  const publish = (...changes: MarketChange[]) => {
    for (const change of changes) {
      if (!books.has(change.id)) books.set(change.id, new NaiveBook(change.id));
      books.get(change.id)?.apply(change);
    }
    orders.publish(changes);
  };
  const define = (differs: Partial<MarketDefinition> = {}) =>
    publish({ id: "1.1", marketDefinition: { ...OPEN, ...differs } });
  const show = (rc: Record<string, unknown>, id = 11) => publish({ id: "1.1", rc: [{ id, ...rc }] });
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON
  const call = (method: string, params: Record<string, unknown>): any => {
    const outcome = methods(method, { marketId: "1.1", ...params }, "ada");
    if (outcome?.kind !== "result") throw new Error(JSON.stringify(outcome));
    return outcome.result;
  };
  const place = (price: number, size: number, more: Record<string, unknown> = {}): Order => {
    const { persistenceType = "LAPSE", timeInForce, minFillSize, ...rest } = more;
    const limitOrder = { price, size, persistenceType, timeInForce, minFillSize };
    const said = { selectionId: 11, side: "BACK", orderType: "LIMIT", limitOrder, ...rest };
    const [report] = call("placeOrders", { instructions: [said] }).instructionReports;
    if (report.status !== "SUCCESS") throw new Error(report.errorCode);
    return orders.account("ada").orders.get(report.betId) as Order;
  };
  publish({ id: "1.1", img: true, marketDefinition: OPEN, rc: [{ id: 11, ...LADDER }] });
  return { clock, orders, methods, publish, define, show, call, place };
}

const LADDER: Pick<RunnerChange, "atb" | "atl"> = {
  atb: [
    [3, 10],
    [2.9, 20],
  ],
  atl: [
    [3.1, 5],
    [3.2, 50],
  ],
};

/** The parts of an order that the law is about, and its status. */
function parts(order: Order): Record<string, unknown> {
  const { s, sm, sr, sl, sc, sv, status, avp, lsrc } = order.streamed();
  const said = { s, sm, sr, sl, sc, sv, status, avp, lsrc };
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== 0 && value !== undefined));
}

describe("placed", () => {
  test("an order that the market does not meet waits whole", () => {
    const { place } = scene();
    expect(parts(place(3.05, 4))).toEqual({ s: 4, sr: 4, status: "E" });
  });

  test("one that crosses takes what is shown, at the prices shown, best first; the average price is exact", () => {
    const { place } = scene();
    const order = place(2.9, 25);
    expect(parts(order)).toEqual({ s: 25, sm: 25, status: "EC", avp: (3 * 10 + 2.9 * 15) / 25 });
    expect([...order.fills]).toEqual([
      [300, 1_000],
      [290, 1_500],
    ]);
  });

  test("what is not there at once waits", () => {
    const { place } = scene();
    expect(parts(place(3.1, 8.37, { side: "LAY" }))).toEqual({ s: 8.37, sm: 5, sr: 3.37, status: "E", avp: 3.1 });
  });

  test("fill or kill is matched for its least at once, or lapses as TIME_ELAPSED", () => {
    const { place } = scene();
    const fok = { timeInForce: "FILL_OR_KILL" };
    expect(parts(place(3, 12, fok))).toEqual({ s: 12, sl: 12, status: "EC", lsrc: "TIME_ELAPSED" });
    const some = parts(place(3, 12, { ...fok, minFillSize: 5 }));
    expect(some).toEqual({ s: 12, sm: 10, sl: 2, status: "EC", avp: 3, lsrc: "TIME_ELAPSED" });
  });

  const limitOrder = { price: 3, size: 2, persistenceType: "LAPSE" };
  const plain = { selectionId: 11, side: "BACK", orderType: "LIMIT", limitOrder };
  const refused: readonly (readonly [string, Record<string, unknown>])[] = [
    ["INVALID_RUNNER", { selectionId: 99 }],
    ["INVALID_ODDS", { limitOrder: { ...limitOrder, price: 3.01 } }],
    ["INVALID_ODDS", { limitOrder: { ...limitOrder, price: 1 } }],
    ["INVALID_BET_SIZE", { limitOrder: { ...limitOrder, size: 0 } }],
    ["INVALID_BET_SIZE", { limitOrder: { ...limitOrder, size: 2.005 } }],
    ["INVALID_MIN_FILL_SIZE", { limitOrder: { ...limitOrder, minFillSize: 3 } }],
    ["INVALID_CUSTOMER_ORDER_REF", { customerOrderRef: "x".repeat(33) }],
  ];
  for (const [code, differs] of refused)
    test(`refused: ${code} for ${JSON.stringify(differs)}`, () => {
      const { call } = scene();
      const answer = call("placeOrders", { instructions: [{ ...plain, ...differs }, plain] });
      expect(answer.status).toBe("PROCESSED_WITH_ERRORS");
      expect(answer.instructionReports.map((report: { errorCode?: string }) => report.errorCode)).toEqual([
        code,
        undefined,
      ]);
    });

  test("refused whole: unknown and suspended markets, an old version, too many, the same reference twice", () => {
    const { call, define } = scene();
    const code = (params: Record<string, unknown>) =>
      call("placeOrders", { instructions: [plain], ...params }).errorCode;
    expect(code({ marketId: "1.9" })).toBe("INVALID_MARKET_ID");
    expect(code({ marketVersion: { version: 6 } })).toBe("INVALID_MARKET_VERSION");
    expect(code({ instructions: Array(201).fill(plain) })).toBe("TOO_MANY_INSTRUCTIONS");
    expect(code({ customerRef: "r" })).toBeUndefined();
    expect(code({ customerRef: "r" })).toBe("DUPLICATE_TRANSACTION");
    expect(code({ customerStrategyRef: "more than fifteen" })).toBe("BET_ACTION_ERROR");
    define({ status: "SUSPENDED" });
    expect(code({})).toBe("MARKET_SUSPENDED");
    define({ status: "CLOSED" });
    expect(code({})).toBe("MARKET_NOT_OPEN_FOR_BETTING");
  });

  test("parameters that cannot be read are INVALID_INPUT_DATA, and nothing is placed", () => {
    const { methods, orders } = scene();
    for (const params of [null, [], {}, { marketId: 1 }, { marketId: "1.1", instructions: [{ ...plain, side: "UP" }] }])
      expect(methods("placeOrders", params, "ada")).toMatchObject({ errorCode: "INVALID_INPUT_DATA" });
    expect(orders.account("ada").orders.size).toBe(0);
  });

  test(`beyond ${ORDERS_MAX} orders complete ones make room; executable ones do not`, () => {
    const { call, orders } = scene();
    const wait = { ...plain, limitOrder: { ...limitOrder, price: 900 } };
    for (let n = 0; n < ORDERS_MAX / 200; n++) call("placeOrders", { instructions: Array(200).fill(wait) });
    expect(call("placeOrders", { instructions: [wait] }).instructionReports[0].errorCode).toBe("ERROR_IN_ORDER");
    const [first] = orders.account("ada").orders.keys();
    call("cancelOrders", { instructions: [{ betId: first }] });
    expect(call("placeOrders", { instructions: [wait] }).status).toBe("SUCCESS");
    expect(orders.account("ada").orders.size).toBe(ORDERS_MAX);
  });
});

describe("waiting", () => {
  test("the market comes to its price: matched at its own price, for no more than is shown", () => {
    const { place, show } = scene();
    const order = place(3.2, 20);
    show({ atb: [[3.3, 6.5]] });
    expect(parts(order)).toEqual({ s: 20, sm: 6.5, sr: 13.5, status: "E", avp: 3.2 });
    show({ atb: [[3.25, 100]] });
    expect(parts(order)).toEqual({ s: 20, sm: 20, status: "EC", avp: 3.2 });
  });

  test("chance decides whether all, a part or nothing is matched", () => {
    for (const [chance, sm] of [
      [0.1, undefined],
      [0.5, 10],
      [0.9, 20],
    ] as const) {
      const { place, show } = scene({ next: () => chance });
      const order = place(3.2, 20);
      show({ atb: [[3.2, 100]] });
      expect(parts(order).sm).toBe(sm as number);
    }
  });

  test("best offers will do where there is no depth", () => {
    const { place, publish } = scene();
    publish({ id: "1.1", img: true, marketDefinition: OPEN, rc: [{ id: 11, batb: [[0, 4, 3]] }] });
    expect(parts(place(4, 5))).toEqual({ s: 5, sm: 3, sr: 2, status: "E", avp: 4 });
  });

  test("cancelled in part and whole; what is over cannot be", () => {
    const { place, call } = scene();
    const order = place(5, 4);
    const cancel = (sizeReduction?: number) =>
      call("cancelOrders", { instructions: [{ betId: order.betId, sizeReduction }] }).instructionReports[0];
    expect(cancel(1.5)).toMatchObject({ status: "SUCCESS", sizeCancelled: 1.5 });
    expect(parts(order)).toEqual({ s: 4, sr: 2.5, sc: 1.5, status: "E" });
    expect(cancel()).toMatchObject({ sizeCancelled: 2.5 });
    expect(parts(order)).toEqual({ s: 4, sc: 4, status: "EC" });
    expect(cancel()).toMatchObject({ status: "FAILURE", errorCode: "BET_TAKEN_OR_LAPSED" });
    expect(call("cancelOrders", { instructions: [{ betId: "1" }] })).toMatchObject({ errorCode: "BET_ACTION_ERROR" });
  });

  test("a whole market is cancelled at once", () => {
    const { place, call } = scene();
    const waiting = [place(5, 4), place(6, 1)];
    const done = place(3, 1);
    expect(call("cancelOrders", {}).instructionReports).toHaveLength(2);
    expect([...waiting, done].map(({ cancelled }) => cancelled)).toEqual([400, 100, 0]);
  });

  test("replaced: what remains goes to another order at the new price, with the same references", () => {
    const { place, call, orders } = scene();
    const order = place(3.1, 30, { customerOrderRef: "mine", side: "LAY" });
    const replace = (newPrice: number) =>
      call("replaceOrders", { instructions: [{ betId: order.betId, newPrice }] }).instructionReports[0];
    const { placeInstructionReport } = replace(2.5);
    expect(parts(order)).toEqual({ s: 30, sm: 5, sc: 25, status: "EC", avp: 3.1 });
    const again = orders.account("ada").orders.get(placeInstructionReport.betId) as Order;
    expect(again.terms).toMatchObject({ price: 250, size: 2_500, orderRef: "mine", side: "LAY" });
    expect(replace(2.4)).toMatchObject({ status: "FAILURE", errorCode: "BET_TAKEN_OR_LAPSED" });
  });

  test("its persistence can be changed, and lapses or not accordingly", () => {
    const { place, call, define } = scene();
    const order = place(5, 4);
    const update = () =>
      call("updateOrders", { instructions: [{ betId: order.betId, newPersistenceType: "PERSIST" }] });
    expect(update().status).toBe("SUCCESS");
    expect(update().instructionReports[0].errorCode).toBe("NO_ACTION_REQUIRED");
    define({ inPlay: true });
    expect(parts(order)).toEqual({ s: 4, sr: 4, status: "E" });
  });
});

describe("the market's own life", () => {
  test("turned in play: LAPSE lapses as MKT_SUSPENDED, PERSIST stays", () => {
    const { place, define } = scene();
    const [lapses, stays] = [place(5, 4), place(5, 4, { persistenceType: "PERSIST" })];
    define({ inPlay: true });
    expect(parts(lapses)).toEqual({ s: 4, sl: 4, status: "EC", lsrc: "MKT_SUSPENDED" });
    expect(parts(stays)).toEqual({ s: 4, sr: 4, status: "E" });
  });

  test("suspended before the off nothing lapses, for the off it does", () => {
    const { place, define, clock } = scene();
    const order = place(5, 4);
    define({ status: "SUSPENDED" });
    define();
    expect(order.remaining).toBe(400);
    clock.advance(3_600_000);
    define({ status: "SUSPENDED" });
    expect(parts(order)).toEqual({ s: 4, sl: 4, status: "EC", lsrc: "MKT_SUSPENDED" });
    expect(order.lapsedAt).toBe(clock.wall());
  });

  test("nothing is matched while it is suspended", () => {
    const { place, define, show } = scene();
    const order = place(5, 4, { persistenceType: "PERSIST" });
    define({ status: "SUSPENDED" });
    show({ atb: [[6, 100]] });
    expect(order.matched).toBe(0);
  });

  test("a removed runner voids what was matched and what waits on it, and only there", () => {
    const { place, define, show, orders } = scene();
    show({ atb: [[3, 10]] }, 12);
    const [part, done, other] = [place(3.1, 8, { side: "LAY" }), place(3, 2), place(3, 2, { selectionId: 12 })];
    define({ runners: [{ id: 11, status: "REMOVED" }, OPEN.runners?.[1] as never] });
    expect(parts(part)).toEqual({ s: 8, sv: 8, status: "EC" });
    expect(parts(done)).toEqual({ s: 2, sv: 2, status: "EC" });
    expect(parts(other)).toEqual({ s: 2, sm: 2, status: "EC", avp: 3 });
    const runner = orders.account("ada").markets.get("1.1")?.runners.get("11/0");
    expect([...(runner?.overall?.mb.values() ?? [])].map(({ size }) => size)).toEqual([0]);
    expect(() => place(3, 2)).toThrow("RUNNER_REMOVED");
  });

  test("at the starting price on-close orders are matched for their liability, or lapse beyond their limit", () => {
    const { place, define } = scene();
    const onClose = { marketOnCloseOrder: { liability: 10 }, orderType: "MARKET_ON_CLOSE" };
    const [back, lay] = [place(0, 0, onClose), place(0, 0, { ...onClose, side: "LAY" })];
    const limited = { limitOnCloseOrder: { liability: 10, price: 5 }, orderType: "LIMIT_ON_CLOSE" };
    const tooShort = place(0, 0, limited);
    const carried = place(4.5, 6, { side: "BACK", persistenceType: "MARKET_ON_CLOSE" });
    expect(parts(back)).toEqual({ status: "E" });
    define({ status: "SUSPENDED", bspReconciled: true, runners: [{ id: 11, status: "ACTIVE", bsp: 4.3333 }] });
    expect(parts(back)).toEqual({ s: 10, sm: 10, status: "EC", avp: 4.33 });
    expect(parts(lay)).toEqual({ s: 3, sm: 3, status: "EC", avp: 4.33 });
    expect(parts(tooShort)).toEqual({ status: "EC" });
    expect(parts(carried)).toEqual({ s: 6, sm: 6, status: "EC", avp: 4.33 });
    define({ bspReconciled: true });
    expect(() => place(0, 0, onClose)).toThrow("MARKET_NOT_OPEN_FOR_BSP_BETTING");
  });

  test("without a starting price on-close orders lapse at the off as SP_IN_PLAY", () => {
    const { place, define } = scene();
    const order = place(0, 0, { marketOnCloseOrder: { liability: 10 }, orderType: "MARKET_ON_CLOSE" });
    define({ inPlay: true });
    expect(parts(order)).toEqual({ status: "EC", lsrc: "SP_IN_PLAY" });
  });

  test("closed: the rest lapses, the matched part is settled", () => {
    const { place, define, call } = scene();
    const won = place(2.9, 25);
    place(3.1, 5, { side: "LAY" });
    const waits = place(9, 4, { customerOrderRef: "late" });
    define({ status: "CLOSED", runners: [{ id: 11, status: "WINNER" }] });
    expect(parts(waits)).toEqual({ s: 4, sl: 4, status: "EC" });
    const { clearedOrders } = call("listClearedOrders", { betStatus: "SETTLED", marketIds: ["1.1"] });
    expect(clearedOrders.map(({ profit, betOutcome }: Record<string, unknown>) => [profit, betOutcome])).toEqual([
      [-10.5, "LOST"],
      [48.5, "WON"],
    ]);
    expect(won.averagePrice).toBe(2.94);
    const lapsed = call("listClearedOrders", { betStatus: "LAPSED" }).clearedOrders;
    expect(lapsed).toMatchObject([{ betId: waits.betId, customerOrderRef: "late" }]);
    expect(call("listCurrentOrders", {}).currentOrders).toEqual([]);
  });

  test("a market that begins anew after its end has no old orders", () => {
    const { place, define, orders } = scene();
    place(9, 4);
    define({ status: "CLOSED" });
    define();
    expect(orders.account("ada").orders.size).toBe(0);
    expect(parts(place(9, 4))).toEqual({ s: 4, sr: 4, status: "E" });
  });
});

test("listCurrentOrders pages, and tells executable from complete", () => {
  const { place, call } = scene();
  const [waits, done, gone] = [place(9, 4), place(3, 2), place(9, 1)];
  call("cancelOrders", { instructions: [{ betId: gone.betId }] });
  const ids = (params: Record<string, unknown>) =>
    call("listCurrentOrders", params).currentOrders.map(({ betId }: { betId: string }) => betId);
  expect(ids({})).toEqual([waits.betId, done.betId]);
  expect(ids({ orderProjection: "EXECUTABLE" })).toEqual([waits.betId]);
  expect(ids({ orderProjection: "EXECUTION_COMPLETE" })).toEqual([done.betId]);
  expect(ids({ betIds: [done.betId] })).toEqual([done.betId]);
  expect(call("listCurrentOrders", { recordCount: 1 })).toMatchObject({ moreAvailable: true });
});

test("the classic ladder has its steps", () => {
  const on = [101, 199, 200, 202, 305, 410, 620, 1_050, 2_100, 3_200, 5_500, 11_000, 100_000];
  const off = [100, 201, 303, 405, 610, 1_025, 2_050, 3_100, 5_200, 10_500, 101_000];
  expect(on.filter((price) => !isOnLadder(price, "CLASSIC"))).toEqual([]);
  expect(off.filter((price) => isOnLadder(price, "CLASSIC"))).toEqual([]);
});

type Step =
  | {
      readonly kind: "place";
      readonly price: number;
      readonly size: number;
      readonly lay: boolean;
      readonly ref: number;
    }
  | { readonly kind: "close"; readonly liability: number; readonly lay: boolean }
  | { readonly kind: "cancel" | "replace" | "update"; readonly which: number; readonly size: number }
  | { readonly kind: "show"; readonly price: number; readonly size: number; readonly lay: boolean }
  | { readonly kind: "market"; readonly event: number };

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("place" as const),
    price: fc.constantFrom(2, 2.02, 2.5, 3, 3.05),
    size: fc.integer({ min: 1, max: 3_000 }).map((pence) => pence / 100),
    lay: fc.boolean(),
    ref: fc.nat(2),
  }),
  fc.record({ kind: fc.constant("close" as const), liability: fc.integer({ min: 1, max: 50 }), lay: fc.boolean() }),
  fc.record({
    kind: fc.constantFrom("cancel" as const, "replace" as const, "update" as const),
    which: fc.nat(20),
    size: fc.integer({ min: 1, max: 500 }).map((pence) => pence / 100),
  }),
  fc.record({
    kind: fc.constant("show" as const),
    price: fc.constantFrom(2, 2.02, 2.5, 3, 3.05),
    size: fc.integer({ min: 0, max: 2_000 }).map((pence) => pence / 100),
    lay: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("market" as const), event: fc.nat(40) }),
);

const EVENTS: readonly Partial<MarketDefinition>[] = [
  { status: "SUSPENDED" },
  {},
  { inPlay: true },
  { bspReconciled: true, runners: [{ id: 11, status: "ACTIVE", bsp: 2.37 }, OPEN.runners?.[1] as never] },
  { runners: [{ id: 11, status: "REMOVED" }, OPEN.runners?.[1] as never] },
  { status: "CLOSED" },
];

test("whatever happens, an order's parts add up to it, and the position is the sum of what was matched", () => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 60, size: "max" }), fc.nat(), (script, seed) => {
      const stage = scene(seededRandom(seed));
      for (const step of script) {
        perform(stage, step);
        mustAddUp(stage.orders);
      }
    }),
    { numRuns: 150 },
  );
});

function perform({ call, define, show, orders }: ReturnType<typeof scene>, step: Step): void {
  const betId = [...orders.account("ada").orders.keys()][step.kind in EDITS ? (step as { which: number }).which : 0];
  const side = "lay" in step && step.lay ? "LAY" : "BACK";
  switch (step.kind) {
    case "place": {
      const limitOrder = { price: step.price, size: step.size, persistenceType: "LAPSE" };
      const instruction = { selectionId: 11, side, orderType: "LIMIT", limitOrder };
      return call("placeOrders", {
        instructions: [instruction],
        customerStrategyRef: ["", "alpha", "beta"][step.ref],
      });
    }
    case "close": {
      const marketOnCloseOrder = { liability: step.liability };
      const instruction = { selectionId: 11, side, orderType: "MARKET_ON_CLOSE", marketOnCloseOrder };
      return call("placeOrders", { instructions: [instruction] });
    }
    case "show":
      return show({ [step.lay ? "atl" : "atb"]: [[step.price, step.size]] });
    case "market":
      return define(EVENTS[step.event] ?? {});
    default:
      if (betId !== undefined) call(`${step.kind}Orders`, { instructions: [EDITS[step.kind](betId, step.size)] });
  }
}

const EDITS = {
  cancel: (betId: string, sizeReduction: number) => ({ betId, sizeReduction }),
  replace: (betId: string) => ({ betId, newPrice: 2.5 }),
  update: (betId: string) => ({ betId, newPersistenceType: "MARKET_ON_CLOSE" }),
};

function mustAddUp(orders: OrderBooks): void {
  const positions = new Map<string, number>();
  const add = (key: string, size: number) => positions.set(key, (positions.get(key) ?? 0) + size);
  for (const order of orders.account("ada").orders.values()) {
    const { s, sm, sr, sl, sc, sv, avp = 0 } = order.streamed() as Record<string, number>;
    expect(pence(sm) + pence(sr) + pence(sl) + pence(sc) + pence(sv)).toBe(pence(s));
    let notional = 0;
    for (const [price, size] of order.fills) {
      add(`${order.terms.side} ${price}`, size);
      add(`${order.terms.strategyRef} ${order.terms.side} ${price}`, size);
      notional += (price / 100) * size;
    }
    expect(avp * pence(sm)).toBeCloseTo(notional, 6);
  }
  for (const market of orders.account("ada").markets.values())
    for (const { overall, byStrategy } of market.runners.values())
      for (const [name, matched] of [
        ["", overall] as const,
        ...[...byStrategy].map(([ref, m]) => [`${ref} `, m] as const),
      ])
        for (const [side, ladder] of [["BACK", matched?.mb] as const, ["LAY", matched?.ml] as const])
          for (const [price, { size }] of ladder ?? []) add(`${name}${side} ${price}`, -size);
  expect([...positions].filter(([, size]) => size !== 0)).toEqual([]);
}

function pence(money = 0): number {
  return Math.round(money * 100);
}

test("the same seed gives the same life", () => {
  const lives = [1, 1, 2].map((seed) => {
    const { place, show, orders } = scene(seededRandom(seed));
    for (let n = 0; n < 20; n++) place(3.2, 20);
    for (let n = 0; n < 3; n++) show({ atb: [[3.2, 1 + n]] });
    return JSON.stringify([...orders.account("ada").orders.values()].map((order) => order.streamed()));
  });
  expect(lives[1]).toBe(lives[0] as string);
  expect(lives[2]).not.toBe(lives[0] as string);
});
