import { nearest } from "../base/nearest.ts";

/** What somebody does who does not keep up, from the beginning of the measurement on: `readsSlowly` 1 KB/s, `stalls` once, for `stallSeconds`. */
export const LAGGARD_KINDS = ["neverReads", "readsSlowly", "stalls", "stopsAcknowledging"] as const;
export type LaggardKind = (typeof LAGGARD_KINDS)[number];

/** Which of the server's markets are used: values within a list are ORed, lists ANDed. An absent list lets everything pass. */
export interface MarketChoice {
  readonly marketIds?: readonly string[];
  readonly eventTypeIds?: readonly string[];
  readonly eventIds?: readonly string[];
  readonly marketTypes?: readonly string[];
  readonly countryCodes?: readonly string[];
}

/** Who comes, what they ask for, and how they behave. */
export interface Workload {
  readonly name: string;
  /** Ordinary ones and laggards together. */
  readonly users: number;
  readonly markets: MarketChoice;
  /** The first so many of those are used; 0: all. */
  readonly marketsMax: number;
  /** Markets of one user, in one subscription. */
  readonly marketsEach: number;
  /** The exponent of Zipf's law by which users choose markets; 0: as evenly as can be. */
  readonly zipf: number;
  readonly fields: readonly string[];
  readonly ladderLevels: number;
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  /** Shares of the users. When they begin to lag they ask for every market, so that there is something to be behind with. */
  readonly laggards: Readonly<Record<LaggardKind, number>>;
  readonly stallSeconds: number;
  /** So many users leave each second, and others come in their place; a quarter of the users takes turns. */
  readonly churnPerSecond: number;
  /** A share of the users is cut off at once, so long after the measurement began, and all come back. */
  readonly storm: { readonly atSeconds: number; readonly share: number } | null;
  readonly ramp: { readonly perSecond: number; readonly handshakesMax: number };
  readonly warmUpSeconds: number;
  readonly seconds: number;
  /** How many users keep books, which are compared with a newcomer's at the end. */
  readonly readers: number;
  /** Market changes a second that all users together are due, where the feed is known; null: what they were due by what their peers got. */
  readonly offered: number | null;
}

const NO_LAGGARDS = { neverReads: 0, readsSlowly: 0, stalls: 0, stopsAcknowledging: 0 } as const;

/** W2, "spread": about 100 users a market where there are 500, which change 100 times a second. */
const SPREAD: Workload = {
  name: "W2",
  users: 10_000,
  markets: {},
  marketsMax: 0,
  marketsEach: 5,
  zipf: 0,
  fields: ["EX_ALL_OFFERS", "EX_LTP", "EX_MARKET_DEF"],
  ladderLevels: 10,
  conflateMs: 0,
  heartbeatMs: 5_000,
  laggards: NO_LAGGARDS,
  stallSeconds: 30,
  churnPerSecond: 0,
  storm: null,
  ramp: { perSecond: 2_000, handshakesMax: 200 },
  warmUpSeconds: 5,
  seconds: 30,
  readers: 8,
  offered: 10_000,
};

/** The workloads of performance.md from the users' side. What the feed does for them stands in `sim/world-w1.ts`; both together in `bench/workloads.ts`. */
export const WORKLOADS: Readonly<Record<string, Workload>> = {
  W2: SPREAD,
  W3: { ...SPREAD, name: "W3", marketsMax: 1, marketsEach: 1, offered: 20_000 },
  W4: { ...SPREAD, name: "W4", users: 100_000, seconds: 300, offered: 50_000 },
  // 10,000 are cut off, and the others must not feel it.
  W5: { ...SPREAD, name: "W5", users: 11_000, storm: { atSeconds: 10, share: 10 / 11 }, offered: null },
  W6: {
    ...SPREAD,
    name: "W6",
    laggards: { neverReads: 0.0025, readsSlowly: 0.0025, stalls: 0.0025, stopsAcknowledging: 0.0025 },
    seconds: 60,
    offered: 9_900,
  },
  W7: { ...SPREAD, name: "W7", users: 19_500, seconds: 60, offered: 0 },
  W8a: { ...SPREAD, name: "W8a", marketsMax: 1, marketsEach: 1, offered: null },
  W8b: { ...SPREAD, name: "W8b", marketsMax: 10, marketsEach: 10, offered: null },
};

/** Fields the exchange has a flag for. */
const FIELDS = [
  "EX_BEST_OFFERS_DISP",
  "EX_BEST_OFFERS",
  "EX_ALL_OFFERS",
  "EX_TRADED",
  "EX_TRADED_VOL",
  "EX_LTP",
  "EX_MARKET_DEF",
  "SP_TRADED",
  "SP_PROJECTED",
];

type Check = (value: unknown, name: string) => string | null;

const CHECKS: Readonly<Record<keyof Workload, Check>> = {
  name: (value, name) => (typeof value === "string" ? null : `${name} is a text`),
  users: whole(1, 1_000_000),
  markets: record({
    marketIds: texts(),
    eventTypeIds: texts(),
    eventIds: texts(),
    marketTypes: texts(),
    countryCodes: texts(),
  }),
  marketsMax: whole(0, 100_000),
  marketsEach: whole(1, 1_000),
  zipf: number(0, 10),
  fields: texts(FIELDS),
  ladderLevels: whole(1, 10),
  conflateMs: whole(0, 120_000),
  heartbeatMs: whole(500, 5_000),
  laggards: record(Object.fromEntries(LAGGARD_KINDS.map((kind) => [kind, number(0, 1)]))),
  stallSeconds: number(0.1, 86_400),
  churnPerSecond: number(0, 100_000),
  storm: orNull(record({ atSeconds: number(0, 86_400), share: number(0, 1) })),
  ramp: record({ perSecond: number(1, 1_000_000), handshakesMax: whole(1, 10_000) }),
  warmUpSeconds: number(0, 86_400),
  seconds: number(1, 86_400 * 7),
  readers: whole(0, 1_000),
  offered: orNull(number(0, 1e9)),
};

/** A workload from a JSON file: what it leaves out is as in W2, but that nothing is said of the rate. Or what is wrong with it, in words. */
export function parseWorkload(text: string, name: string): Workload | string {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    return `it is not JSON (${(error as Error).message})`;
  }
  const wrong = record(CHECKS)(given, "a workload");
  if (wrong !== null) return wrong;
  const { laggards, ramp, storm, ...rest } = given as Partial<Workload>;
  const workload: Workload = {
    ...SPREAD,
    name,
    offered: null,
    ...rest,
    laggards: { ...NO_LAGGARDS, ...laggards },
    ramp: { ...SPREAD.ramp, ...ramp },
    readers: rest.readers ?? Math.min(SPREAD.readers, rest.users ?? SPREAD.users),
    storm: storm == null ? null : { ...{ atSeconds: 10, share: 1 }, ...storm },
  };
  return contradiction(workload) ?? workload;
}

/** What does not go together; null where all does. */
export function contradiction({ laggards, users, readers, storm, seconds }: Workload): string | null {
  const share = LAGGARD_KINDS.reduce((sum, kind) => sum + laggards[kind], 0);
  if (share > 0.5) return "laggards are at most half of the users";
  if (readers > users * (1 - share)) return `of ${users} users, ${readers} cannot be readers`;
  if (storm !== null && storm.atSeconds >= seconds)
    return `a storm after ${storm.atSeconds} s is no part of ${seconds} s`;
  return null;
}

function number(least: number, most: number, isFit: (value: number) => boolean = () => true): Check {
  return (value, name) =>
    typeof value === "number" && value >= least && value <= most && isFit(value)
      ? null
      : `${name} is a ${isFit === Number.isInteger ? "whole " : ""}number from ${least} to ${most}, not ${JSON.stringify(value)}`;
}

function whole(least: number, most: number): Check {
  return number(least, most, Number.isInteger);
}

function texts(known?: readonly string[]): Check {
  return (value, name) => {
    if (!Array.isArray(value) || value.some((one) => typeof one !== "string")) return `${name} is a list of texts`;
    const odd = known && (value as string[]).find((one) => !known.includes(one));
    return odd === undefined ? null : `${name} has no ${odd}${hint(odd, known as string[])}`;
  };
}

function orNull(check: Check): Check {
  return (value, name) => (value === null ? null : check(value, name));
}

function record(checks: Readonly<Record<string, Check>>): Check {
  return (value, name) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return `${name} is an object`;
    for (const [key, one] of Object.entries(value)) {
      if (!Object.hasOwn(checks, key)) return `${name} has no "${key}"${hint(key, Object.keys(checks))}`;
      const wrong = (checks[key] as Check)(one, key);
      if (wrong !== null) return wrong;
    }
    return null;
  };
}

function hint(word: string, known: readonly string[]): string {
  const meant = nearest(word, known);
  return meant === null ? `; there is ${known.join(", ")}` : `; did you mean ${meant}?`;
}
