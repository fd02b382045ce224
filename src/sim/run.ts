import { parseArgs } from "node:util";
import { firstFailure, MUTANT_SEEDS_MAX, MUTANTS, type Mutant } from "./mutants.ts";
import { trial, type Verdict } from "./trial.ts";

const HELP = `Runs the whole house on virtual time, once for each seed: exchange, gateway and users, with faults, and an oracle that watches G1 to G5.

  npm run sim -- --seeds 1000             seeds 1 to 1000
  npm run sim -- --seeds 100 --from 501   seeds 501 to 600
  npm run sim -- --seed 71 --trace        one seed again, with every message
  npm run sim -- --mutants                planted mistakes: each must be found
  npm run sim -- --mutant drop-a-delta    the same for one of them
  npm run sim -- --seed 71 --mutant drop-a-delta --trace

Ends with "N seeds passed, N failed"; exit code 1 where something failed, or where a planted mistake was not found.`;

/** Failing seeds told in full; of later ones only the number is said. */
const TOLD_MAX = 3;
/** What is told of one failing seed. */
const VIOLATIONS_MAX = 5;
const EVENTS_MAX = 60;
const PROGRESS_MS = 2_000;
/** How many seeds run where nobody says. */
const SEEDS = 100;

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly trace: boolean;
  readonly mutant: Mutant | null;
  /** Planted mistakes to find; null: run the seeds. */
  readonly find: readonly Mutant[] | null;
}

process.exit(await main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(HELP);
    return 0;
  }
  const options = read(args);
  if (typeof options === "string") {
    console.error(`${options}\n\n${HELP}`);
    return 2;
  }
  return options.find === null ? runSeeds(options) : findMutants(options.find, options.from, options.seeds);
}

/** What is asked for, or what is wrong with it. */
function read(args: readonly string[]): Options | string {
  let values: { [name in "seeds" | "from" | "seed" | "mutant"]?: string } & { trace?: boolean; mutants?: boolean };
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  try {
    const options = { seeds: text, from: text, seed: text, mutant: text, trace: flag, mutants: flag };
    values = parseArgs({ args: [...args], options }).values;
  } catch (error) {
    return (error as Error).message;
  }
  const mutant = values.mutant === undefined ? null : MUTANTS.find(({ name }) => name === values.mutant);
  if (mutant === undefined)
    return `no mutant is called ${values.mutant}; there are ${MUTANTS.map(({ name }) => name).join(", ")}`;
  const find = values.seed !== undefined ? null : values.mutants ? MUTANTS : mutant && [mutant];
  const from = Number(values.seed ?? values.from ?? 1);
  const seeds = values.seed !== undefined ? 1 : Number(values.seeds ?? (find ? MUTANT_SEEDS_MAX : SEEDS));
  if (!Number.isInteger(from) || !Number.isInteger(seeds) || seeds < 1)
    return "--seeds, --from and --seed are whole numbers";
  return { seeds, from, trace: values.trace ?? false, mutant, find };
}

async function runSeeds({ seeds, from, trace, mutant }: Options): Promise<number> {
  const sums = new Map<string, number>();
  const failed: number[] = [];
  const progress = new Progress(seeds);
  const restore = mutant?.plant();
  for (let seed = from; seed < from + seeds; seed++) {
    const verdict = await trial(seed, trace ? (line) => console.log(line) : undefined);
    for (const [name, count] of Object.entries(verdict.figures)) sums.set(name, (sums.get(name) ?? 0) + count);
    if (verdict.violations.length > 0) {
      failed.push(seed);
      if (failed.length <= TOLD_MAX) tell(verdict, mutant);
      else console.log(`seed ${seed} failed as well`);
    }
    progress.at(
      seed - from + 1,
      `${failed.length} failed, ${sums.get("faults")} faults, ${sums.get("messages")} messages`,
    );
  }
  restore?.();
  console.log([...sums].map(([name, sum]) => `${sum} ${name}`).join(", "));
  console.log(`${seeds - failed.length} seeds passed, ${failed.length} failed`);
  return failed.length > 0 ? 1 : 0;
}

async function findMutants(mutants: readonly Mutant[], from: number, seeds: number): Promise<number> {
  let missed = 0;
  for (const mutant of mutants) {
    const found = await firstFailure(mutant, from, seeds);
    if (found === null) missed++;
    const words = found
      ? `found by seed ${found.seed}: ${found.violations[0]?.guarantee}`
      : `NOT FOUND by ${seeds} seeds from ${from}`;
    console.log(`${mutant.name.padEnd(24)} ${words}\n${" ".repeat(25)}${mutant.mistake}`);
  }
  console.log(`${mutants.length - missed} planted mistakes found, ${missed} not found`);
  return missed > 0 ? 1 : 0;
}

function tell({ seed, violations, events }: Verdict, mutant: Mutant | null): void {
  console.log(`\nseed ${seed} FAILED`);
  const omitted = events.length - EVENTS_MAX;
  if (omitted > 0) console.log(`  … ${omitted} events before these`);
  for (const event of events.slice(-EVENTS_MAX)) console.log(`  ${event}`);
  for (const { guarantee, at, words } of violations.slice(0, VIOLATIONS_MAX))
    console.log(`  ${(at / 1000).toFixed(3).padStart(7)} s ${guarantee}: ${words}`);
  console.log(`  again: npm run sim -- --seed ${seed}${mutant ? ` --mutant ${mutant.name}` : ""} --trace\n`);
}

/** Says on standard error how far it is, now and then. */
class Progress {
  readonly #of: number;
  readonly #startedAt = performance.now();
  #toldAt = performance.now();

  constructor(of: number) {
    this.#of = of;
  }

  at(done: number, words: string): void {
    const now = performance.now();
    if (done < this.#of && now - this.#toldAt < PROGRESS_MS) return;
    this.#toldAt = now;
    const seconds = (now - this.#startedAt) / 1000;
    console.error(`${done} of ${this.#of} seeds in ${seconds.toFixed(1)} s: ${words}`);
  }
}
