import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Latencies } from "./latencies.ts";

describe("latencies", () => {
  test("a quantile is the real one, but for 5 %, negative ones included", () => {
    const ms = fc.double({ min: -60_000, max: 60_000, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(ms, { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (all, share) => {
          const latencies = new Latencies();
          for (const one of all) latencies.add(one);
          const sorted = all.toSorted((a, b) => a - b);
          const right = sorted[Math.max(1, Math.ceil(share * all.length)) - 1] as number;
          expect(Math.abs((latencies.quantile(share) as number) - right)).toBeLessThanOrEqual(
            0.05 * Math.abs(right) + 0.01,
          );
          expect([latencies.min, latencies.max]).toEqual([sorted[0] as number, sorted.at(-1) as number]);
        },
      ),
    );
  });

  test("what nobody measured has no quantile, and what takes for ever counts as long", () => {
    const latencies = new Latencies();
    expect(latencies.quantile(0.5)).toBeNull();
    latencies.add(1e12);
    expect(latencies.quantile(0.5)).toBe(1e12);
  });
});
