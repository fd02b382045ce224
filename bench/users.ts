import { Outbox } from "../src/delivery/outbox.ts";
import { WORKLOADS, type Workload } from "../src/load/workload.ts";
import type { BenchOptions } from "./options.ts";
import { type Bar, median, type Report, type Row } from "./table.ts";
import { type Server, Stage, type Turn, type TurnOptions } from "./users-turn.ts";

const RUNS = 5;
const WARM_UP_SECONDS = 3;
/** Twice as fast as users of a load test come, to save time. */
const QUICK = { perSecond: 4_000, handshakesMax: 400 } as const;
/** In one process all users' connections are one's own limit of open files. */
const ONE: Server = { kind: "oddswire", workers: 0 };
const WS: Server = { kind: "ws" };
/** Of 19,000 connections at most each, for 100,000 users; one fewer would not have the sockets. */
const WORKERS = 6;
const W4_LONG_SECONDS = 300;
const RATE_PERCENT_MIN = 98;
/** A load process that takes more of its core measures itself. */
const CLIENT_CPU_MAX = 0.9;
/** `delivery.flushBytesMax` as it is where nobody says otherwise: all that waits for one user, beside control messages. */
const FLUSH_BYTES_MAX = 1024 * 1024;
/** So that who stalls for 30 s is back in time, and the others are not. */
const BEHIND_MS_MAX = 38_000;
const MB = 1e6;

/** What is measured in a turn of ours, and what it is held against: the turn of the other side beside it. */
interface Measure {
  readonly name: string;
  readonly of: (turn: Turn, other: Turn | null) => number | null;
  readonly limit?: { readonly kind: "most" | "least" | "exactly"; readonly value: number };
  /** Must hold in each run; else the median must. */
  readonly isOfEach?: boolean;
  /** Says nothing of the other side alone. */
  readonly isComparison?: boolean;
}

interface UsersBench {
  readonly about: string;
  readonly ours: (run: number) => TurnOptions;
  readonly other: { readonly name: string; readonly options: TurnOptions } | null;
  readonly measures: readonly Measure[];
}

type BenchName = "W2" | "W3" | "W4" | "W5" | "W6" | "W7";

/** `W2` to `W7` of performance.md: fresh processes for each turn, ours and the other side's in turn. */
export function users(name: BenchName): (_: unknown, progress: Progress, options: BenchOptions) => Promise<Report> {
  return async (_files, progress, options) => {
    const bench = BENCHES[name];
    const runs = options.runs ?? RUNS;
    const stage = new Stage(progress);
    const [ours, others]: Turn[][] = [[], []];
    try {
      for (let run = 0; run < runs; run++) {
        progress(`${name}, run ${run + 1} of ${runs}`);
        ours.push(await stage.turn(scaled(bench.ours(run), options)));
        if (bench.other === null) continue;
        progress(`${name}, run ${run + 1} of ${runs}: ${bench.other.name}`);
        others.push(await stage.turn(scaled(bench.other.options, options)));
      }
    } finally {
      await stage.stop();
    }
    for (const { result } of ours) for (const sample of result.samples) console.error(`${name}: ${sample}`);
    return {
      bench: name,
      about: `${bench.about} ${runs} runs${bench.other === null ? "" : `, in turn with ${bench.other.name}`}; medians, with the least and the most.`,
      rows: bench.measures.map((measure) => row(measure, ours, others, bench.other?.name ?? null)),
    };
  };
}

type Progress = (text: string) => void;

/** Smaller or shorter, to see that everything works. */
function scaled(turn: TurnOptions, { seconds, users }: BenchOptions): TurnOptions {
  const { workload } = turn;
  const share = users === undefined ? 1 : users / workload.users;
  return {
    ...turn,
    workload: {
      ...workload,
      users: Math.round(workload.users * share),
      offered: workload.offered === null ? null : workload.offered * share,
      seconds: seconds ?? workload.seconds,
    },
  };
}

function turn(server: Server, feed: string, more: Partial<Workload>): TurnOptions {
  const workload = { ...(WORKLOADS[feed] as Workload), warmUpSeconds: WARM_UP_SECONDS, ...more };
  return { server, feed, workload };
}

/** It lists no markets, and knows no image that a book could begin with. */
function fanout(feed: string, markets: number, more: Partial<Workload>): TurnOptions {
  const marketIds = Array.from({ length: markets }, (_, n) => `1.${260_000_000 + n}`);
  return turn(WS, feed, { markets: { marketIds }, readers: 0, ...more });
}

// ---- what is measured ----

const latency = (name: string, of: (latency: NonNullable<Turn["result"]["latency"]>) => number, limit?: number) =>
  ({
    name: `${name}, ms`,
    of: ({ result }) => result.latency && of(result.latency),
    ...(limit !== undefined && { limit: { kind: "most", value: limit } }),
  }) satisfies Measure;

const none = (name: string, of: (turn: Turn) => number): Measure => ({
  name,
  of,
  limit: { kind: "most", value: 0 },
  isOfEach: true,
});

const plain = (name: string, of: Measure["of"]): Measure => ({ name, of });

/** What must hold in every run, and what it cost. */
const SOUND: readonly Measure[] = [
  {
    name: "users here, %",
    of: ({ result: { users: here } }) => (100 * here.live) / here.ordinary,
    limit: { kind: "least", value: 100 },
    isOfEach: true,
  },
  none("lost changes, or not as others got them", ({ result: { verdict, odd } }) =>
    verdict === null ? odd : verdict.lost + verdict.strays + odd,
  ),
  {
    name: "books checked",
    of: ({ result }) => result.books.checked,
    limit: { kind: "least", value: 1 },
    isOfEach: true,
  },
  none("books wrong or unchecked", ({ result: { books } }) => books.wrong + books.unchecked),
  none("connections lost", ({ result }) => Object.values(result.closes).reduce((sum, count) => sum + count, 0)),
  {
    name: "busiest load process, of its core",
    of: ({ result }) => result.client.busiest,
    limit: { kind: "most", value: CLIENT_CPU_MAX },
    isOfEach: true,
  },
];

const COST: readonly Measure[] = [
  plain("server's CPU, cores", ({ result }) => result.server?.cores ?? null),
  plain("server's memory, MB PSS", ({ result }) => (result.server?.pss ?? Number.NaN) / MB),
  plain("server's memory, MB RSS", ({ result }) => (result.server?.rss ?? Number.NaN) / MB),
  plain("load's CPU, cores", ({ result }) => result.client.cores),
  plain("exchange's CPU, cores", ({ exchangeCpu }) => exchangeCpu),
];

/** Market changes that users were told of, of those that were due. */
const RATE: readonly Measure[] = [
  plain("market changes to users a second", ({ result }) => result.perSecond.changes),
  {
    name: "of the offered, %",
    of: ({ result: { perSecond, offered } }) => (offered === null ? null : (100 * perSecond.changes) / offered),
    limit: { kind: "least", value: RATE_PERCENT_MIN },
    isOfEach: true,
  },
];

const mean = (limit?: number) => latency("latency, mean", (of) => of.mean, limit);
const p50 = (limit?: number) => latency("latency, p50", (of) => of.p50, limit);
const p99 = (limit?: number) => latency("latency, p99", (of) => of.p99, limit);
const p999 = (limit?: number) => latency("latency, p99.9", (of) => of.p999, limit);
const max = latency("latency, most", (of) => of.max);

const W6_LAGGARDS = Object.entries((WORKLOADS.W6 as Workload).laggards);
const laggardsOf = ({ result }: Turn) => result.users.laggards;
const capOf = (turn: Turn) => laggardsOf(turn) * (FLUSH_BYTES_MAX + Outbox.controlBytesMax);

const BENCHES: Readonly<Record<BenchName, UsersBench>> = {
  W2: {
    about:
      "Spread: 10,000 users with 5 of 500 markets each, cadence 0, 100 market changes a second, which are 10,000 deliveries a second. Latency from the exchange's publish time (whole milliseconds, so that up to one of them is rounding) to the user's byte, open loop. One process serves; exchange (TLS) and users are processes of the same two cores.",
    ours: () => turn(ONE, "W2", { seconds: 15, ramp: QUICK }),
    other: { name: "plain ws on Node", options: fanout("W2", 500, { seconds: 10, ramp: QUICK }) },
    measures: [p50(2), p99(20), p999(50), mean(), max, ...RATE, ...SOUND, ...COST],
  },
  W3: {
    about:
      "Hot: 10,000 users on one market with 2 changes a second: each is 10,000 deliveries at once, the last of which waits for all before it. Latency as in W2.",
    ours: () => turn(ONE, "W3", { seconds: 15, ramp: QUICK }),
    other: { name: "plain ws on Node", options: fanout("W3", 1, { seconds: 10, ramp: QUICK }) },
    measures: [p50(60), p99(130), p999(), mean(), max, ...RATE, ...SOUND, ...COST],
  },
  W4: {
    about: `100,000 users over ${WORKERS} workers on one port, 2,000 markets, 5 each, 0.5 changes a second a user. The first run holds them for ${W4_LONG_SECONDS} s, the others for 30 s. Memory: the sum of PSS of all processes of the server, the one that holds the upstream included; what the runtime's program takes is shared with the exchange and the users of this machine, RSS beside it. A run in which a load process took more than ${CLIENT_CPU_MAX} of its core is void.`,
    ours: (run) =>
      turn({ kind: "oddswire", workers: WORKERS }, "W4", {
        seconds: run === 0 ? W4_LONG_SECONDS : 30,
        warmUpSeconds: 5,
        ramp: QUICK,
      }),
    other: null,
    measures: [
      mean(20),
      p99(150),
      p50(),
      p999(),
      max,
      {
        name: "server's memory, MB PSS, all processes",
        of: ({ result }) => (result.server?.pss ?? Number.NaN) / MB,
        limit: { kind: "most", value: 600 },
      },
      plain("users held", ({ result }) => result.users.live),
      plain("until all were there, s", ({ result }) => result.users.rampSeconds),
      ...RATE,
      ...SOUND,
      ...COST.filter(({ name }) => !name.includes("PSS")),
    ],
  },
  W5: {
    about:
      "Storm: of 11,000 users as in W2, 10,000 are reset at once and all come back with their last clk, as fast as 200 handshakes at a time go. The other 1,000 go on meanwhile; their p99 in the 10 s from then on, beside the p99 of the same 11,000 users without a storm.",
    ours: () => turn(ONE, "W5", { seconds: 18, storm: { atSeconds: 5, share: 10 / 11 } }),
    other: { name: "no storm", options: turn(ONE, "W5", { seconds: 10, storm: null, offered: 11_000 }) },
    measures: [
      {
        name: "until all were back, s",
        of: ({ result: { storm } }) => (storm?.backMs == null ? null : storm.backMs / 1_000),
        limit: { kind: "most", value: 10 },
        isComparison: true,
      },
      {
        name: "the others' p99 in the storm, times that without one",
        of: ({ result: { storm } }, other) => ratio(storm?.others?.p99, other?.result.latency?.p99),
        limit: { kind: "most", value: 2 },
        isComparison: true,
      },
      plain(
        "the others' p99, ms",
        ({ result: { storm, latency: all } }) => (storm === null ? all : storm.others)?.p99 ?? null,
      ),
      {
        name: "resumed with what had changed, of those cut off, %",
        of: ({ result: { resumes, workload, users: here } }) =>
          (100 * resumes) / Math.max(1, Math.round(here.ordinary * (workload.storm?.share ?? 0))),
        limit: { kind: "least", value: 100 },
        isOfEach: true,
        isComparison: true,
      },
      {
        name: "told of what was due, at once or merged on coming back, %",
        of: ({ result: { verdict } }) => verdict && ratio(100 * (verdict.due - verdict.lost), verdict.due),
        limit: { kind: "least", value: RATE_PERCENT_MIN },
        isOfEach: true,
      },
      ...SOUND,
      ...COST,
    ],
  },
  W6: {
    about: `Laggards: W2, in which one user in a hundred does not keep up, a quarter of them of each kind (${W6_LAGGARDS.map(([kind]) => kind).join(", ")}: reads nothing at all; 1 KB/s; nothing for 30 s; acknowledges no packets). Each asks for all 500 markets first, so that there is something to be behind with. delivery.behindMsMax is ${BEHIND_MS_MAX / 1_000} s here, so that who stalls for 30 s comes back by itself. The cap is what may wait for one user, delivery.flushBytesMax and some control messages, times the laggards. Beside it the same users without laggards.`,
    ours: () => turn({ ...ONE, behindMsMax: BEHIND_MS_MAX } as Server, "W6", { seconds: 60, ramp: QUICK }),
    other: {
      name: "no laggards",
      options: turn({ ...ONE, behindMsMax: BEHIND_MS_MAX } as Server, "W2", { seconds: 18, ramp: QUICK }),
    },
    measures: [
      {
        name: "the others' p99, times that without laggards",
        of: ({ result }, other) => ratio(result.latency?.p99, other?.result.latency?.p99),
        limit: { kind: "most", value: 1.2 },
        isComparison: true,
      },
      p50(),
      p99(),
      p999(),
      {
        name: "waited for laggards at most, of the cap, %",
        of: (turn) => ratio(100 * (turn.result.behindBytesMax ?? Number.NaN), capOf(turn)),
        limit: { kind: "most", value: 100 },
        isOfEach: true,
        isComparison: true,
      },
      {
        name: "highest RSS, more than without laggards, of that cap, %",
        of: (turn, other) => (other === null ? null : (100 * (turn.rssMost - other.rssMost)) / capOf(turn)),
        limit: { kind: "most", value: 100 },
        isComparison: true,
      },
      {
        name: "told SLOW, of those who never came back, %",
        of: ({ result: { serverCloses, laggards } }) => {
          const gone = Object.entries(laggards).filter(([kind]) => kind !== "stalls");
          return ratio(
            100 * (serverCloses?.SLOW ?? 0),
            gone.reduce((sum, [, { users: count }]) => sum + count, 0),
          );
        },
        limit: { kind: "exactly", value: 100 },
        isOfEach: true,
        isComparison: true,
      },
      {
        name: "back in step, of those who stalled, %",
        of: ({ result: { laggards } }) => {
          const { stalls } = laggards;
          return stalls === undefined ? null : (100 * Math.min(stalls.here, stalls.caughtUp)) / stalls.users;
        },
        limit: { kind: "exactly", value: 100 },
        isOfEach: true,
        isComparison: true,
      },
      plain("merged messages that brought one of them there", ({ result: { laggards } }) =>
        ratio(laggards.stalls?.merged, laggards.stalls?.caughtUp),
      ),
      ...RATE,
      ...SOUND,
      ...COST,
    ],
  },
  W7: {
    about:
      "Idle: 19,500 users with 5 of 500 markets each, nothing moving but heartbeats. Memory a user: what the server's process takes with them more than before they came, when 2,000 others had come and gone, subscriptions included, by RSS, and by PSS, which is less as users' processes share the runtime's program with it. What the kernel takes for sockets is no part of either.",
    ours: () => ({ ...turn(ONE, "W7", { seconds: 15, warmUpSeconds: 5 }), first: 2_000 }),
    other: null,
    measures: [
      {
        name: "memory a user, KB RSS",
        of: ({ result, before }) => ratio((result.server?.rss ?? Number.NaN) - before.rss, result.users.live * 1e3),
        limit: { kind: "most", value: 2.5 },
      },
      plain("memory a user, KB PSS", ({ result, before }) =>
        ratio((result.server?.pss ?? Number.NaN) - (before.pss ?? Number.NaN), result.users.live * 1e3),
      ),
      plain("the same with what its first users cost it, KB RSS", ({ result, cold }) =>
        ratio((result.server?.rss ?? Number.NaN) - cold.rss, result.users.live * 1e3),
      ),
      plain("before they came, MB RSS", ({ before }) => before.rss / MB),
      plain("before the first came, MB RSS", ({ cold }) => cold.rss / MB),
      plain("at its highest, MB RSS", ({ rssMost }) => rssMost / MB),
      plain("users held", ({ result }) => result.users.live),
      plain("until all were there, s", ({ result }) => result.users.rampSeconds),
      ...SOUND,
      ...COST,
    ],
  },
};

function ratio(value: number | null | undefined, by: number | null | undefined): number | null {
  return value == null || by == null || by === 0 ? null : value / by;
}

// ---- rows ----

function row(measure: Measure, ours: readonly Turn[], others: readonly Turn[], otherName: string | null): Row {
  const { name, of, limit, isOfEach = false, isComparison = false } = measure;
  const values = ours.map((turn, run) => of(turn, others[run] ?? null));
  const known = values.filter((value) => value !== null && !Number.isNaN(value)) as number[];
  const beside = isComparison ? [] : others.map((turn) => of(turn, null)).filter((value) => value !== null);
  const holds = (value: number) =>
    limit === undefined ||
    (limit.kind === "most"
      ? value <= limit.value
      : limit.kind === "least"
        ? value >= limit.value
        : value === limit.value);
  const isWhole = known.length === values.length;
  const passed = limit === undefined || (isWhole && (isOfEach ? known.every(holds) : holds(median(known))));
  const bar: Bar | null =
    limit?.kind === "most" && !isOfEach && known.length > 0
      ? {
          ours: known,
          limit: limit.value,
          ...(otherName !== null && beside.length > 0 && { other: { name: otherName, values: beside } }),
        }
      : null;
  return {
    name,
    values: {
      measured: isWhole ? spread(known) : "not known",
      "to reach":
        limit === undefined
          ? ""
          : `${SIGNS[limit.kind]} ${limit.value}${isOfEach && ours.length > 1 ? " in each" : ""}`,
      ...(otherName !== null && { [otherName]: spread(beside) }),
    },
    passed,
    runs: values,
    ...(bar !== null && { bar }),
  };
}

const SIGNS = { most: "≤", least: "≥", exactly: "=" } as const;

/** The median, and between what. */
function spread(values: readonly number[]): string {
  if (values.length === 0) return "";
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return least === most ? shown(least) : `${shown(median(values))} (${shown(least)} to ${shown(most)})`;
}

function shown(value: number): string {
  return Math.abs(value) >= 1_000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
