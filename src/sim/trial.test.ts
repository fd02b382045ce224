import { describe, expect, test } from "bun:test";
import { trial } from "./trial.ts";

const SEEDS = 60;

describe("the whole house on virtual time", () => {
  for (let from = 1; from <= SEEDS; from += 10)
    test(`keeps G1 to G5, whatever is cut, slow, silent or restarted (seeds ${from} to ${from + 9})`, async () => {
      for (let seed = from; seed < from + 10; seed++) {
        const { violations } = await trial(seed);
        expect([seed, ...violations]).toEqual([seed]);
      }
    });

  test("is the same run for the same seed, to the byte, and another for another", async () => {
    const runs: string[][] = [];
    for (const seed of [7, 7, 8]) {
      const lines: string[] = [];
      await trial(seed, (line) => lines.push(line));
      runs.push(lines);
    }
    const [first, again, other] = runs as [string[], string[], string[]];
    expect(first.findIndex((line, i) => line !== again[i])).toBe(-1);
    expect(first.length).toBe(again.length);
    expect(other[20]).not.toBe(first[20]);
  });

  test("is a world in which things happen: faults, resumes, catch-ups and images in every few seeds", async () => {
    const sums = new Map<string, number>();
    for (let seed = 61; seed <= 66; seed++) {
      const { figures } = await trial(seed);
      for (const [name, count] of Object.entries(figures)) sums.set(name, (sums.get(name) ?? 0) + count);
    }
    for (const name of ["published", "messages", "faults", "images", "resumes", "catchUps"])
      expect([name, (sums.get(name) ?? 0) > 20]).toEqual([name, true]);
  });
});
