import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SAVE_EVERY_MS = 5_000;

/** How far a proof has come. */
interface State {
  readonly commit: string;
  /** Steps done: 1 to this. */
  done: number;
  failed: number[];
  readonly figures: Record<string, number>;
  seconds: number;
}

/** What one step came to; no findings: it passed. */
export interface Step {
  readonly findings: readonly string[];
  readonly figures: Readonly<Record<string, number>>;
}

export interface ProofPlan {
  readonly name: string;
  /** What a step is called: "seed". */
  readonly unit: string;
  readonly steps: number;
  step(n: number): Promise<Step>;
  /** Mistakes planted one after the other, each of which must be found: its name, what it is, and whether it was. */
  readonly mistakes: readonly { readonly name: string; readonly mistake: string; found(): Promise<boolean> }[];
  /** What is to be said of the run in the result file, beside its figures. */
  readonly notes?: readonly string[];
}

/**
 * Runs a proof: goes on from where the last run of the same commit was stopped, says now and then how far it is, looks for each planted mistake, and leaves
 * what it found in docs/proofs/NAME.md. True: all steps passed and all mistakes were found.
 */
export async function prove(plan: ProofPlan): Promise<boolean> {
  const { name, unit, steps } = plan;
  const state = resumed(name);
  let saved = performance.now();
  while (state.done < steps) {
    const started = performance.now();
    const n = state.done + 1;
    const { findings, figures } = await plan.step(n);
    if (findings.length > 0) {
      state.failed.push(n);
      console.error(`${name}: ${unit} ${n} FAILED\n  ${findings.join("\n  ")}`);
    }
    for (const [figure, count] of Object.entries(figures)) state.figures[figure] = (state.figures[figure] ?? 0) + count;
    state.done = n;
    state.seconds += (performance.now() - started) / 1000;
    if (performance.now() - saved < SAVE_EVERY_MS) continue;
    saved = performance.now();
    save(name, state, `${n} of ${steps} ${unit}s, ${state.failed.length} failed`);
  }
  const missed: string[] = [];
  for (const { name, found } of plan.mistakes) if (!(await found())) missed.push(name);
  report(plan, state, missed);
  return state.failed.length === 0 && missed.length === 0;
}

/** Where the last run stopped, if it was of this commit; else a new start. */
function resumed(name: string): State {
  const path = statePath(name);
  const state = existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as State) : null;
  if (state?.commit === commit()) return state;
  return { commit: commit(), done: 0, failed: [], figures: {}, seconds: 0 };
}

export function commit(): string {
  return execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: ROOT, encoding: "utf8" }).trim();
}

function save(name: string, state: State, words: string): void {
  mkdirSync(`${ROOT}artifacts`, { recursive: true });
  writeFileSync(statePath(name), JSON.stringify(state));
  console.error(`${name}: ${words}`);
}

function report({ name, unit, steps, mistakes, notes = [] }: ProofPlan, state: State, missed: readonly string[]): void {
  const { commit, failed, figures, seconds } = state;
  const passed = `**${steps - failed.length} passed, ${failed.length} failed**${failed.length > 0 ? ` (${failed.join(", ")})` : ""}`;
  const sums = Object.entries(figures).map(([figure, count]) => `${count.toLocaleString("en")} ${figure}`);
  const unfound = missed.length > 0 ? `; not found: ${missed.join(", ")}` : "";
  const lines = [
    `${unit[0]?.toUpperCase()}${unit.slice(1)}s 1 to ${steps}, commit ${commit}, ${Math.round(seconds)} s on one core: ${passed}.`,
    `In all of them together: ${sums.join(", ")}.`,
    ...notes,
    `Planted mistakes: **${mistakes.length - missed.length} of ${mistakes.length} found**${unfound}.`,
  ];
  const list = mistakes.map(({ name, mistake }) => `- \`${name}\`: ${mistake}`);
  writeReport(name, [...lines, "", ...list]);
  rmSync(statePath(name), { force: true });
  console.log(lines.join("\n"));
}

/** Leaves docs/proofs/NAME.md. */
export function writeReport(name: string, lines: readonly string[]): void {
  const head = [`# Proof: ${name}`, "", `\`npm run prove -- ${name}\`, ${new Date().toISOString().slice(0, 10)}.`, ""];
  mkdirSync(`${ROOT}docs/proofs`, { recursive: true });
  writeFileSync(`${ROOT}docs/proofs/${name}.md`, `${[...head, ...lines].join("\n")}\n`);
}

function statePath(name: string): string {
  return `${ROOT}artifacts/prove-${name}.json`;
}
