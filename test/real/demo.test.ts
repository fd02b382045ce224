import { afterEach, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { BookState } from "../../src/sim/naive.ts";
import { Demo } from "../demo.ts";
import { betfairlightweight, recordings } from "../parts.ts";
import { bookDifference, Recorded } from "./recorded.ts";

const folder = recordings();
const python = betfairlightweight();
/** Fast enough that hours of recording pass in seconds. */
const SPEED = "100000";

/** What esa_client.py prints. */
interface Report {
  readonly end: string;
  readonly connectionId: string | null;
  readonly updates: number;
  readonly complaints: Record<string, number>;
  readonly books: readonly BookState[];
}

const files = [
  "betfair_parser/football-200markets.half-a.bz2",
  "kelvinvail-betfair/MarketStream.txt",
  "flumine/1.200806927",
  "betfair-adapter-rs/29788457",
];

describe.skipIf(folder.kind === "missing" || python.kind === "missing")(
  "the demo serves a real betfairlightweight",
  () => {
    let demo: Demo | null = null;
    afterEach(async () => {
      await demo?.stop();
      demo = null;
    });

    for (const file of files)
      test(`until the end of ${file}, and the last books stand`, async () => {
        demo = await Demo.start("--recording", `${folder.path}/${file}`, "--speed", SPEED);
        const expected = (await Recorded.read(`${folder.path}/${file}`)).states();
        const report = await follow(demo);
        expect(report.end).toBe("quiet");
        expect(report.connectionId).not.toBeNull();
        expect(bookDifference(expected, report.books)).toBeNull();
        expect(complaintsBut(report, "Latency high")).toEqual({});
        const late = await follow(demo);
        expect(bookDifference(expected, late.books)).toBeNull();
      }, 120_000);
  },
);

/** Follows the demo with betfairlightweight until nothing moves any more. */
function follow(demo: Demo): Promise<Report> {
  const script = fileURLToPath(new URL("esa_client.py", import.meta.url));
  const { session, appKey } = demo.info.demo;
  const args = [
    script,
    "--port",
    String(demo.esaPort),
    "--app-key",
    appKey ?? "demo",
    "--session",
    session,
    "--quiet-seconds",
    "1.5",
  ];
  const child = spawn(python.path, args, { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.on("data", (bytes) => (printed += bytes));
  return new Promise((resolve, reject) =>
    child.on("close", (code) =>
      code === 0 ? resolve(JSON.parse(printed)) : reject(new Error(`esa_client.py exited with ${code}`)),
    ),
  );
}

/** At this speed messages wait for each other, so "Latency high" is true; the rest would be ours to answer for. */
function complaintsBut(report: Report, ...expected: string[]): Record<string, number> {
  return Object.fromEntries(Object.entries(report.complaints).filter(([kind]) => !expected.includes(kind)));
}
