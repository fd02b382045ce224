import { expect, test } from "bun:test";
import fc from "fast-check";
import { VirtualClock } from "../sim/clock.ts";
import { Deadlines } from "./deadlines.ts";

test("each item is due its wait after it was last put off, no sooner, and at most a twentieth later; dropped ones never", () => {
  const step = fc.record({ item: fc.nat(5), after: fc.integer({ min: 0, max: 900 }), drop: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new VirtualClock();
      const expected = new Map<number, number>();
      const deadlines = new Deadlines<number>(clock, 1000, (item) => {
        const late = clock.monotonic() - (expected.get(item) ?? Number.NaN);
        expect(late >= 0 && late <= 50).toBe(true);
        expected.delete(item);
      });
      for (const { item, after, drop } of steps) {
        clock.advance(after);
        for (const [other, due] of expected) if (due + 50 < clock.monotonic()) throw new Error(`${other} is overdue`);
        if (drop) deadlines.drop(item);
        else deadlines.putOff(item);
        if (drop) expected.delete(item);
        else expected.set(item, clock.monotonic() + 1000);
      }
      clock.advance(2000);
      expect(expected.size).toBe(0);
      expect(deadlines.size).toBe(0);
    }),
  );
});

test("many items share a few firings", () => {
  const clock = new VirtualClock();
  let timers = 0;
  const counting = {
    wall: () => clock.wall(),
    monotonic: () => clock.monotonic(),
    after(ms: number, fire: () => void) {
      timers++;
      return clock.after(ms, fire);
    },
  };
  const told: number[] = [];
  const deadlines = new Deadlines<number>(counting, 1000, (item) => told.push(item));
  for (let i = 0; i < 500; i++) {
    deadlines.putOff(i);
    clock.advance(1);
  }
  clock.advance(2000);
  expect(told).toEqual(Array.from({ length: 500 }, (_, i) => i));
  expect(timers).toBeLessThan(20);
});

test("an item can be put off or dropped while another is told", () => {
  const clock = new VirtualClock();
  const told: string[] = [];
  const deadlines: Deadlines<string> = new Deadlines(clock, 1000, (item) => {
    told.push(`${item}@${clock.monotonic()}`);
    if (item === "a") {
      deadlines.drop("b");
      deadlines.putOff("c");
      deadlines.putOff("a");
      if (told.length > 1) deadlines.drop("a");
    }
  });
  for (const item of ["a", "b", "c"]) deadlines.putOff(item);
  clock.advance(5000);
  expect(told).toEqual(["a@1000", "c@2000", "a@2000", "c@3000"]);
});
