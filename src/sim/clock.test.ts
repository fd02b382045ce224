import { expect, test } from "bun:test";
import fc from "fast-check";
import { VirtualClock } from "./clock.ts";

test("what is due first runs first, and at one instant in the order it was set", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -3, max: 20 })), (waits) => {
      const clock = new VirtualClock();
      const ran: [number, number][] = [];
      waits.forEach((ms, index) => void clock.after(ms, () => ran.push([clock.monotonic(), index])));
      clock.run(30);
      const expected = waits
        .map((ms, index) => [Math.max(0, ms), index])
        .sort((a, b) => a[0]! - b[0]! || a[1]! - b[1]!);
      expect(ran).toEqual(expected as [number, number][]);
      expect(clock.monotonic()).toBe(30);
    }),
  );
});

test("a cancelled timer does not run, and cancelling it again does nothing", () => {
  const clock = new VirtualClock();
  let ran = 0;
  const timer = clock.after(5, () => ran++);
  clock.after(4, () => timer.cancel());
  clock.advance(10);
  timer.cancel();
  expect(ran).toBe(0);
  expect(clock.step()).toBe(false);
});

test("a wait of 0 runs in a later call of the same instant", () => {
  const clock = new VirtualClock();
  const said: string[] = [];
  clock.after(1, () => {
    clock.after(0, () => said.push(`then ${clock.monotonic()}`));
    said.push("first");
  });
  clock.run(1);
  expect(said).toEqual(["first", "then 1"]);
});

test("the wall may jump while the monotonic clock goes on", () => {
  const clock = new VirtualClock(1000);
  clock.advance(10);
  clock.wallOffset -= 3_600_000;
  expect([clock.wall(), clock.monotonic()]).toEqual([1010 - 3_600_000, 10]);
});

test("what is due after the end of a run waits for the next one", () => {
  const clock = new VirtualClock();
  let ran = 0;
  clock.after(11, () => ran++);
  clock.run(10);
  expect(ran).toBe(0);
  clock.run(11);
  expect(ran).toBe(1);
});
