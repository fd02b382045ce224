import fc from "fast-check";
import type { MarketChange, RunnerChange } from "../messages.ts";

/** For tests: market changes as the exchange might send them, over so few markets, runners and prices that they meet often. */
const price = fc.constantFrom(1.01, 1.5, 2, 2.02, 3.05, 70.1621307023403, 1000);
const size = fc.constantFrom(0, 0, 0.01, 2, 13.37, 123456.78);
const prices = fc.array(fc.tuple(price, size), { maxLength: 5 });
const levels = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), price, size), { maxLength: 4 });
const projected = fc.oneof(price, fc.constantFrom("NaN" as const, "Infinity" as const));
const id = fc.integer({ min: 1, max: 3 });
const hc = fc.constantFrom(0, 0, -0.5, 1.25);

const runner: fc.Arbitrary<RunnerChange> = fc.record(
  {
    id,
    hc,
    tv: size,
    ltp: price,
    spn: projected,
    spf: projected,
    atb: prices,
    atl: prices,
    trd: prices,
    spb: prices,
    spl: fc.option(prices),
    batb: levels,
    batl: levels,
    bdatb: levels,
    bdatl: levels,
  },
  { requiredKeys: ["id"] },
);

const definition = fc.record({
  status: fc.constantFrom("OPEN", "SUSPENDED", "CLOSED"),
  inPlay: fc.boolean(),
  version: fc.nat(),
  runners: fc.constant([
    { id: 1, status: "ACTIVE", sortPriority: 2 },
    { id: 2, sortPriority: 1 },
  ]),
});

export const marketChange: fc.Arbitrary<MarketChange> = fc.record(
  {
    id: fc.constantFrom("1.1", "1.2", "1.3"),
    img: fc.constantFrom(false, false, false, true),
    tv: size,
    marketDefinition: definition,
    rc: fc.array(runner, { maxLength: 4 }),
  },
  { requiredKeys: ["id"] },
);
