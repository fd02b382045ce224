import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Allowance, BURST_MS, OVERDRAFT_BYTES_MAX } from "./allowance.ts";

describe("an allowance", () => {
  test("is kept on the mean, whatever is sent and when, but for one burst and the last message", () => {
    const sends = fc.array(fc.tuple(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 1, max: 20_000 })));
    fc.assert(
      fc.property(fc.integer({ min: 1024, max: 100_000 }), sends, (bytesPerSecond, steps) => {
        const allowance = new Allowance(bytesPerSecond, 0);
        const burst = (bytesPerSecond * BURST_MS) / 1000;
        let [now, sent] = [0, 0];
        for (const [pauseMs, bytes] of steps) {
          now += pauseMs;
          if (allowance.waitMs(now) > 0) continue;
          expect(sent).toBeLessThan(burst + (bytesPerSecond * now) / 1000);
          allowance.spend(bytes, now);
          sent += bytes;
        }
      }),
    );
  });

  test("says how long there is nothing left, to the millisecond", () => {
    const allowance = new Allowance(2000, 0);
    expect([allowance.spend(1999, 0), allowance.waitMs(0)]).toEqual([true, 0]);
    expect(allowance.spend(4001, 0)).toBe(false);
    const waitMs = allowance.waitMs(0);
    expect([allowance.waitMs(waitMs - 1) > 0, allowance.waitMs(waitMs)]).toEqual([true, 0]);
    expect(Math.abs(waitMs - 2000)).toBeLessThan(2);
  });

  test("of another size from now on is no way out of what was spent", () => {
    const allowance = new Allowance(2000, 0);
    allowance.spend(6000, 0);
    allowance.change(4000, 0);
    expect(Math.abs(allowance.waitMs(0) - 1000)).toBeLessThan(2);
    allowance.change(1000, 500);
    expect(Math.abs(allowance.waitMs(500) - 2000)).toBeLessThan(2);
  });

  test("lends up to the overdraft, however deep in debt; once it is back, again", () => {
    const allowance = new Allowance(OVERDRAFT_BYTES_MAX, 0);
    allowance.spend(OVERDRAFT_BYTES_MAX * 9, 0);
    expect(allowance.borrow(OVERDRAFT_BYTES_MAX - 1, 0)).toBe(true);
    expect([allowance.borrow(2, 0), allowance.borrow(1, 0), allowance.borrow(1, 0)]).toEqual([false, true, false]);
    expect(allowance.waitMs(8000)).toBeGreaterThan(0);
    expect(allowance.borrow(1, 8000)).toBe(false);
    expect([allowance.waitMs(10_000), allowance.borrow(1, 10_000)]).toEqual([0, true]);
  });
});
