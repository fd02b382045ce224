import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { MarketFilter } from "../market/filter.ts";
import { CADENCES, cadenceFor, SLOTS_MAX, untilTurn } from "./cadence.ts";
import { clkOf, initialClkOf, sequenceOf, type Terms, TermsInUse } from "./contract.ts";

const TERMS: Terms = {
  tenant: "t",
  entitlements: 0,
  policy: 0,
  fields: 5,
  ladderLevels: 3,
  conflateMs: 0,
  heartbeatMs: 5000,
  segmentationEnabled: false,
};
const FILTER: MarketFilter = { eventTypeIds: ["1", "2"] };

describe("a contract", () => {
  test("is the same for filters that mean the same, and whatever the cadence", () => {
    const filter = { eventTypeIds: ["2", "1", "2"], venues: [], bspMarket: undefined };
    const terms = { ...TERMS, conflateMs: 50, heartbeatMs: 500, segmentationEnabled: true };
    expect(initialClkOf("e", terms, filter)).toBe(initialClkOf("e", TERMS, FILTER));
  });

  test("differs in everything that makes a difference", () => {
    const others: Partial<Terms>[] = [
      { tenant: "u" },
      { entitlements: 1 },
      { policy: 1 },
      { fields: 4 },
      { ladderLevels: 4 },
    ];
    const filters: MarketFilter[] = [{ eventTypeIds: ["1"] }, { eventIds: ["1", "2"] }, {}];
    const all = [
      initialClkOf("e", TERMS, FILTER),
      initialClkOf("f", TERMS, FILTER),
      ...others.map((other) => initialClkOf("e", { ...TERMS, ...other }, FILTER)),
      ...filters.map((filter) => initialClkOf("e", TERMS, filter)),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  test("terms in use are one object for all who ask for the same, and never another's", () => {
    const inUse = new TermsInUse();
    expect(inUse.of({ ...TERMS })).toBe(inUse.of({ ...TERMS }));
    for (let fields = 0; fields < 3000; fields++) expect(inUse.of({ ...TERMS, fields }).fields).toBe(fields);
  });

  test("clks come back as the sequences they were, and nothing else is one", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (sequence) =>
        expect(sequenceOf(clkOf(sequence))).toBe(sequence),
      ),
    );
    for (const clk of ["", " ", "-1", "1.5", "A", "zzzzzzzz", "AAAAAAAA", "0x1"])
      expect([clk, sequenceOf(clk)]).toEqual([clk, null]);
  });
});

describe("a cadence", () => {
  test("is the wished conflation or the next above", () => {
    expect([0, 1, 50, 80, 120_000, 999_999].map(cadenceFor)).toEqual([0, 50, 50, 100, 120_000, 180_000]);
  });

  test("makes nobody wait much longer than they asked", () => {
    for (let i = 3; i < CADENCES.length; i++)
      expect((CADENCES[i] as number) / (CADENCES[i - 1] as number)).toBeLessThanOrEqual(1.5);
  });

  test("turns once an interval, each slot at its own moment", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e9, noNaN: true }),
        fc.constantFrom(...CADENCES.slice(1)),
        fc.integer({ min: 0, max: SLOTS_MAX - 1 }),
        (now, cadence, slot) => {
          const wait = untilTurn(now, cadence, slot);
          expect(wait).toBeGreaterThan(0);
          expect(wait).toBeLessThanOrEqual(cadence);
          const off = (now + wait - (cadence * slot) / SLOTS_MAX) / cadence;
          expect(Math.abs(off - Math.round(off))).toBeLessThan(1e-4);
        },
      ),
    );
  });
});
