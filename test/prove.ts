/**
 * `npm run prove -- NAME [--seeds N]`: the long proofs. Where one was stopped it goes on from there, as long as the commit is the same; at its end it leaves
 * what it found, with commit and seeds, in docs/proofs/NAME.md. Exit code 1 when it found something.
 *
 *   sim           seeds of the whole house on virtual time, and every planted mistake
 *   differential  seeds of a script of requests, asked at the exchange and through Oddswire fed by it
 *   fuzz          mutated messages at both doors, 50,000 to a seed, a million by default
 *   shadow        a clean hour of a derby, and planted faults, 20 seeds, before `oddswire shadow`
 *   soak          memory and descriptors: 60,000 connects, 19,500 who vanish, an hour of coming and going (`--minutes N`); each step is kept
 */
import { parseArgs } from "node:util";
import { differential, MAY_DIFFER } from "../src/sim/differential.ts";
import { MISTAKES } from "../src/sim/differential-mistakes.ts";
import { fuzz } from "../src/sim/fuzz.ts";
import { FUZZ_MISTAKES } from "../src/sim/fuzz-mistakes.ts";
import { firstFailure, MUTANT_SEEDS_MAX, MUTANTS } from "../src/sim/mutants.ts";
import { trial } from "../src/sim/trial.ts";
import { type ProofPlan, prove, type Step } from "./proof.ts";
import { shadow } from "./proof-shadow.ts";
import { soak } from "./proof-soak.ts";

const PLANS: Readonly<Record<string, (seeds: number | null) => ProofPlan>> = {
  sim: (seeds) => ({
    name: "sim",
    unit: "seed",
    steps: seeds ?? 10_000,
    async step(seed): Promise<Step> {
      const { violations, figures } = await trial(seed);
      return { findings: violations.map(({ guarantee, words }) => `${guarantee}: ${words}`), figures: { ...figures } };
    },
    mistakes: MUTANTS.map((mutant) => ({
      ...mutant,
      found: async () => (await firstFailure(mutant, 1, MUTANT_SEEDS_MAX)) !== null,
    })),
  }),

  differential: (seeds) => ({
    name: "differential",
    unit: "seed",
    steps: seeds ?? 5_000,
    async step(seed): Promise<Step> {
      const { differences, figures } = await differential(seed);
      return { findings: differences, figures };
    },
    notes: ["", "What may differ, and is not compared:", "", ...MAY_DIFFER.map((words) => `- ${words}`), ""],
    mistakes: MISTAKES.map(({ name, mistake, tamper }) => ({
      name,
      mistake,
      found: () => foundWithin(20, async (seed) => (await differential(seed, tamper)).differences.length > 0),
    })),
  }),

  fuzz: (seeds) => ({
    name: "fuzz",
    unit: "seed",
    steps: seeds ?? FUZZ_MESSAGES / FUZZ_MESSAGES_A_SEED,
    async step(seed): Promise<Step> {
      const { violations, figures, ends } = await fuzz({ seed, messages: FUZZ_MESSAGES_A_SEED, heap });
      const ended = Object.entries(ends).map(([code, count]) => [`ended by ${code}`, count] as const);
      return {
        findings: [...violations, ...grownBetweenSeeds()],
        figures: { ...figures, ...Object.fromEntries(ended) },
      };
    },
    mistakes: FUZZ_MISTAKES.map(({ name, mistake, plant }) => ({
      name,
      mistake,
      async found() {
        const restore = plant();
        const { violations } = await fuzz({ seed: 1, messages: 10_000, heap });
        restore();
        return violations.length > 0;
      },
    })),
  }),
};

const SHADOW_SEEDS = 20;
const FUZZ_MESSAGES = 1_000_000;
const FUZZ_MESSAGES_A_SEED = 50_000;
/** From the second seed of a run to any later one. */
const GROWTH_BYTES_MAX = 10 * 1024 * 1024;

const heaps: number[] = [];

const { values, positionals } = parseArgs({
  options: { seeds: { type: "string" }, minutes: { type: "string", default: "60" } },
  allowPositionals: true,
});
process.exit(await main(positionals[0] ?? "", values.seeds === undefined ? null : Number(values.seeds)));

async function main(name: string, seeds: number | null): Promise<number> {
  if (name === "shadow") return (await shadow(seeds ?? SHADOW_SEEDS)) ? 0 : 1;
  if (name === "soak") return (await soak(Number(values.minutes))) ? 0 : 1;
  const plan = Object.hasOwn(PLANS, name) ? PLANS[name] : undefined;
  if (plan !== undefined) return (await prove(plan(seeds))) ? 0 : 1;
  console.error(`usage: npm run prove -- NAME [--seeds N], NAME one of ${Object.keys(PLANS).join(", ")}, shadow, soak`);
  return 2;
}

async function foundWithin(seeds: number, fails: (seed: number) => Promise<boolean>): Promise<boolean> {
  for (let seed = 1; seed <= seeds; seed++) if (await fails(seed)) return true;
  return false;
}

function heap(): number {
  Bun.gc(true);
  return process.memoryUsage().heapUsed;
}

/** The gateway of a seed is let go at its end: the process is then as large as it was. */
function grownBetweenSeeds(): string[] {
  heaps.push(heap());
  const [, second, ...later] = heaps;
  const grown = (later.at(-1) ?? 0) - (second ?? 0);
  return later.length > 0 && grown > GROWTH_BYTES_MAX
    ? [`the heap grew by ${grown} bytes over ${later.length} seeds`]
    : [];
}
