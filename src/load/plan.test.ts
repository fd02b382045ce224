import { describe, expect, test } from "bun:test";
import { plansFor, USERS_PER_PROCESS, type Venue } from "./plan.ts";
import { parseWorkload, WORKLOADS, type Workload } from "./workload.ts";

const MARKETS = Array.from({ length: 500 }, (_, n) => `1.${n}`);
const venue: Venue = {
  door: "websocket",
  target: { host: "127.0.0.1", port: 1, tls: null },
  path: "/v1/ws",
  host: "127.0.0.1:1",
  appKey: "",
  sessions: ["s"],
  marketIds: MARKETS,
};
const plansOf = (workload: Workload, processes: number | null = null) => plansFor(workload, venue, processes, 1);
const counts = (items: readonly string[]) =>
  items.reduce((sum, item) => sum.set(item, (sum.get(item) ?? 0) + 1), new Map<string, number>());

describe("who sits where", () => {
  test("W2 has a hundred users on each market, and as many readers as asked for", () => {
    const seats = plansOf(WORKLOADS.W2 as Workload).flatMap(({ seats }) => seats);
    expect(seats).toHaveLength(10_000);
    expect(new Set(counts(seats.flatMap(({ marketIds }) => marketIds)).values())).toEqual(new Set([100]));
    expect(seats.filter(({ isReader }) => isReader)).toHaveLength(8);
  });

  test("W4 is spread over processes, none with more than it can open, each from addresses of its own", () => {
    const plans = plansOf(WORKLOADS.W4 as Workload);
    expect(plans).toHaveLength(7);
    for (const { seats } of plans) expect(seats.length).toBeLessThanOrEqual(USERS_PER_PROCESS);
    expect(plans.reduce((sum, { seats }) => sum + seats.length, 0)).toBe(100_000);
    expect(plans.reduce((sum, { workload }) => sum + workload.ramp.perSecond, 0)).toBeCloseTo(2_000);
    const sources = plans.flatMap(({ sources }) => sources);
    expect(new Set(sources).size).toBe(7 * 3);
    expect(sources.every((source) => /^127\.0\.0\.\d+$/.test(source))).toBe(true);
  });

  test("of W6's users one in a hundred lags, a quarter each way, in every process", () => {
    const plans = plansOf(WORKLOADS.W6 as Workload, 2);
    for (const { seats } of plans) {
      const kinds = counts(seats.map(({ kind }) => kind));
      expect([...kinds.keys()].sort()).toEqual([
        "neverReads",
        "ordinary",
        "readsSlowly",
        "stalls",
        "stopsAcknowledging",
      ]);
    }
    const all = counts(plans.flatMap(({ seats }) => seats.map(({ kind }) => kind)));
    expect([...all.values()].sort((a, b) => a - b)).toEqual([25, 25, 25, 25, 9_900]);
  });

  test("those whom W5's storm does not cut off have a process to themselves, and are as many as said", () => {
    const plans = plansOf(WORKLOADS.W5 as Workload);
    expect(
      plans.map(({ seats }) => [seats.length, counts(seats.map(({ isShaken }) => String(isShaken))).size]),
    ).toEqual([
      [1_000, 1],
      [10_000, 1],
    ]);
    expect(plans[1]?.seats[0]?.isShaken).toBe(true);
    const mixed = plansOf(WORKLOADS.W5 as Workload, 1);
    expect(mixed[0]?.seats.filter(({ isShaken }) => isShaken)).toHaveLength(10_000);
  });

  test("by Zipf's law the first market is the most wanted, and nobody has one twice", () => {
    const seats = plansOf({ ...(WORKLOADS.W2 as Workload), users: 2_000, zipf: 1 }).flatMap(({ seats }) => seats);
    for (const { marketIds } of seats) expect(new Set(marketIds).size).toBe(5);
    const wanted = counts(seats.flatMap(({ marketIds }) => marketIds));
    expect(wanted.get("1.0")).toBeGreaterThan(5 * (wanted.get("1.99") as number));
  });
});

describe("a workload of one's own", () => {
  test("is as W2 where it says nothing, and says nothing of the rate", () => {
    const W2 = WORKLOADS.W2 as Workload;
    expect(parseWorkload('{"users":7,"laggards":{"stalls":0}}', "own")).toEqual({
      ...W2,
      name: "own",
      users: 7,
      readers: 7,
      laggards: W2.laggards,
      offered: null,
    });
  });

  test("is told what is wrong with it", () => {
    const wrong = (workload: object) => parseWorkload(JSON.stringify(workload), "own");
    expect(wrong({ user: 1 })).toBe('a workload has no "user"; did you mean users?');
    expect(wrong({ users: 1.5 })).toBe("users is a whole number from 1 to 1000000, not 1.5");
    expect(wrong({ fields: ["EX_LPT"] })).toBe("fields has no EX_LPT; did you mean EX_LTP?");
    expect(wrong({ users: 7, readers: 8 })).toBe("of 7 users, 8 cannot be readers");
    expect(wrong({ storm: { atSeconds: 99 } })).toBe("a storm after 99 s is no part of 30 s");
    expect(wrong({ laggards: { stalls: 0.6 } })).toBe("laggards are at most half of the users");
    expect(parseWorkload("{", "own")).toStartWith("it is not JSON");
  });
});
