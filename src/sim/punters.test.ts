import { describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { SimExchange } from "./exchange.ts";
import { orderMethods } from "./order-methods.ts";
import { Punters, STRATEGY_REFS } from "./punters.ts";
import { World } from "./world.ts";

/** A generated world with people who bet in it, for so long. */
function life(seed: number, minutes: number) {
  const clock = new VirtualClock();
  const sessions = { accountOf: () => "ada" };
  const exchange = new SimExchange({ clock, random: seededRandom(seed), log: silentLog, sessions, appKeys: ["key"] });
  const publish = exchange.publish.bind(exchange);
  const world = new World({ markets: 20 }, { clock, random: seededRandom(seed), publish });
  const calls = new Map<string, number>();
  const methods = orderMethods(exchange.orders);
  const punters = new Punters(
    { punters: 4, actsPerSecond: 2, account: "ada", strategyRefs: STRATEGY_REFS },
    {
      clock,
      random: seededRandom(seed),
      books: exchange.orders,
      markets: () => exchange.marketIds(),
      methods(method, params, account) {
        const outcome = methods(method, params, account);
        const { status } = (outcome?.kind === "result" ? outcome.result : outcome) as { readonly status?: string };
        calls.set(`${method} ${status}`, (calls.get(`${method} ${status}`) ?? 0) + 1);
        return outcome;
      },
    },
  );
  world.start();
  punters.start();
  clock.advance(minutes * 60_000);
  punters.stop();
  world.stop();
  return { orders: [...exchange.orders.account("ada").orders.values()], calls };
}

describe("punters", () => {
  test("give orders every kind of life, for every strategy", () => {
    const { orders, calls } = life(1, 10);
    for (const method of ["placeOrders", "cancelOrders", "replaceOrders", "updateOrders"])
      expect(calls.get(`${method} SUCCESS`) ?? 0).toBeGreaterThan(10);
    const kinds = new Set(orders.map(({ terms }) => terms.strategyRef));
    expect(kinds).toEqual(new Set(STRATEGY_REFS));
    const has = (which: (order: (typeof orders)[number]) => boolean) => orders.some(which);
    expect(has(({ matched, executable }) => matched > 0 && executable)).toBe(true);
    expect(has(({ matched, size }) => matched === size)).toBe(true);
    expect(has(({ cancelled }) => cancelled > 0)).toBe(true);
    expect(has(({ fills }) => fills.size > 1)).toBe(true);
    expect(has(({ remaining, size }) => remaining === size)).toBe(true);
  });

  test("do the same for the same seed, and something else for another", () => {
    const [one, again, other] = [life(2, 2), life(2, 2), life(3, 2)].map(({ orders }) =>
      JSON.stringify(orders.map((order) => order.streamed())),
    );
    expect(again).toBe(one as string);
    expect(other).not.toBe(one as string);
  });
});
