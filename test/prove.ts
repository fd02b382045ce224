/**
 * `npm run prove -- NAME [--seeds N]`: the long proofs. Where one was stopped it goes on from there, as long as the commit is the same; at its end it leaves
 * what it found, with commit and seeds, in docs/proofs/NAME.md. Exit code 1 when it found something.
 *
 *   sim    seeds of the whole house on virtual time, and every planted mistake
 *   shadow a clean hour of a derby, and planted faults, 20 seeds, before `oddswire shadow`
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { firstFailure, MUTANT_SEEDS_MAX, MUTANTS } from "../src/sim/mutants.ts";
import { trial } from "../src/sim/trial.ts";
import { cleanDerby, FAULTS, faultyDerby } from "./shadow-stage.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STATE_EVERY = 50;
const SHADOW_SEEDS_MAX = 20;

interface State {
  readonly commit: string;
  /** Seeds done: 1 to this. */
  done: number;
  failed: number[];
  readonly figures: Record<string, number>;
  seconds: number;
}

const PROOFS: Readonly<Record<string, (seeds: number) => Promise<boolean>>> = { sim, shadow };

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

/** A minute or two: it begins anew where it was stopped. */
async function shadow(seeds: number): Promise<boolean> {
  const { commit } = resumed("shadow");
  const lines = [
    `Seed 1 for the hours, 1 to ${Math.min(seeds, SHADOW_SEEDS_MAX)} for the faults, commit ${commit}.`,
    "",
  ];
  let isGood = true;
  for (const conflateMs of [0, 500]) {
    const { findings, statesMatched, statesConflated, statesUnjudged } = await cleanDerby(60, { seed: 1, conflateMs });
    isGood &&= findings.total === 0 && statesUnjudged === 0;
    const counts = [statesMatched, statesConflated, statesUnjudged].map((count) => count.toLocaleString("en"));
    lines.push(
      `- A clean hour of simulated derby, conflateMs ${conflateMs}: **${findings.total} findings** (${counts[0]} states matched, ${counts[1]} passed over by conflation, ${counts[2]} not judged).`,
    );
  }
  for (const { spoil, kind } of FAULTS) {
    let found = 0;
    const runs = [0, 500].flatMap((conflateMs) =>
      Array.from({ length: Math.min(seeds, SHADOW_SEEDS_MAX) }, (_, i) => ({ seed: i + 1, conflateMs })),
    );
    for (const run of runs) {
      const { report, market } = await faultyDerby(spoil, run);
      const [first] = report.findings.samples;
      const isRight = report.findings.total === 1 && first?.kind === kind && first.market === market;
      if (isRight) found++;
      else
        console.error(`${spoil}, seed ${run.seed}, conflateMs ${run.conflateMs}: ${JSON.stringify(report.findings)}`);
    }
    isGood &&= found === runs.length;
    lines.push(
      `- Planted \`${spoil}\`: **${found} of ${runs.length}** found as one finding, \`${kind}\`, at the right market.`,
    );
  }
  report("shadow", lines);
  return isGood;
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
  console.log(lines.slice(0, name === "sim" ? 3 : lines.length).join("\n"));
}

function statePath(name: string): string {
  return `${ROOT}artifacts/prove-${name}.json`;
}
