/**
 * `npm run bench -- NAME [--json] [--keep] [--runs N] [--seconds N] [--users N] [FILE…]`: prints rows, exits 0 only when every number was reached.
 * `--keep` makes docs/BENCHMARKS.md anew; `users` is W2 to W7, one after the other, `all` is all there are.
 */
import { parseArgs } from "node:util";
import { apply } from "./apply.ts";
import { beforeAfter } from "./before-after.ts";
import { esa } from "./esa.ts";
import type { BenchOptions } from "./options.ts";
import { Process } from "./process.ts";
import { keep } from "./results.ts";
import { type Report, table } from "./table.ts";
import { users } from "./users.ts";
import { w1 } from "./w1.ts";
import { w8 } from "./w8.ts";

type Bench = (
  files: readonly string[],
  progress: (text: string) => void,
  options: BenchOptions,
) => Report | Promise<Report>;

const BENCHES: Readonly<Record<string, Bench>> = {
  apply,
  "before-after": beforeAfter,
  esa,
  W1: w1,
  W2: users("W2"),
  W3: users("W3"),
  W4: users("W4"),
  W5: users("W5"),
  W6: users("W6"),
  W7: users("W7"),
  W8: w8,
};

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  users: ["W2", "W3", "W4", "W5", "W6", "W7"],
  all: Object.keys(BENCHES),
};

const USAGE = `usage: npm run bench -- NAME [--json] [--keep] [--runs N] [--seconds N] [--users N] [FILE…]
NAME: ${Object.keys(BENCHES).join(", ")}; users (W2 to W7); all`;

/** Ended by a signal. */
const STOPPED = 130;
const STOP_MS_MAX = 5_000;

let isStopping = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop());

process.exit(await main());

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      json: { type: "boolean" },
      keep: { type: "boolean" },
      help: { type: "boolean" },
      runs: { type: "string" },
      seconds: { type: "string" },
      users: { type: "string" },
    },
    allowPositionals: true,
  });
  const [name = "", ...files] = positionals;
  const names = GROUPS[name] ?? (name in BENCHES ? [name] : []);
  const options = numbers({ runs: values.runs, seconds: values.seconds, users: values.users });
  if (names.length === 0 || options === null || values.help) {
    console.error(USAGE);
    return values.help ? 0 : 2;
  }
  if (values.keep && Object.keys(options).length > 0) {
    console.error("bench: what is kept is run as it should be: leave --keep or --runs, --seconds and --users out");
    return 2;
  }
  let passed = true;
  for (const one of names) {
    const report = await reportOf(one, files, options);
    if (isStopping) return STOPPED;
    passed = report?.rows.every((row) => row.passed) === true && report.rows.length > 0 && passed;
    if (report === null) continue;
    if (values.keep) keep(report);
    if (names.length > 1 && !values.json) console.log(`\n${one}`);
    console.log(values.json ? JSON.stringify(report, null, 2) : table(report.rows));
  }
  return passed ? 0 : 1;
}

/** Null: it could not be measured, and it was said why. */
async function reportOf(name: string, files: readonly string[], options: BenchOptions): Promise<Report | null> {
  try {
    return await (BENCHES[name] as Bench)(files, progress, options);
  } catch (error) {
    if (!isStopping) console.error(`bench ${name}: ${(error as Error).message}`);
    return null;
  } finally {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}

function progress(text: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
}

/** Nothing that a bench started is left behind; without its processes it ends by itself. */
async function stop(): Promise<void> {
  isStopping = true;
  await Process.stopAll();
  setTimeout(() => process.exit(STOPPED), STOP_MS_MAX);
}

/** Null: one of them is no number above 0. */
function numbers(given: Readonly<Record<string, string | undefined>>): BenchOptions | null {
  const said = Object.entries(given).flatMap(([name, text]) => (text === undefined ? [] : [[name, Number(text)]]));
  return said.every(([, value]) => Number.isInteger(value) && (value as number) > 0) ? Object.fromEntries(said) : null;
}
