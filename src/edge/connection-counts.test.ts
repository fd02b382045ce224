import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { clearCounts, createCounts, SharedCounts } from "./connection-counts.ts";

const PROCESSES = 3;
const KEYS = ["ann", "bob"];
const folder = mkdtempSync(join(tmpdir(), "oddswire-counts-"));
const place = { path: join(folder, "counts"), keys: KEYS, processes: PROCESSES };
const open: SharedCounts[] = [];

afterEach(() => {
  for (const counts of open.splice(0)) counts.stop();
  rmSync(place.path, { force: true });
});

function start(): SharedCounts[] {
  createCounts(place);
  for (const counts of open.splice(0)) counts.stop();
  open.push(...Array.from({ length: PROCESSES }, (_, n) => new SharedCounts(place, n)));
  return open;
}

test("every process is told the sum of all, of each account, whoever comes and goes and dies", () => {
  const step = fc.record({
    process: fc.nat(PROCESSES - 1),
    key: fc.constantFrom(...KEYS),
    what: fc.constantFrom("come", "come", "go", "die"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const counts = start();
      const model = Array.from({ length: PROCESSES }, () => new Map(KEYS.map((key) => [key, 0])));
      for (const { process, key, what } of steps) {
        const own = model[process] as Map<string, number>;
        if (what === "die") {
          for (const name of KEYS) own.set(name, 0);
          counts[process]?.stop();
          clearCounts(place, process);
          counts[process] = new SharedCounts(place, process);
          continue;
        }
        if (what === "go" && own.get(key) === 0) continue;
        own.set(key, (own.get(key) ?? 0) + (what === "come" ? 1 : -1));
        const sum = model.reduce((all, one) => all + (one.get(key) ?? 0), 0);
        expect(counts[process]?.add(key, what === "come" ? 1 : -1)).toBe(sum);
      }
      for (const one of open.splice(0)) one.stop();
    }),
    { numRuns: 50 },
  );
});

test("an account that is not in the list is a mistake of ours", () => {
  const [counts] = start();
  expect(() => counts?.add("eve", 1)).toThrow("nobody counts connections of eve");
});
