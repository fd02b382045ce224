/**
 * What `npm test` runs: every test file, in processes of their own where they open sockets, one after the other.
 * `npm test -- WORD…` runs the files whose path holds one of the words. Closes with `N passed, N failed`; exit code 1 on any failure.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { missingParts } from "./parts.ts";

interface Group {
  readonly name: string;
  readonly files: readonly string[];
}

interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly string[];
  /** What failed, by name. */
  readonly broken: readonly string[];
}

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** The longest that a group may run: past it, it is ended and counts as failed. */
const GROUP_MS_MAX = 300_000;
/** The longest that a single test may take unless it says otherwise; generous, since CI machines are shared. */
const TEST_MS_MAX = 30_000;

/** What the runner says when all is well; failures and what tests print themselves are shown. */
const QUIET = /^\s*$|^\((pass|skip|todo)\)|^bun test v|^ *\d+ expect\(\) calls$|^Ran \d+ tests|\.test\.ts:$/;

const words = process.argv.slice(2);
const inCi = !["", "0", "false"].includes(process.env.CI ?? "");
process.exit(await runAll(groups(words)));

async function runAll(all: readonly Group[]): Promise<number> {
  let [passed, failed] = [0, 0];
  const [skipped, broken]: string[][] = [[], []];
  if (all.length === 0) console.error(`no test file holds ${words.join(" or ")} in its path`);
  for (const [at, group] of all.entries()) {
    console.log(`\n── ${at + 1}/${all.length} ${group.name}`);
    const started = performance.now();
    const tally = await runGroup(group);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`   ${closing(tally.passed, tally.failed, tally.skipped.length)} (${seconds} s)`);
    passed += tally.passed;
    failed += tally.failed;
    skipped.push(...tally.skipped);
    broken.push(...tally.broken);
  }
  if (skipped.length > 0) console.log(`\nSkipped:\n${skipped.map((name) => `  ${name}`).join("\n")}`);
  failed += reportMissingParts();
  if (broken.length > 0) console.log(`\nFailed:\n${broken.map((name) => `  ${name}`).join("\n")}`);
  console.log(`\n${closing(passed, failed, skipped.length)}`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

/** Unit tests share one process; whole-gateway tests get one each, so that a port, a leak or a crash stays with its file. */
function groups(only: readonly string[]): Group[] {
  const wanted = (path: string) => only.length === 0 || only.some((word) => path.includes(word));
  const find = (folder: string) =>
    [...new Bun.Glob(`${folder}/**/*.test.ts`).scanSync({ cwd: ROOT })].sort().filter(wanted);
  const units = ["src", "client", "web", "bench"].flatMap(find);
  return [
    ...(units.length > 0 ? [{ name: `unit tests, ${units.length} files`, files: units }] : []),
    ...find("test").map((file) => ({ name: file, files: [file] })),
  ];
}

/**
 * Counts by the runner's closing lines (" 12 pass", " 1 fail"), which also count a file that did not load; its JUnit report leaves those out.
 * No closing lines means that the process died, and that is a failure however it exited.
 */
async function runGroup(group: Group): Promise<Tally> {
  const counts = new Map<string, number>();
  // The runner names these where they stand, and in a larger run once more at the end.
  const [skipped, broken] = [new Set<string>(), new Set<string>()];
  const place = group.files.length === 1 ? `${group.name}: ` : "";
  const code = await bunTest(group.files, (line) => {
    const count = /^\s*(\d+) (pass|fail|skip|todo|error)s?$/.exec(line);
    if (count) counts.set(count[2] as string, Number(count[1]));
    const named = /^\((skip|todo|fail)\) (.*?)( \[[\d.]+ms\])?$/.exec(line);
    if (named) (named[1] === "fail" ? broken : skipped).add(place + named[2]);
    if (!count && !QUIET.test(line)) console.log(`   ${line}`);
  });
  const failed = counts.get("fail") ?? 0;
  if (broken.size === 0 && code !== 0) broken.add(`${group.name}: ${ending(code)}`);
  return {
    passed: counts.get("pass") ?? 0,
    failed: Math.max(failed, broken.size),
    skipped: [...skipped],
    broken: [...broken],
  };
}

function ending(code: number | null): string {
  return code === null ? `ended after ${GROUP_MS_MAX / 1000} s` : `exit code ${code}`;
}

/** Its exit code; null when it ran past its time and was ended; 1 when it exited without closing lines. */
function bunTest(files: readonly string[], onLine: (line: string) => void): Promise<number | null> {
  const args = ["test", `--timeout=${TEST_MS_MAX}`, ...files.map((file) => `./${file}`)];
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  let late = false;
  let closed = false;
  const limit = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, GROUP_MS_MAX);
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => {
      closed ||= /^Ran \d+ tests? across/.test(line);
      onLine(line);
    });
  return new Promise((resolve) =>
    child.on("close", (code) => {
      clearTimeout(limit);
      resolve(late ? null : closed ? code : code || 1);
    }),
  );
}

/** Says which outside parts are not there and what to install; in CI each is a failure, or a green run could have skipped the proof. */
function reportMissingParts(): number {
  const missing = words.length > 0 ? [] : missingParts();
  if (missing.length === 0) return 0;
  console.log(`\nTests that need these were skipped${inCi ? ", which in CI is a failure" : ""}:`);
  for (const part of missing) console.log(`  ${part.name}: ${part.install}`);
  return inCi ? missing.length : 0;
}

function closing(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
