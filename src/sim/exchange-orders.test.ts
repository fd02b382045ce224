import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { type ExchangeLimits, SimExchange } from "./exchange.ts";
import type { OrderMarketChange, OrderRunnerChange } from "./exchange-orders.ts";
import { type ExchangeMessage, Visitor } from "./exchange-visitor.ts";
import type { MarketChange, MarketDefinition } from "./naive.ts";
import { VirtualNetwork } from "./network.ts";
import { orderMethods } from "./order-methods.ts";

type OrderMessage = ExchangeMessage & { readonly oc?: readonly OrderMarketChange[] };

const AT = { host: "exchange", port: 443 };
const OPEN: MarketDefinition = {
  status: "OPEN",
  version: 1,
  runners: [
    { id: 11, status: "ACTIVE" },
    { id: 12, hc: -1.5, status: "ACTIVE" },
  ],
};
const RC: MarketChange["rc"] = [
  { id: 11, atb: [[3, 10]], atl: [[3.1, 5]] },
  { id: 12, hc: -1.5, atb: [[2, 10]] },
];

function scene(seed = 1, limits: Partial<ExchangeLimits> = {}) {
  const clock = new VirtualClock();
  const random = seededRandom(seed);
  const network = new VirtualNetwork(clock, random);
  const sessions = { accountOf: (token: string) => token };
  const exchange = new SimExchange({ clock, random, log: silentLog, sessions, appKeys: ["key"], limits });
  exchange.listen(network.listen, AT);
  const methods = orderMethods(exchange.orders);
  const publish = (...changes: MarketChange[]) => {
    exchange.publish(clock.wall(), changes);
    clock.advance(10);
  };
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON
  const call = (method: string, params: Record<string, unknown>, account = "ada"): any => {
    const outcome = methods(method, { marketId: "1.1", ...params }, account);
    clock.advance(10);
    return outcome?.kind === "result" ? outcome.result : outcome;
  };
  const place = (price: number, size: number, ref = "", more: Record<string, unknown> = {}): string => {
    const { marketId = "1.1", ...differs } = more;
    const limitOrder = { price, size, persistenceType: "LAPSE" };
    const instruction = { selectionId: 11, side: "BACK", orderType: "LIMIT", limitOrder, ...differs };
    const params = { marketId, customerStrategyRef: ref, instructions: [instruction] };
    return call("placeOrders", params).instructionReports[0].betId;
  };
  const cancel = (betId: string) => call("cancelOrders", { instructions: [{ betId }] });
  const enter = (account = "ada") => {
    const visitor = new Visitor(network.dial, AT);
    clock.advance(10);
    visitor.authenticate("key", account);
    clock.advance(10);
    return visitor;
  };
  const follow = (orderFilter: Record<string, unknown> | null = null, more: Record<string, unknown> = {}) => {
    const visitor = enter((more.account as string | undefined) ?? "ada");
    visitor.send({ op: "orderSubscription", id: 5, orderFilter, ...more });
    clock.advance(10);
    return visitor;
  };
  publish(...["1.1", "1.2"].map((id) => ({ id, img: true, marketDefinition: OPEN, rc: RC })));
  return { clock, network, exchange, publish, call, place, cancel, enter, follow };
}

function ocms(visitor: Visitor): OrderMessage[] {
  return visitor.messages.filter(({ op }) => op === "ocm");
}

function last(visitor: Visitor): OrderMessage {
  return ocms(visitor).at(-1) as OrderMessage;
}

/** Bet ids of an `oc`, with their status. */
function orders(oc: readonly OrderMarketChange[] = []): string[] {
  const runners = oc.flatMap(({ orc = [] }) => orc);
  return runners.flatMap(({ uo = [] }) => uo.map(({ id, status }) => `${id} ${status}`));
}

const orc = (message: OrderMessage): OrderRunnerChange => message.oc?.[0]?.orc?.[0] as OrderRunnerChange;

/** What a client holds that does as it is told: orders by id, executable ones only, and matched sizes by price. */
class Cache {
  readonly markets = new Map<string, Map<string, { orders: Map<string, unknown>; matched: Map<string, number> }>>();

  apply({ ct, oc }: OrderMessage): void {
    if (ct === "SUB_IMAGE") this.markets.clear();
    for (const { id, fullImage, orc = [] } of oc ?? []) {
      if (fullImage || !this.markets.has(id)) this.markets.set(id, new Map());
      for (const change of orc) this.#runner(id, change);
    }
  }

  #runner(market: string, { id, hc, fullImage, uo = [], mb, ml, smc = {} }: OrderRunnerChange): void {
    const runners = this.markets.get(market) as ReturnType<(typeof this.markets)["get"]> & object;
    const key = `${id}/${hc ?? 0}`;
    const known = fullImage ? undefined : runners.get(key);
    const runner = known ?? { orders: new Map(), matched: new Map() };
    runners.set(key, runner);
    for (const order of uo) {
      if (order.status === "E") runner.orders.set(order.id as string, order);
      else runner.orders.delete(order.id as string);
    }
    for (const [name, matched] of [["", { mb, ml }] as const, ...Object.entries(smc)])
      for (const side of ["mb", "ml"] as const)
        for (const [price, size] of matched[side] ?? []) {
          if (size === 0) runner.matched.delete(`${name} ${side} ${price}`);
          else runner.matched.set(`${name} ${side} ${price}`, size);
        }
  }

  /** In one order, without what is empty. */
  get state(): unknown {
    const sorted = <T>(map: ReadonlyMap<string, T>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
    return sorted(this.markets)
      .map(([id, runners]) => {
        const filled = sorted(runners).filter(([, { orders, matched }]) => orders.size + matched.size > 0);
        return [id, filled.map(([key, { orders, matched }]) => [key, sorted(orders), sorted(matched)])];
      })
      .filter(([, runners]) => (runners as unknown[]).length > 0);
  }
}

function cacheOf(visitor: Visitor): Cache {
  const cache = new Cache();
  for (const message of ocms(visitor)) cache.apply(message);
  return cache;
}

describe("the image", () => {
  test("of nobody's orders is empty, and echoes what is in force", () => {
    const { follow } = scene();
    expect(last(follow(null, { heartbeatMs: 100, conflateMs: 500_000 }))).toEqual({
      op: "ocm",
      id: 5,
      ct: "SUB_IMAGE",
      initialClk: expect.any(String),
      clk: expect.any(String),
      pt: expect.any(Number),
      conflateMs: 120_000,
      heartbeatMs: 500,
    });
  });

  test("holds executable orders and the position, with fullImage on markets and runners", () => {
    const { place, cancel, follow } = scene();
    const waits = place(3.05, 4, "alpha");
    place(3, 2);
    cancel(place(9, 1));
    place(2, 1, "", { selectionId: 12, handicap: -1.5 });
    const { oc } = last(follow());
    expect(oc).toEqual([
      {
        id: "1.1",
        accountId: expect.any(Number),
        fullImage: true,
        orc: [
          {
            id: 11,
            fullImage: true,
            uo: [
              {
                id: waits,
                p: 3.05,
                s: 4,
                side: "B",
                status: "E",
                pt: "L",
                ot: "L",
                pd: expect.any(Number),
                sm: 0,
                sr: 4,
                sl: 0,
                sc: 0,
                sv: 0,
                rac: "",
                rc: "REG_GGC",
                rfo: "",
                rfs: "alpha",
              },
            ],
            mb: [[3, 2]],
          },
          { id: 12, hc: -1.5, fullImage: true, mb: [[2, 1]] },
        ],
      },
    ]);
  });

  test("is of the account's own orders only", () => {
    const { place, follow } = scene();
    const mine = place(9, 4);
    const [his, hers] = [follow(null, { account: "bob" }), follow()];
    expect(orders(last(his).oc)).toEqual([]);
    expect(orders(last(hers).oc)).toEqual([`${mine} E`]);
    place(8, 4);
    expect([ocms(his).length, ocms(hers).length]).toEqual([1, 2]);
  });

  test("comes in segments where they are wanted", () => {
    const { place, follow } = scene(1, { segmentBytes: 1_000 });
    for (let n = 0; n < 10; n++) place(9, 4, "", { marketId: n % 2 ? "1.1" : "1.2" });
    const visitor = follow(null, { segmentationEnabled: true });
    const types = ocms(visitor).map(({ segmentType }) => segmentType);
    expect(types).toEqual(["SEG_START", "SEG_END"]);
    expect(ocms(visitor).map(({ clk }) => clk !== undefined)).toEqual([false, true]);
  });
});

describe("changes", () => {
  test("orders come whole as they become: new with fullImage where the runner is new, then without, complete once", () => {
    const { place, cancel, follow, publish } = scene();
    const visitor = follow();
    const first = place(3.05, 4);
    expect(last(visitor)).toMatchObject({ oc: [{ id: "1.1", fullImage: true, orc: [{ id: 11, fullImage: true }] }] });
    const second = place(9, 4);
    expect(last(visitor).oc?.[0]?.fullImage).toBeUndefined();
    expect(orc(last(visitor)).fullImage).toBeUndefined();
    expect(orders(last(visitor).oc)).toEqual([`${second} E`]);
    const before = ocms(visitor).length;
    cancel(first);
    expect(orders(last(visitor).oc)).toEqual([`${first} EC`]);
    publish({ id: "1.1", rc: [{ id: 11, atb: [[2.5, 1]] }] });
    expect(ocms(visitor).length).toBe(before + 1);
  });

  test("a call's instructions come in one message", () => {
    const { call, follow } = scene();
    const visitor = follow();
    const limitOrder = { price: 9, size: 2 };
    const instruction = { selectionId: 11, side: "LAY", orderType: "LIMIT", limitOrder };
    call("placeOrders", { instructions: [instruction, instruction, instruction] });
    expect(ocms(visitor)).toHaveLength(2);
    expect(orders(last(visitor).oc)).toHaveLength(3);
  });

  test("matched sizes are absolute, at the prices that changed; voided ones go to 0", () => {
    const { place, follow, publish } = scene();
    place(3, 2);
    const visitor = follow();
    place(3, 1.5);
    expect(orc(last(visitor)).mb).toEqual([[3, 3.5]]);
    place(3.1, 1, "", { side: "LAY" });
    expect(orc(last(visitor))).toMatchObject({ ml: [[3.1, 1]] });
    expect(orc(last(visitor)).mb).toBeUndefined();
    publish({ id: "1.1", marketDefinition: { ...OPEN, runners: [{ id: 11, status: "REMOVED" }] } });
    expect(orc(last(visitor))).toMatchObject({ mb: [[3, 0]], ml: [[3.1, 0]] });
    expect(orc(last(visitor)).uo?.map(({ sm, sv }) => [sm, sv])).toEqual([
      [0, 2],
      [0, 1.5],
      [0, 1],
    ]);
  });

  test("a market's end is said with `closed`, together with what lapses by it", () => {
    const { place, follow, publish } = scene();
    place(3, 2);
    const waits = place(9, 2);
    const visitor = follow();
    publish({ id: "1.1", marketDefinition: { ...OPEN, status: "CLOSED" } });
    expect(last(visitor)).toMatchObject({ oc: [{ id: "1.1", closed: true }] });
    expect(orders(last(visitor).oc)).toEqual([`${waits} EC`]);
    expect(last(follow()).oc).toMatchObject([{ id: "1.1", closed: true, orc: [{ id: 11, mb: [[3, 2]] }] }]);
  });

  test("a market that nobody ordered in closes without a word", () => {
    const { follow, publish } = scene();
    const visitor = follow();
    publish({ id: "1.1", marketDefinition: { ...OPEN, status: "CLOSED" } });
    expect(ocms(visitor)).toHaveLength(1);
  });

  test("a market that begins anew after its end comes as an empty full image: what stood is gone", () => {
    const { place, follow, publish } = scene();
    place(3, 1);
    publish({ id: "1.1", marketDefinition: { ...OPEN, status: "CLOSED" } });
    const visitor = follow();
    publish({ id: "1.1", img: true, marketDefinition: OPEN, rc: RC });
    expect(last(visitor).oc).toEqual([{ id: "1.1", accountId: expect.any(Number), fullImage: true }]);
    expect(cacheOf(visitor).state).toEqual([]);
  });

  test("who reads slowly is not sent what it cannot take, and catches up in few messages", () => {
    const { place, cancel, follow, network, clock } = scene();
    const visitor = follow();
    for (const link of network.links()) link.near.readAt(0.1);
    for (let n = 0; n < 2_000; n++) cancel(place(9, 1));
    const waits = place(9, 2);
    for (const link of network.links()) link.near.readAt(Number.POSITIVE_INFINITY);
    clock.advance(1_000);
    expect(visitor.closed).toBeNull();
    expect(ocms(visitor).length).toBeLessThan(1_000);
    expect(cacheOf(visitor).state).toEqual(cacheOf(follow()).state);
    expect(orders(last(visitor).oc)).toContain(`${waits} E`);
  });

  test("conflated changes come together, once an interval", () => {
    const { place, follow, clock } = scene();
    const visitor = follow(null, { conflateMs: 1_000 });
    const bets = [place(9, 1), place(9, 2), place(9, 3)];
    clock.advance(1_000);
    expect(ocms(visitor).map(({ oc }) => orders(oc))).toEqual([[], [`${bets[0]} E`], [`${bets[1]} E`, `${bets[2]} E`]]);
  });
});

describe("a filter", () => {
  test("by reference shows orders of these only, while the overall position stays the account's", () => {
    const { place, follow } = scene();
    const visitor = follow({ customerStrategyRefs: ["alpha"] });
    const mine = place(9, 1, "alpha");
    place(9, 1, "beta");
    place(9, 1);
    expect(ocms(visitor).flatMap(({ oc }) => orders(oc))).toEqual([`${mine} E`]);
    place(3, 1, "beta");
    expect(orc(last(visitor))).toEqual({ id: 11, mb: [[3, 1]] });
  });

  test("without the overall position and partitioned shows positions by reference", () => {
    const { place, follow } = scene();
    const filter = { includeOverallPosition: false, partitionMatchedByStrategyRef: true };
    const [all, alpha] = [follow(filter), follow({ ...filter, customerStrategyRefs: ["alpha"] })];
    place(3, 1, "alpha");
    place(3, 2, "beta");
    place(3, 4);
    expect(ocms(all).map((message) => orc(message)?.smc)).toEqual([
      undefined,
      { alpha: { mb: [[3, 1]] } },
      { beta: { mb: [[3, 2]] } },
      undefined,
    ]);
    expect(ocms(alpha)).toHaveLength(2);
    expect(ocms(all).some((message) => orc(message)?.mb !== undefined)).toBe(false);
    expect(orc(last(follow(filter))).smc).toEqual({ alpha: { mb: [[3, 1]] }, beta: { mb: [[3, 2]] } });
  });

  test("by reference shows a strategy that is called like a part of the language, too", () => {
    const { place, follow } = scene();
    place(3, 1, "__proto__");
    const image = last(follow({ includeOverallPosition: false, partitionMatchedByStrategyRef: true }));
    expect(JSON.stringify(orc(image).smc)).toBe('{"__proto__":{"mb":[[3,1]]}}');
  });

  test("with accountIds is no filter for clients", () => {
    const visitor = scene().follow({ accountIds: [1] });
    expect(visitor.last).toMatchObject({ statusCode: "FAILURE", errorCode: "INVALID_REQUEST", connectionClosed: true });
  });
});

describe("a subscription", () => {
  test("heartbeats with its clk, and says 503 when it is so", () => {
    const { follow, clock, exchange } = scene();
    const visitor = follow(null, { heartbeatMs: 500 });
    exchange.knobs.status = 503;
    clock.advance(600);
    const { clk } = ocms(visitor)[0] as OrderMessage;
    expect(last(visitor)).toEqual({ op: "ocm", id: 5, ct: "HEARTBEAT", clk, pt: expect.any(Number), status: 503 });
  });

  test("is replaced by the next, whose id changes carry from then on", () => {
    const { follow, place, clock } = scene();
    const visitor = follow({ customerStrategyRefs: ["alpha"] });
    visitor.send({ op: "orderSubscription", id: 6 });
    clock.advance(10);
    expect(last(visitor)).toMatchObject({ id: 6, ct: "SUB_IMAGE" });
    place(9, 1);
    expect(ocms(visitor).map(({ id }) => id)).toEqual([5, 6, 6]);
  });

  test("stands beside one to markets on the same connection, and neither disturbs the other", () => {
    const { follow, place, publish, clock } = scene();
    const visitor = follow();
    visitor.send({ op: "marketSubscription", id: 9 });
    clock.advance(10);
    place(9, 1);
    publish({ id: "1.1", tv: 5 });
    visitor.send({ op: "orderSubscription", id: 10 });
    clock.advance(10);
    publish({ id: "1.1", tv: 6 });
    const said = visitor.messages.filter(({ op }) => op === "ocm" || op === "mcm").map(({ op, id }) => `${op} ${id}`);
    expect(said).toEqual(["ocm 5", "mcm 9", "ocm 5", "mcm 9", "ocm 10", "mcm 9"]);
    clock.advance(60_000);
    expect(visitor.closed).toBeNull();
  });

  test("keeps a connection from being idle, and needs an authentication", () => {
    const { follow, clock, network } = scene();
    const visitor = follow();
    const stranger = new Visitor(network.dial, AT);
    clock.advance(10);
    stranger.send({ op: "orderSubscription", id: 1 });
    clock.advance(60_000);
    expect(visitor.closed).toBeNull();
    expect(stranger.last).toMatchObject({ errorCode: "NOT_AUTHORIZED" });
  });
});

describe("a resume", () => {
  const clocks = (visitor: Visitor) => {
    const [first] = ocms(visitor);
    return { initialClk: first?.initialClk, clk: last(visitor).clk };
  };

  test("tells what changed since: orders that are complete by now, prices that moved, the market's end", () => {
    const { follow, place, cancel, publish } = scene();
    const [one, two] = [place(9, 1), place(9, 2)];
    const before = follow();
    before.leave();
    cancel(one);
    place(3, 1);
    const three = place(8, 1, "", { marketId: "1.2" });
    publish({ id: "1.2", marketDefinition: { ...OPEN, status: "CLOSED" } });
    const { ct, oc = [] } = last(follow(null, clocks(before)));
    expect(ct).toBe("RESUB_DELTA");
    expect(orders(oc)).toEqual([`${one} EC`, expect.stringMatching(/EC$/), `${three} EC`]);
    expect(oc.map(({ id, fullImage, closed }) => [id, fullImage, closed])).toEqual([
      ["1.1", undefined, undefined],
      ["1.2", true, true],
    ]);
    expect(orders(oc)).not.toContain(`${two} E`);
  });

  test("when nothing changed is empty", () => {
    const { follow, place } = scene();
    place(9, 1);
    const before = follow();
    const { ct, oc } = last(follow(null, clocks(before)));
    expect([ct, oc]).toEqual(["RESUB_DELTA", undefined]);
  });

  test("with another filter, of another account, from nowhere or from the future is an image", () => {
    const { follow, place } = scene();
    place(9, 1);
    const known = clocks(follow());
    for (const [filter, more] of [
      [{ customerStrategyRefs: ["alpha"] }, known],
      [null, { ...known, account: "bob" }],
      [null, { ...known, clk: "AAzz" }],
      [null, { initialClk: "x", clk: "y" }],
    ] as const)
      expect(last(follow(filter, more)).ct).toBe("SUB_IMAGE");
  });

  test("out of reach, because a market is forgotten, is an image without it", () => {
    const { follow, place, publish, clock } = scene();
    place(9, 1);
    const waits = place(9, 1, "", { marketId: "1.2" });
    const known = clocks(follow());
    publish({ id: "1.1", marketDefinition: { ...OPEN, status: "CLOSED" } });
    clock.advance(11 * 60_000);
    publish({ id: "1.2", tv: 1 });
    const { ct, oc } = last(follow(null, known));
    expect([ct, ...orders(oc)]).toEqual(["SUB_IMAGE", `${waits} E`]);
  });

  test("that the exchange refuses is INVALID_CLOCK", () => {
    const { follow, exchange } = scene();
    exchange.knobs.staleClk = "INVALID_CLOCK";
    expect(follow(null, { initialClk: "x", clk: "y" }).last).toMatchObject({ errorCode: "INVALID_CLOCK" });
  });
});

const FILTERS = [
  {},
  { customerStrategyRefs: ["alpha"] },
  { includeOverallPosition: false, partitionMatchedByStrategyRef: true },
  { includeOverallPosition: false, partitionMatchedByStrategyRef: true, customerStrategyRefs: ["alpha", "beta"] },
];

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("place" as const),
      price: fc.constantFrom(2, 2.5, 3, 3.05),
      size: fc.integer({ min: 1, max: 2_000 }),
      ref: fc.constantFrom("", "alpha", "beta"),
      side: fc.constantFrom("BACK", "LAY"),
      marketId: fc.constantFrom("1.1", "1.2"),
    }),
    fc.record({ kind: fc.constant("cancel" as const), which: fc.nat(15) }),
    fc.record({
      kind: fc.constant("show" as const),
      price: fc.constantFrom(2.5, 3, 3.05),
      size: fc.nat(1_000),
      name: fc.constantFrom("atb", "atl"),
    }),
    fc.record({ kind: fc.constant("event" as const), n: fc.nat(30) }),
    fc.record({ kind: fc.constant("drop" as const) }),
  ),
  { maxLength: 40, size: "max" },
);

test("image and changes, conflated, resumed or neither, come to what a fresh image says", () => {
  fc.assert(
    fc.property(
      steps,
      fc.constantFrom(...FILTERS),
      fc.constantFrom(0, 35),
      fc.nat(),
      (script, filter, conflateMs, seed) => {
        const stage = scene(seed);
        let visitor = stage.follow(filter, { conflateMs });
        const cache = new Cache();
        let told = 0;
        const listen = () => {
          for (const message of ocms(visitor).slice(told)) cache.apply(message);
          told = ocms(visitor).length;
        };
        for (const step of script) {
          if (step.kind === "drop") {
            listen();
            const known = { initialClk: ocms(visitor)[0]?.initialClk, clk: last(visitor).clk };
            visitor.leave();
            perform(stage, { kind: "show", price: 3, size: 5, name: "atb" });
            visitor = stage.follow(filter, { conflateMs, ...known });
            told = 0;
          } else perform(stage, step);
        }
        stage.clock.advance(100);
        listen();
        expect(cache.state).toEqual(cacheOf(stage.follow(filter)).state);
      },
    ),
    { numRuns: 120 },
  );
}, 20_000);

type Step = typeof steps extends fc.Arbitrary<(infer S)[]> ? S : never;

function perform({ place, cancel, publish, exchange }: ReturnType<typeof scene>, step: Step): void {
  switch (step.kind) {
    case "place":
      return void place(step.price, step.size / 100, step.ref, { side: step.side, marketId: step.marketId });
    case "cancel": {
      const betId = [...exchange.orders.account("ada").orders.keys()][step.which];
      return betId === undefined ? undefined : cancel(betId);
    }
    case "show":
      return publish({ id: "1.1", rc: [{ id: 11, [step.name]: [[step.price, step.size / 100]] }] });
    case "event": {
      const events: Partial<MarketDefinition>[] = [
        { inPlay: true },
        { status: "CLOSED" },
        { runners: [{ id: 11, status: "REMOVED" }] },
      ];
      return publish({ id: "1.1", marketDefinition: { ...OPEN, ...events[step.n] } });
    }
  }
}
