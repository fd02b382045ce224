import { FAULTS } from "../base/errors.ts";
import type { Latencies } from "../base/latencies.ts";
import type { LaggardsEnd } from "./crowd.ts";
import type { Door } from "./dialect.ts";
import type { Verdict } from "./peers.ts";
import type { LaggardKind, Workload } from "./workload.ts";

/** What a run must reach to pass; null: no matter. */
export interface Thresholds {
  readonly meanMs: number | null;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly p999Ms: number | null;
  /** Of the market changes a second that were due, at least such a share. */
  readonly minRate: number | null;
  /** Changes lost or not as sent to others, and wrong books, together. */
  readonly maxWrong: number | null;
  /** Connections of ordinary users that ended and were meant to stay. */
  readonly maxCloses: number | null;
  /** From the storm until everybody is back. */
  readonly stormSeconds: number | null;
  readonly serverCores: number | null;
  readonly serverMb: number | null;
  /** What one process of the crowd may take of its core; beyond it, it measures itself. */
  readonly maxClientCpu: number;
}

export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** A second of the run. */
export interface Second {
  /** Since the first user was dialled. */
  readonly at: number;
  readonly phase: "ramp" | "warm-up" | "measured";
  readonly users: number;
  readonly messages: number;
  readonly changes: number;
  readonly bytes: number;
  /** Milliseconds; null where there were no messages. */
  readonly p50: number | null;
  readonly p99: number | null;
  readonly max: number | null;
  /** Cores. */
  readonly serverCpu: number | null;
  readonly clientCpu: number;
  readonly serverRss: number | null;
}

export interface Check {
  readonly name: string;
  readonly value: number | null;
  readonly limit: string;
  readonly passed: boolean;
}

/** What a run came to; what `--json` prints. Milliseconds, bytes, cores. */
export interface LoadResult {
  readonly url: string;
  readonly door: Door;
  readonly serverVersion: string | null;
  readonly startedAt: string;
  readonly workload: Workload;
  readonly markets: number;
  readonly processes: number;
  /** Measured, without ramp and warm-up. */
  readonly seconds: number;
  readonly users: {
    readonly ordinary: number;
    readonly live: number;
    readonly laggards: number;
    readonly rampSeconds: number;
  };
  /** From publish time to receipt, ordinary users. */
  readonly latency: LatencySummary | null;
  /** From dialling to the image, or to what changed since. */
  readonly arrival: LatencySummary | null;
  /** `shared`: both ends read the same clock. `quickest`: counted from the quickest message, which took half a connect. */
  readonly clock: { readonly kind: "shared" | "quickest"; readonly offsetMs: number };
  readonly perSecond: { readonly messages: number; readonly changes: number; readonly bytes: number };
  /** Market changes a second that all ordinary users together were due; null where nobody knows. */
  readonly offered: number | null;
  /** Null where changes are merged (`conflateMs`), and books alone are compared. */
  readonly verdict: Omit<Verdict, "samples"> | null;
  readonly books: { readonly checked: number; readonly wrong: number; readonly unchecked: number };
  readonly images: number;
  readonly resumes: number;
  readonly stale: number;
  readonly odd: number;
  readonly closes: Readonly<Record<string, number>>;
  readonly laggards: Readonly<Partial<Record<LaggardKind, LaggardsResult>>>;
  readonly churned: number;
  /** Until all were back, and meanwhile the latency of those who had not been cut off. */
  readonly storm: { readonly backMs: number | null; readonly others: LatencySummary | null } | null;
  /** Cores of the busiest process, and of all together; memory of all. */
  readonly client: { readonly busiest: number; readonly cores: number; readonly rss: number };
  /** Null where it does not run on this machine, or nobody may look. */
  readonly server: {
    readonly pids: readonly number[];
    readonly cores: number;
    readonly rss: number;
    readonly pss: number | null;
    /** When the measurement began, and laggards began to lag. */
    readonly rssBefore: number;
    /** More than before anybody came, a user. */
    readonly rssPerUser: number;
    readonly cpuPerUserMicros: number;
  } | null;
  /** Why connections ended while it was measured, by the server's own count; null where it was not asked. */
  readonly serverCloses: Readonly<Record<string, number>> | null;
  /** The most that was seen to wait, in the server's process, for all who were behind together; null where it was not asked. */
  readonly behindBytesMax: number | null;
  /** In words, what was wrong; some of it. */
  readonly samples: readonly string[];
  readonly series: readonly Second[];
  /** [milliseconds, messages] */
  readonly histogram: readonly (readonly [number, number])[];
  readonly checks: readonly Check[];
  readonly passed: boolean;
}

/** Laggards of one kind. */
export interface LaggardsResult extends LaggardsEnd {
  /** By which code so many were told why they were let go; who does not read sees a reset instead, and only the server knows why. */
  readonly told: Readonly<Record<string, number>>;
}

/** Of connections that ended, those that heard a code. */
export function toldOf(closes: Readonly<Record<string, number>>): Record<string, number> {
  const told: Record<string, number> = {};
  for (const [why, count] of Object.entries(closes)) {
    const [, code = ""] = /^([A-Z_]+):/.exec(why) ?? [];
    if (code in FAULTS) told[code] = (told[code] ?? 0) + count;
  }
  return told;
}

export function summary(latencies: Latencies): LatencySummary | null {
  const { count, mean, max } = latencies;
  if (count === 0 || mean === null) return null;
  const at = (share: number) => rounded(latencies.quantile(share) as number);
  return { count, mean: rounded(mean), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: rounded(max) };
}

/** What must hold, and whether it does. */
export function checksOf(result: Omit<LoadResult, "checks" | "passed">, limits: Thresholds): Check[] {
  const { latency, verdict, books, client, server, storm, users, workload } = result;
  const most = (name: string, value: number | null | undefined, limit: number | null): Check[] =>
    limit === null
      ? []
      : [{ name, value: value ?? null, limit: `≤ ${limit}`, passed: value != null && value <= limit }];
  const isMoving = result.offered !== 0;
  const closes = sum(result.closes);
  // By their peers' word it is known to the last one what was due.
  const byPeers = verdict && verdict.due > 0 ? verdict.got / verdict.due : null;
  const byOffer = result.offered ? result.perSecond.changes / result.offered : null;
  const rate = workload.offered === null ? byPeers : byOffer;
  return [
    here(users, workload),
    ...(isMoving && limits.minRate !== null && result.offered !== null
      ? [
          {
            name: "rate, of what was due",
            value: rate === null ? null : rounded(rate),
            limit: `≥ ${limits.minRate}`,
            passed: rate !== null && rate >= limits.minRate,
          },
        ]
      : []),
    ...(isMoving
      ? [
          ...most("mean, ms", latency?.mean, limits.meanMs),
          ...most("p50, ms", latency?.p50, limits.p50Ms),
          ...most("p99, ms", latency?.p99, limits.p99Ms),
          ...most("p99.9, ms", latency?.p999, limits.p999Ms),
        ]
      : []),
    ...most("lost changes", verdict?.lost ?? 0, limits.maxWrong),
    ...most("changes not as others got them", verdict?.strays ?? 0, limits.maxWrong),
    ...most("wrong books", books.wrong, limits.maxWrong),
    ...most("odd messages", result.odd, limits.maxWrong),
    ...(workload.readers > 0
      ? [
          {
            name: "books checked",
            value: books.checked,
            limit: "> 0, none unchecked",
            passed: books.checked > 0 && books.unchecked === 0,
          },
        ]
      : []),
    ...most("unexpected closes", closes, limits.maxCloses),
    ...(storm === null
      ? []
      : [
          {
            name: "everybody back after the storm, s",
            value: storm.backMs === null ? null : rounded(storm.backMs / 1_000),
            limit: limits.stormSeconds === null ? "all" : `≤ ${limits.stormSeconds}`,
            passed: storm.backMs !== null && storm.backMs <= (limits.stormSeconds ?? Number.POSITIVE_INFINITY) * 1_000,
          },
        ]),
    ...most("server's CPU, cores", server?.cores, limits.serverCores),
    ...most("server's memory, MB", server === null ? null : (server.pss ?? server.rss) / 1e6, limits.serverMb),
    ...most("busiest load process, cores", rounded(client.busiest), limits.maxClientCpu),
  ];
}

/** Everybody, but for those who left within the last second so that others come. */
function here({ live, ordinary }: LoadResult["users"], { churnPerSecond }: Workload): Check {
  const least = ordinary - Math.ceil(churnPerSecond);
  return {
    name: "users here",
    value: live,
    limit: `${churnPerSecond === 0 ? "=" : "≥"} ${least}`,
    passed: live >= least && live <= ordinary,
  };
}

/** The result as a page for a terminal. */
export function resultText(result: LoadResult): string {
  const { users, latency, arrival, clock, perSecond, verdict, books, server, client, workload } = result;
  const lines = [
    `${workload.name} against ${result.url} (${result.door}${result.serverVersion === null ? "" : `, Oddswire ${result.serverVersion}`}), ${result.seconds.toFixed(0)} s measured from ${result.startedAt}`,
    "",
    row(
      "users",
      `${number(users.live)} of ${number(users.ordinary)} here`,
      `came within ${users.rampSeconds.toFixed(1)} s, image after ${shown(arrival)} each`,
    ),
    row("messages", `${number(perSecond.messages)}/s`, `${bytes(perSecond.bytes)}/s`),
    row(
      "market changes",
      `${number(perSecond.changes)}/s`,
      result.offered === null ? "" : `${number(result.offered)}/s were due`,
    ),
    row("latency", latency === null ? "no messages" : shown(latency), clockWords(clock)),
    row(
      "sent to each alike",
      verdict === null ? "not compared (merged)" : `${number(verdict.got)} of ${number(verdict.due)} changes`,
      verdict === null
        ? ""
        : `${number(verdict.lost)} lost, ${number(verdict.strays)} differ, ${number(verdict.merged)} merged for who was behind`,
    ),
    row(
      "books",
      `${number(books.checked)} checked`,
      `${number(books.wrong)} wrong, ${number(books.unchecked)} unchecked`,
    ),
    row(
      "images, resumes",
      `${number(result.images)}, ${number(result.resumes)}`,
      result.stale > 0 ? `${number(result.stale)} messages said 503` : "",
    ),
    ...(result.churned > 0 ? [row("churn", `${number(result.churned)} left`, "and others came")] : []),
    ...(result.storm !== null
      ? [
          row(
            "storm",
            result.storm.backMs === null
              ? "not all came back"
              : `all back after ${(result.storm.backMs / 1_000).toFixed(1)} s`,
            result.storm.others === null ? "" : `meanwhile the others: ${shown(result.storm.others)}`,
          ),
        ]
      : []),
    ...Object.entries(result.closes).map(([why, count]) => row("closed", number(count), why)),
    ...Object.entries(result.laggards).flatMap(([kind, laggards]) => [
      row("laggards", `${number(laggards.users)} ${kind}`, laggardsWords(laggards)),
      ...Object.entries(laggards.closes).map(([why, count]) => row("", `  ${number(count)} closed`, why)),
    ]),
    ...(laggardsMemory(result) === null
      ? []
      : [row("memory with them", ...(laggardsMemory(result) as [string, string]))]),
    server === null
      ? row("server", "not on this machine, or not to be seen")
      : row(
          "server",
          `${server.cores.toFixed(3)} cores`,
          `${bytes(server.pss ?? server.rss)} ${server.pss === null ? "RSS" : "PSS"}; a user: ${server.cpuPerUserMicros.toFixed(1)} µs/s, ${bytes(server.rssPerUser)}`,
        ),
    ...(result.serverCloses === null ? [] : [row("server closed", closesWords(result.serverCloses))]),
    row(
      "load",
      `${client.cores.toFixed(3)} cores`,
      `${result.processes} process${result.processes === 1 ? "" : "es"}, the busiest ${client.busiest.toFixed(2)} of its core; ${bytes(client.rss)}`,
    ),
    "",
    ...result.checks.map(
      ({ name, value, limit, passed }) =>
        `${passed ? "ok  " : "FAIL"}  ${name.padEnd(36)}${(value === null ? "-" : number(value)).padStart(12)}   ${limit}`,
    ),
    ...(result.samples.length > 0 ? ["", "What was wrong:", ...result.samples.map((sample) => `  ${sample}`)] : []),
    "",
    result.passed ? "passed" : verdictWords(result),
  ];
  return lines.join("\n");
}

/** A run in which the load measured itself says nothing about the server. */
export function verdictWords({ checks, client }: LoadResult): string {
  const busy = checks.find(({ name }) => name.startsWith("busiest"));
  return busy && !busy.passed
    ? `VOID: a load process took ${client.busiest.toFixed(2)} of its core, so it measured itself; use more --processes, or another machine`
    : "FAILED";
}

/** What became of laggards of a kind, in words. */
export function laggardsWords({ here, caughtUp, merged, told, closes }: LaggardsResult): string {
  const gone = sum(closes);
  const untold = gone - sum(told);
  return [
    `${number(here)} still here`,
    `${number(caughtUp)} back in step${caughtUp === 0 ? "" : ` by ${number(merged)} merged message${merged === 1 ? "" : "s"}`}`,
    ...Object.entries(told).map(([code, count]) => `${number(count)} told ${code}`),
    ...(untold === 0 ? [] : [`${number(untold)} gone unread`]),
  ].join(", ");
}

/** What the server's memory did while there were laggards, in two parts; null where there were none, or nobody knows. */
export function laggardsMemory({ laggards, server, behindBytesMax }: LoadResult): [string, string] | null {
  if (Object.keys(laggards).length === 0) return null;
  const waited = behindBytesMax === null ? "" : `at most ${bytes(behindBytesMax)} waited for who was behind`;
  if (server === null) return waited === "" ? null : ["not to be seen", waited];
  return [
    `${bytes(server.rss)} RSS`,
    [`${bytes(server.rssBefore)} before`, waited].filter((part) => part !== "").join("; "),
  ];
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

export function closesWords(closes: Readonly<Record<string, number>>): string {
  return (
    Object.entries(closes)
      .map(([code, count]) => `${number(count)} ${code}`)
      .join(", ") || "nobody"
  );
}

function clockWords({ kind, offsetMs }: LoadResult["clock"]): string {
  return kind === "shared" ? "" : `counted from the quickest message (clocks differ by ${rounded(offsetMs)} ms)`;
}

function shown(latency: LatencySummary | null): string {
  if (latency === null) return "-";
  const { mean, p50, p99, p999, max } = latency;
  return `p50 ${p50} ms, p99 ${p99}, p99.9 ${p999}, max ${max}, mean ${mean}`;
}

function row(name: string, value: string, more = ""): string {
  return `${name.padEnd(20)}${value.padEnd(28)}${more === "" ? "" : `  ${more}`}`.trimEnd();
}

export function number(value: number): string {
  return Math.abs(value) >= 1_000
    ? Math.round(value).toLocaleString("en-US")
    : String(Math.round(value * 1_000) / 1_000);
}

export function bytes(count: number): string {
  if (Math.abs(count) >= 1e9) return `${(count / 1e9).toFixed(2)} GB`;
  if (Math.abs(count) >= 1e6) return `${(count / 1e6).toFixed(1)} MB`;
  return `${(count / 1e3).toFixed(1)} KB`;
}

export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
