import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { betfairlightweight, recordings } from "../test/parts.ts";
import { median, type Report, type Row } from "./table.ts";

/** At least this many times betfairlightweight's modes, on the same file in the same run. */
const TIMES_LIGHT = 8;
const TIMES_FULL = 20;
/** Ours, light and full in turn, this often; medians count. */
const ROUNDS = 3;
const SECONDS = 1;
const STEP_MS_MAX = 120_000;

interface Rate {
  readonly messages: number;
  readonly messagesPerSecond: number;
  readonly megabytesPerSecond: number;
}

/** Decode and apply, beside betfairlightweight: messages and megabytes a second and core. */
export function apply(files: readonly string[], progress: (text: string) => void): Report {
  const python = betfairlightweight();
  if (python.kind === "missing") throw new Error(`betfairlightweight is needed beside us: ${python.install}`);
  const rows = (files.length > 0 ? files : allRecordings()).map((file) => rowOf(file, python.path, progress));
  return { bench: "apply", rows };
}

function rowOf(file: string, python: string, progress: (text: string) => void): Row {
  const rates: Record<"ours" | "light" | "full", Rate[]> = { ours: [], light: [], full: [] };
  for (let round = 1; round <= ROUNDS; round++) {
    progress(`${basename(file)}: round ${round} of ${ROUNDS}`);
    rates.ours.push(run(process.execPath, [here("apply-file.ts"), String(SECONDS), file]));
    for (const mode of ["light", "full"] as const) {
      rates[mode].push(run(python, [here("bflw.py"), "--mode", mode, "--seconds", String(SECONDS), file]));
    }
  }
  const rate = (who: keyof typeof rates) => median(rates[who].map(({ messagesPerSecond }) => messagesPerSecond));
  const [light, full] = [rate("ours") / rate("light"), rate("ours") / rate("full")];
  return {
    name: basename(file),
    values: {
      messages: rates.ours[0]?.messages ?? 0,
      "messages/s": rate("ours"),
      "MB/s": median(rates.ours.map(({ megabytesPerSecond }) => megabytesPerSecond)),
      "light/s": rate("light"),
      "full/s": rate("full"),
      [`× light (${TIMES_LIGHT})`]: light,
      [`× full (${TIMES_FULL})`]: full,
    },
    passed: light >= TIMES_LIGHT && full >= TIMES_FULL,
  };
}

function run(command: string, args: readonly string[]): Rate {
  const done = spawnSync(command, args, { encoding: "utf8", timeout: STEP_MS_MAX });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr || done.error?.message}`);
  return JSON.parse(done.stdout.trim()) as Rate;
}

/** Every recording with market changes. */
function allRecordings(): string[] {
  const found = recordings();
  if (found.kind === "missing") throw new Error(`name files, or ${found.install}`);
  return readdirSync(found.path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/README|\.ccm$/.test(entry.name) && !entry.parentPath.includes("messages"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function here(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
