import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { chart } from "./chart.ts";
import type { Report, Row } from "./table.ts";

const RESULTS = fileURLToPath(new URL("results/", import.meta.url));
const PICTURES = fileURLToPath(new URL("../docs/img/", import.meta.url));
const PAGE = fileURLToPath(new URL("../docs/BENCHMARKS.md", import.meta.url));

/** A report as it is kept: what was measured, on what, of which commit. */
interface Result extends Report {
  readonly date: string;
  readonly commit: string;
  readonly bun: string;
  readonly machine: string;
}

/** Keeps the report in bench/results/ and makes docs/BENCHMARKS.md anew from all that are there. */
export function keep(report: Report): void {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}`;
  const result: Result = { ...report, date: new Date().toISOString().slice(0, 10), commit, bun: Bun.version, machine };
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(`${RESULTS}${report.bench}.json`, `${JSON.stringify(result, null, 2)}\n`);
  const picture = chart(report);
  if (picture !== null) writeFileSync(`${PICTURES}${pictureOf(report)}`, picture);
  writeFileSync(
    PAGE,
    page(
      readdirSync(RESULTS)
        .sort()
        .map((name) => JSON.parse(readFileSync(RESULTS + name, "utf8")) as Result),
    ),
  );
}

const ABOUT: Readonly<Record<string, string>> = {
  esa: "2,000 plain ESA clients over TLS, conflateMs 0, at one gateway with the 500 markets of W2 (100 changes a second), and the same clients straight at the simulated exchange; fresh processes for each, in turn, two rounds, means. Every message was held against what the others got; eight clients kept whole books, compared at the end with a newcomer's. Latency from the exchange's publish time to the client, milliseconds.",
  "before-after":
    "The old way and ours. A fleet of Python processes, each with a connection to the exchange and a betfairlightweight stream of its own (full mode, orjson, on a thread, a queue to the event loop), feeding 50 users each over WebSocket (`websockets`, asyncio), with the whole book of each market that changed, written once a process and change; and one Oddswire with the same users over its WebSocket door. All settings as these libraries have them. 500 markets of three runners (W2: 100 changes a second, published every 50 ms), 5 markets a user, all offers, traded prices, last price and definition; TLS to the exchange, one simulated exchange throughout; fresh processes for each turn, in turn (two cores are too few for both at once), three rounds of 20 s after 10 s of warm-up, medians with the least and the most of the rounds. CPU: user and system time of all processes of a side, without the exchange's and the users'. Memory: the sum of PSS, in which what processes share is divided among them; some 45 MB of Oddswire's are the runtime's program, which the exchange and the users of this run map too, so by itself it has up to its RSS. Latency from the exchange's publish time to the user, over all messages; jitter is its standard deviation, beside it p99 − p50, and how much a user's message was later or earlier than the one before. At the end a user of each process had its five books held against what the exchange itself showed at the time the book says. Machine: CPU of the side, the exchange and the users together; at the second load the old way must leave a fifth of it, since jitter on a full machine proves little.",
  W1: "An event day: 20,000 markets of 8 runners, 10 + 10 offers and 15 traded prices each, 2,000 market changes a second over TLS, five times that for 10 s of each minute, into a gateway in the ingest role, in a process of its own. CPU and memory are the process's own (`/proc`).",
  apply:
    "Decoding and applying recorded streams, one core, with betfairlightweight (orjson) beside it on the same file in the same run, in turn; the fastest whole round of each turn, medians of three turns, the process's own user and system time.",
};

function page(results: readonly Result[]): string {
  const parts = results.map(({ date, commit, bun, machine, ...report }) =>
    [
      `## ${report.bench}`,
      "",
      report.about ?? ABOUT[report.bench] ?? "",
      "",
      `\`npm run bench -- ${report.bench}\`, ${date}, commit ${commit}, Bun ${bun}, ${machine}.`,
      "",
      ...(report.rows.some(({ bar }) => bar)
        ? [`![${report.bench}: what was measured, of what was to be reached](img/${pictureOf(report)})`, ""]
        : []),
      ...markdown(report.rows),
    ].join("\n"),
  );
  return [
    "# Benchmarks",
    "",
    "Made by the commands named, from the results they leave in `bench/results/`. The machine was shared: absolute figures drift, ratios of one run hold.",
    "",
    parts.join("\n\n"),
    "",
  ].join("\n");
}

function pictureOf({ bench }: Report): string {
  return `bench-${bench}.svg`;
}

function markdown(rows: readonly Row[]): string[] {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const cell = (value: string | number | undefined) =>
    typeof value === "number"
      ? String(value >= 1000 ? Math.round(value) : Math.round(value * 100) / 100)
      : (value ?? "");
  return [
    line(["", ...columns, ""]),
    line(["---", ...columns.map(() => "---:"), "---"]),
    ...rows.map((row) => line([row.name, ...columns.map((column) => cell(row.values[column])), verdict(row)])),
  ];
}

/** Where nothing was to be reached, nothing is said. */
function verdict({ values, passed }: Row): string {
  if (values["to reach"] === "" && passed) return "";
  return passed ? "reached" : "**missed**";
}
