import { describe, expect, test } from "bun:test";
import { firstFailure, MUTANT_SEEDS_MAX, MUTANTS } from "./mutants.ts";
import { trial } from "./trial.ts";

describe("a planted mistake is found", () => {
  for (const mutant of MUTANTS)
    test(`${mutant.name}: ${mutant.mistake}`, async () => {
      const verdict = await firstFailure(mutant, 1, MUTANT_SEEDS_MAX);
      expect(verdict?.violations.length).toBeGreaterThan(0);
      expect((await trial((verdict as { seed: number }).seed)).violations).toEqual([]);
    }, 30_000);
});
