import { expect, test } from "bun:test";
import { VirtualClock } from "../sim/clock.ts";
import { Demand, type DemandOptions } from "./demand.ts";

const OPTIONS: DemandOptions = { base: {}, connections: 2, marketsPerConnectionMax: 10, graceMs: 30_000 };

function setUp(options: Partial<DemandOptions> = {}) {
  const clock = new VirtualClock();
  let changes = 0;
  const demand = new Demand({ ...OPTIONS, ...options }, clock, () => changes++);
  const carried = () => demand.plan().flatMap((filter) => filter?.marketIds ?? []);
  return { clock, demand, carried, changes: () => changes };
}

const ids = (from: number, count: number) => Array.from({ length: count }, (_, i) => `1.${from + i}`);

test("who comes and goes with long lists is not carried on beyond what there is room for, the latest first", () => {
  const { clock, demand, carried } = setUp();
  for (let n = 0; n < 1_000; n++) demand.want({ marketIds: ids(n * 20, 20) })();
  const release = demand.want({ marketIds: ["1.7"] });
  expect(carried().length).toBeLessThanOrEqual(20);
  expect(carried()).toContain("1.7");
  expect(demand.unserved).toBe(0);
  release();
  demand.want({ marketIds: ["1.8"] })();
  expect(carried()).toEqual(expect.arrayContaining(["1.7", "1.8"]));
  clock.advance(OPTIONS.graceMs);
  expect(carried()).toEqual(["0"]);
});

test("who comes back within the grace is carried on, however often", () => {
  const { clock, demand, carried } = setUp();
  for (let n = 0; n < 100; n++) {
    const release = demand.want({ marketIds: ids(1, 20) });
    clock.advance(OPTIONS.graceMs / 2);
    expect(carried().sort()).toEqual(ids(1, 20).sort());
    release();
    clock.advance(OPTIONS.graceMs / 2);
  }
  clock.advance(OPTIONS.graceMs);
  expect(carried()).toEqual(["0"]);
});

test("stopped, it waits for nothing any more", () => {
  const { clock, demand, changes } = setUp();
  demand.want({ marketIds: ["1.1"] })();
  demand.stop();
  expect([clock.step(), changes()]).toEqual([false, 0]);
});
