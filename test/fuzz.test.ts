import { expect, test } from "bun:test";
import { fuzz } from "../src/sim/fuzz.ts";
import { FUZZ_MISTAKES } from "../src/sim/fuzz-mistakes.ts";

/** A sample; `npm run prove -- fuzz` sends a million. */
const MESSAGES = 5_000;
const SEED = Number(process.env.ODDSWIRE_SEED ?? Date.now() % 1_000_000);

function heap(): number {
  Bun.gc(true);
  return process.memoryUsage().heapUsed;
}

test(`nonsense at both doors: nothing throws, nothing is left behind, nobody is disturbed (seed ${SEED})`, async () => {
  const { violations, figures, ends } = await fuzz({ seed: SEED, messages: MESSAGES, heap });
  if (violations.length > 0) throw new Error(`seed ${SEED}: ${violations.join("\n")}`);
  // It came to all places that it was meant to.
  for (const count of Object.values(figures)) expect(count).toBeGreaterThan(MESSAGES / 50);
  for (const code of ["INVALID_INPUT", "INVALID_REQUEST", "INVALID_UTF8", "PROTOCOL_ERROR", "NOT_AUTHORIZED"])
    expect([code, ends[code] ?? 0]).not.toEqual([code, 0]);
}, 60_000);

for (const { name, mistake, plant } of FUZZ_MISTAKES) {
  test(`finds a planted mistake, ${name}: ${mistake}`, async () => {
    const restore = plant();
    try {
      expect((await fuzz({ seed: 1, messages: MESSAGES, heap })).violations).not.toEqual([]);
    } finally {
      restore();
    }
  }, 60_000);
}
