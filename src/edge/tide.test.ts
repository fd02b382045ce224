import { expect, test } from "bun:test";
import { VirtualClock } from "../sim/clock.ts";
import { CALM_MS, COME_TIMES, GONE_TIMES, HERE_MAX, MOVED_MIN, SETTLE_MS, Tide } from "./tide.ts";

function sea() {
  const clock = new VirtualClock();
  const users = { here: 0, gone: 0, collections: 0 };
  const tide = new Tide({
    clock,
    here: () => users.here,
    gone: () => users.gone,
    collect: () => void users.collections++,
  });
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= 500) clock.advance(500);
    return users.collections;
  };
  return { users, tide, pass };
}

test("it is collected once when most have gone, after what they were due has passed, and not again for the same", () => {
  const { users, pass } = sea();
  users.gone = 19_500;
  expect(pass(SETTLE_MS)).toBe(0);
  expect(pass(2_000)).toBe(1);
  expect(pass(600_000)).toBe(1);
});

test("nothing is collected for a few, for less than several times of those who are here, nor for who has gone while too many are here", () => {
  const { users, pass } = sea();
  users.gone = MOVED_MIN - 1;
  expect(pass(60_000)).toBe(0);
  users.here = 900;
  users.gone = GONE_TIMES * 900 - 1;
  expect(pass(60_000)).toBe(0);
  users.here = HERE_MAX + 1;
  expect(pass(60_000)).toBe(1);
  users.gone = 1_000_000;
  expect(pass(60_000)).toBe(1);
  users.here = HERE_MAX;
  expect(pass(60_000)).toBe(2);
});

test("it is collected once when a crowd has come, not while it comes, and again for a crowd that is larger by a good part", () => {
  const { users, pass } = sea();
  for (let second = 0; second < 20; second++) {
    users.here += 1_000;
    expect(pass(1_000)).toBe(0);
  }
  expect(pass(CALM_MS + 2_000)).toBe(1);
  users.here = 20_000 * COME_TIMES - 1;
  expect(pass(600_000)).toBe(1);
  users.here += 1;
  expect(pass(60_000)).toBe(2);
});

test("who come back before it was collected put it off, and are a crowd that has come", () => {
  const { users, pass } = sea();
  users.gone = 10_000;
  pass(SETTLE_MS - 1_000);
  users.here = 10_000;
  expect(pass(CALM_MS)).toBe(0);
  expect(pass(60_000)).toBe(1);
});

test("with a steady coming and going it is collected each time that several times as many have gone", () => {
  const { users, pass } = sea();
  users.here = 900;
  for (let second = 0; second < 600; second++) {
    users.gone += 30;
    pass(1_000);
  }
  // 18,000 have gone; 2,700 and what goes while it settles, each time
  expect(users.collections).toBe(6);
});

test("nothing more happens after stop", () => {
  const { users, tide, pass } = sea();
  users.gone = 10_000;
  tide.stop();
  expect(pass(60_000)).toBe(0);
});
