import { expect, test } from "bun:test";
import { differential } from "../src/sim/differential.ts";
import { MISTAKES } from "../src/sim/differential-mistakes.ts";

/** A sample; `npm run prove -- differential` runs many. */
const SEEDS = 25;
const FIRST = Number(process.env.ODDSWIRE_SEED ?? Date.now() % 1_000_000);
/** Within these a planted mistake must be found. */
const MISTAKE_SEEDS = 12;

test(`the exchange directly and through Oddswire says the same (seeds ${FIRST} to ${FIRST + SEEDS - 1})`, async () => {
  const sums: Record<string, number> = {};
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const { differences, figures } = await differential(seed);
    if (differences.length > 0) throw new Error(`seed ${seed}: ${differences.join("\n")}`);
    for (const [name, count] of Object.entries(figures)) sums[name] = (sums[name] ?? 0) + count;
  }
  // A script that asks nothing finds nothing.
  expect(Object.entries(sums).filter(([, count]) => count < SEEDS)).toEqual([]);
}, 60_000);

for (const { name, mistake, tamper } of MISTAKES) {
  test(`finds a planted mistake, ${name}: ${mistake}`, async () => {
    let found = false;
    for (let seed = 1; seed <= MISTAKE_SEEDS && !found; seed++) {
      found = (await differential(seed, tamper)).differences.length > 0;
    }
    expect(found).toBe(true);
  }, 60_000);
}
