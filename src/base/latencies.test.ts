import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Latencies } from "./latencies.ts";

describe("latencies", () => {
  test("a quantile is the real one, but for 1.1 %, negative ones included", () => {
    // Sorting does not tell -0 from 0.
    const ms = fc.double({ min: -60_000, max: 60_000, noNaN: true }).map((one) => one + 0);
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
            0.011 * Math.abs(right) + 0.01,
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

  test("two merged, as they are or by way of JSON, are as if one had seen it all", () => {
    const some = fc.array(fc.double({ min: -1_000, max: 60_000, noNaN: true }), { maxLength: 50 });
    fc.assert(
      fc.property(some, some, (a, b) => {
        const [all, one, other] = [new Latencies(), new Latencies(), new Latencies()];
        for (const ms of [...a, ...b]) all.add(ms);
        for (const ms of a) one.add(ms);
        for (const ms of b) other.add(ms);
        one.merge(JSON.parse(JSON.stringify(other)));
        const { sum, ...rest } = one.toJSON();
        const { sum: right, ...same } = all.toJSON();
        expect(rest).toEqual(same);
        expect(one.count).toBe(all.count);
        expect(sum).toBeCloseTo(right, 5);
      }),
    );
  });
});
