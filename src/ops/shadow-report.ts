import type { Latencies } from "../base/latencies.ts";
import { FINDING_KINDS, type FindingKind } from "./shadow-pair.ts";

/** One difference between the two sides. */
export interface Finding {
  readonly kind: FindingKind;
  readonly market: string;
  /** When it was seen, ISO 8601. */
  readonly at: string;
  /** For people: where, and both values. */
  readonly what: string;
}

export interface SideReport {
  /** "stream-api.betfair.com:443" */
  readonly address: string;
  readonly markets: number;
  /** How often a market's book came to be another, while both sides were there. */
  readonly states: number;
  readonly messages: number;
  readonly bytes: number;
  /** Connections made: more than one, and it had to come back. */
  readonly connects: number;
  /** In force, as the other end says; null until it does. */
  readonly conflateMs: number | null;
}

/** A time in which nothing was compared. */
export interface Pause {
  readonly at: string;
  readonly seconds: number;
  readonly reason: string;
}

/** What `oddswire shadow` found, as `--json` and `--report` write it. */
export interface ShadowReport {
  readonly startedAt: string;
  /** Since both sides were there for the first time, pauses included. */
  readonly seconds: number;
  readonly direct: SideReport;
  readonly through: SideReport;
  readonly marketsCompared: number;
  readonly statesMatched: number;
  /** Direct states that were rightly passed over, as changes were merged. */
  readonly statesConflated: number;
  /** States that nobody can judge: the direct side merged changes itself, or too many came at once. */
  readonly statesUnjudged: number;
  /** How far behind the direct side matched states came, milliseconds; negative: ahead of it. Null while there are none. */
  readonly latencyMs: Record<"min" | "p50" | "p90" | "p99" | "p999" | "max", number> | null;
  readonly pauses: { readonly count: number; readonly seconds: number; readonly samples: readonly Pause[] };
  readonly findings: {
    readonly total: number;
    readonly counts: Readonly<Record<FindingKind, number>>;
    /** At most `SAMPLES_MAX` of a kind, in the order of their times. */
    readonly samples: readonly Finding[];
  };
}

/** Of each kind of finding, and of pauses, so many are told; all are counted. */
export const SAMPLES_MAX = 20;

/** Findings as they come: counted, and the first of each kind kept. */
export class Findings {
  total = 0;
  readonly counts = Object.fromEntries(FINDING_KINDS.map((kind) => [kind, 0])) as Record<FindingKind, number>;
  readonly samples: Finding[] = [];

  /** True: it is among those told. */
  add(finding: Finding): boolean {
    this.total++;
    const isTold = ++this.counts[finding.kind] <= SAMPLES_MAX;
    if (isTold) this.samples.push(finding);
    return isTold;
  }
}

export function latencySummary(latencies: Latencies): ShadowReport["latencyMs"] {
  const { count, min, max } = latencies;
  if (count === 0) return null;
  const at = (share: number) => rounded(latencies.quantile(share) as number);
  return { min: rounded(min), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: rounded(max) };
}

/** The report as a page for people. */
export function reportText(report: ShadowReport): string {
  const { direct, through, findings, pauses } = report;
  return [
    `Compared ${(report.seconds / 60).toFixed(1)} minutes, from ${report.startedAt}.`,
    "",
    row("", "direct", "through Oddswire"),
    row("address", direct.address, through.address),
    row("conflateMs in force", direct.conflateMs ?? "-", through.conflateMs ?? "-"),
    ...SIDE_ROWS.map((name) => row(name, direct[name], through[name])),
    "",
    `Markets compared: ${thousands(report.marketsCompared)}. States matched: ${thousands(report.statesMatched)}; passed over by conflation: ${thousands(report.statesConflated)}; not to be judged: ${thousands(report.statesUnjudged)}.`,
    ...(direct.conflateMs
      ? [
          `The exchange conflates the direct side by ${direct.conflateMs} ms: most states cannot be judged. Is it a delayed app key?`,
        ]
      : []),
    `Latency against the direct side: ${latencyWords(report)}.`,
    pauses.count === 0 ? "No pauses." : `Paused ${pauses.count} times, ${pauses.seconds} s in all:`,
    ...pauses.samples.map(({ at, seconds, reason }) => `  ${at}  ${seconds} s  ${reason}`),
    findings.total === 0
      ? "Findings: none."
      : `Findings: ${thousands(findings.total)} (${kindsWords(findings.counts)}).`,
    ...findings.samples.map(findingLine),
    ...(findings.total > findings.samples.length
      ? [`  and ${thousands(findings.total - findings.samples.length)} more`]
      : []),
  ].join("\n");
}

/** A finding as a line. */
export function findingLine({ at, kind, market, what }: Finding): string {
  return `  ${at}  ${kind.padEnd(12)}  ${market}  ${what}`;
}

export function latencyWords({ latencyMs }: Pick<ShadowReport, "latencyMs">): string {
  if (latencyMs === null) return "nothing was matched";
  const { p50, p90, p99, p999, max } = latencyMs;
  return `p50 ${p50} ms, p90 ${p90}, p99 ${p99}, p99.9 ${p999}, max ${max}`;
}

export function kindsWords(counts: Readonly<Record<FindingKind, number>>): string {
  return FINDING_KINDS.filter((kind) => counts[kind] > 0)
    .map((kind) => `${thousands(counts[kind])} ${kind}`)
    .join(", ");
}

export function thousands(count: number): string {
  return count.toLocaleString("en-US");
}

const SIDE_ROWS = ["markets", "states", "messages", "bytes", "connects"] as const;

function row(name: string, ...values: readonly (string | number)[]): string {
  const cells = values.map((value) => (typeof value === "number" ? thousands(value) : value).padStart(30));
  return `${name.padEnd(20)}${cells.join("")}`;
}

function rounded(ms: number): number {
  return Number(ms.toPrecision(3));
}
