/**
 * `npm run prove -- NAME [--seeds N]`: the long proofs. Where one was stopped it goes on from there, as long as the commit is the same; at its end it leaves
 * what it found, with commit and seeds, in docs/proofs/NAME.md. Exit code 1 when it found something.
 *
 *   sim    seeds of the whole house on virtual time, and every planted mistake
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { firstFailure, MUTANT_SEEDS_MAX, MUTANTS } from "../src/sim/mutants.ts";
import { trial } from "../src/sim/trial.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STATE_EVERY = 50;

interface State {
  readonly commit: string;
  /** Seeds done: 1 to this. */
  done: number;
  failed: number[];
  readonly figures: Record<string, number>;
  seconds: number;
}

const PROOFS: Readonly<Record<string, (seeds: number) => Promise<boolean>>> = { sim };

const { values, positionals } = parseArgs({
  options: { seeds: { type: "string", default: "10000" } },
  allowPositionals: true,
});
const proof = PROOFS[positionals[0] ?? ""];
if (proof === undefined) {
  console.error(`usage: npm run prove -- NAME [--seeds N], NAME one of ${Object.keys(PROOFS).join(", ")}`);
  process.exit(2);
}
process.exit((await proof(Number(values.seeds))) ? 0 : 1);

async function sim(seeds: number): Promise<boolean> {
  const state = resumed("sim");
  while (state.done < seeds) {
    const started = performance.now();
    const seed = state.done + 1;
    const { violations, figures } = await trial(seed);
    if (violations.length > 0) state.failed.push(seed);
    for (const [name, count] of Object.entries(figures)) state.figures[name] = (state.figures[name] ?? 0) + count;
    state.done = seed;
    state.seconds += (performance.now() - started) / 1000;
    if (seed % STATE_EVERY === 0) save("sim", state, `${seed} of ${seeds} seeds, ${state.failed.length} failed`);
  }
  const missed: string[] = [];
  for (const mutant of MUTANTS)
    if ((await firstFailure(mutant, 1, MUTANT_SEEDS_MAX)) === null) missed.push(mutant.name);
  const figures = Object.entries(state.figures).map(([name, count]) => `${count.toLocaleString("en")} ${name}`);
  report("sim", [
    `Seeds 1 to ${seeds}, commit ${state.commit}, ${Math.round(state.seconds)} s on one core: **${seeds - state.failed.length} passed, ${state.failed.length} failed**${state.failed.length > 0 ? ` (${state.failed.join(", ")})` : ""}.`,
    `In all of them together: ${figures.join(", ")}.`,
    `Planted mistakes: **${MUTANTS.length - missed.length} of ${MUTANTS.length} found**${missed.length > 0 ? `; not found: ${missed.join(", ")}` : ""}.`,
    ...MUTANTS.map(({ name, mistake }) => `- \`${name}\`: ${mistake}`),
  ]);
  return state.failed.length === 0 && missed.length === 0;
}

/** Where the last run stopped, if it was of this commit; else a new start. */
function resumed(name: string): State {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: ROOT, encoding: "utf8" }).trim();
  const path = statePath(name);
  const state = existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as State) : null;
  if (state?.commit === commit) return state;
  return { commit, done: 0, failed: [], figures: {}, seconds: 0 };
}

function save(name: string, state: State, words: string): void {
  mkdirSync(`${ROOT}artifacts`, { recursive: true });
  writeFileSync(statePath(name), JSON.stringify(state));
  console.error(`${name}: ${words}`);
}

function report(name: string, lines: readonly string[]): void {
  mkdirSync(`${ROOT}docs/proofs`, { recursive: true });
  const text = [
    `# Proof: ${name}`,
    "",
    `\`npm run prove -- ${name}\`, ${new Date().toISOString().slice(0, 10)}.`,
    "",
    ...lines,
  ].join("\n");
  writeFileSync(`${ROOT}docs/proofs/${name}.md`, `${text.replace("found**.\n- ", "found**.\n\n- ")}\n`);
  rmSync(statePath(name), { force: true });
  console.log(lines.slice(0, 3).join("\n"));
}

function statePath(name: string): string {
  return `${ROOT}artifacts/prove-${name}.json`;
}
