import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const RUN = fileURLToPath(new URL("run.ts", import.meta.url));

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

describe("npm run sim", () => {
  test("says how many seeds passed, how far it is, and ends well", () => {
    const { status, stdout, stderr } = run("--seeds", "2", "--from", "5");
    expect(stdout).toContain("2 seeds passed, 0 failed");
    expect(stderr).toContain("2 of 2 seeds");
    expect(status).toBe(0);
  });

  test("tells of a seed that failed what happened, what was wrong, and how to run it again", () => {
    const { status, stdout } = run("--seed", "1", "--mutant", "never-let-go");
    expect(stdout).toContain("seed 1 FAILED");
    expect(stdout).toContain("faults end");
    expect(stdout).toMatch(/G4 bounded: \d+ sessions are left/);
    expect(stdout).toContain("again: npm run sim -- --seed 1 --mutant never-let-go --trace");
    expect(stdout).toContain("0 seeds passed, 1 failed");
    expect(status).toBe(1);
  });

  test("shows every message of a seed that is traced", () => {
    const { stdout } = run("--seed", "3", "--trace");
    expect(stdout).toMatch(/exchange > \[\{"id":"1\.1"/);
    expect(stdout).toMatch(/user-\d(\/0)? < \{"op":"mcm"/);
  });

  test("says which planted mistakes it found, and fails where one was not", () => {
    const found = run("--mutant", "drop-a-delta");
    expect(found.stdout).toContain("1 planted mistakes found, 0 not found");
    expect(found.status).toBe(0);
    const missed = run("--mutant", "lose-a-tombstone", "--seeds", "1");
    expect(missed.stdout).toContain("NOT FOUND by 1 seeds from 1");
    expect(missed.status).toBe(1);
  });

  test.each([
    [["--seeds", "many"], "whole numbers"],
    [["--mutant", "nobody"], "no mutant is called nobody"],
    [["--sedes", "5"], "Unknown option '--sedes'"],
  ])("takes no nonsense: %p", (args, words) => {
    const { status, stderr } = run(...args);
    expect(stderr).toContain(words);
    expect(stderr).not.toContain("    at ");
    expect(status).toBe(2);
  });

  test("explains itself", () => {
    const { status, stdout } = run("--help");
    expect(stdout).toContain("npm run sim -- --seeds 1000");
    expect(status).toBe(0);
  });
});
