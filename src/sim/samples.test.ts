import { expect, test } from "bun:test";
import fc from "fast-check";
import { SamplePlan, samplePoints } from "./samples.ts";

test("a market is looked at up to 20 times, evenly, without repeats, and at its end", () => {
  expect(samplePoints(1)).toEqual([1]);
  expect(samplePoints(3)).toEqual([1, 2, 3]);
  expect(samplePoints(20)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  expect(samplePoints(166)).toEqual([
    8, 17, 25, 33, 42, 50, 58, 66, 75, 83, 91, 100, 108, 116, 125, 133, 141, 149, 158, 166,
  ]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100_000 }), (of) => {
      const points = samplePoints(of);
      expect(points.length).toBe(Math.min(of, 20));
      expect([points.at(-1), new Set(points).size]).toEqual([of, points.length]);
    }),
  );
});

test("a market twice in one message is one sample, after the message", () => {
  const plan = new SamplePlan(
    new Map([
      ["1.1", 4],
      ["1.2", 1],
    ]),
  );
  expect(plan.take([{ id: "1.1" }, { id: "1.2" }, { id: "1.1" }])).toEqual([
    { market: "1.1", n: 2, of: 4, final: false },
    { market: "1.2", n: 1, of: 1, final: true },
  ]);
  expect(plan.take([{ id: "1.1" }, { id: "1.1" }])).toEqual([{ market: "1.1", n: 4, of: 4, final: true }]);
  expect(() => plan.take([{ id: "1.3" }])).toThrow("1.3");
});

test("every market ends with a final sample, however its changes are put into messages", () => {
  const messages = fc.array(fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 5 }), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(messages, (all) => {
      const counts = new Map<string, number>();
      for (const id of all.flat()) counts.set(id, (counts.get(id) ?? 0) + 1);
      const plan = new SamplePlan(counts);
      const samples = all.flatMap((ids) => plan.take(ids.map((id) => ({ id }))));
      for (const [id, of] of counts) {
        const own = samples.filter((sample) => sample.market === id);
        expect(own.filter((sample) => sample.final).map((sample) => sample.n)).toEqual([of]);
        expect(own.length).toBeLessThanOrEqual(20);
      }
    }),
  );
});
