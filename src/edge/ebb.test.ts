import { expect, test } from "bun:test";
import { VirtualClock } from "../sim/clock.ts";
import { Ebb, GONE_MIN, GONE_TIMES, HERE_MAX, SETTLE_MS } from "./ebb.ts";

function sea() {
  const clock = new VirtualClock();
  const users = { here: 0, gone: 0, collections: 0 };
  const ebb = new Ebb({
    clock,
    here: () => users.here,
    gone: () => users.gone,
    collect: () => void users.collections++,
  });
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= 500) clock.advance(500);
    return users.collections;
  };
  return { users, ebb, pass };
}

test("it is collected once when most have gone, after what they were due has passed, and not again for the same", () => {
  const { users, pass } = sea();
  users.gone = 19_500;
  expect(pass(SETTLE_MS)).toBe(0);
  expect(pass(2_000)).toBe(1);
  expect(pass(600_000)).toBe(1);
});

test("nothing is collected for a few, for less than several times of those who are here, nor while too many are here", () => {
  const { users, pass } = sea();
  users.gone = GONE_MIN - 1;
  expect(pass(60_000)).toBe(0);
  users.here = 1_000;
  users.gone = GONE_TIMES * 1_000 - 1;
  expect(pass(60_000)).toBe(0);
  users.here = HERE_MAX + 1;
  users.gone = 1_000_000;
  expect(pass(60_000)).toBe(0);
  users.here = HERE_MAX;
  expect(pass(60_000)).toBe(1);
});

test("who come back before it was collected put it off", () => {
  const { users, pass } = sea();
  users.gone = 10_000;
  pass(SETTLE_MS - 1_000);
  users.here = 10_000;
  expect(pass(60_000)).toBe(0);
});

test("with a steady coming and going it is collected each time that several times as many have gone", () => {
  const { users, pass } = sea();
  users.here = 1_000;
  for (let second = 0; second < 600; second++) {
    users.gone += 30;
    pass(1_000);
  }
  // 18,000 have gone; 3,000 and what goes while it settles, each time
  expect(users.collections).toBe(5);
});

test("nothing more happens after stop", () => {
  const { users, ebb, pass } = sea();
  users.gone = 10_000;
  ebb.stop();
  expect(pass(60_000)).toBe(0);
});
