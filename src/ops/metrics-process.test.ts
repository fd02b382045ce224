import { describe, expect, test } from "bun:test";
import type { Clock } from "../base/clock.ts";
import { LoopLag, memoryLimit, processFigures } from "./metrics-process.ts";

const MACHINE = 8_000;
const limitOf = (files: Readonly<Record<string, string>>) => memoryLimit((path) => files[path] ?? "", MACHINE);

describe("the limit of memory", () => {
  test("is what the machine has where no group says less", () => {
    expect(limitOf({})).toBe(MACHINE);
    expect(limitOf({ "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n" })).toBe(MACHINE);
  });

  test("is the least that its group and those around it allow", () => {
    const own = { "/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "900\n" };
    expect(limitOf(own)).toBe(900);
    expect(limitOf({ ...own, "/sys/fs/cgroup/a/memory.max": "500\n" })).toBe(500);
  });

  test("is found in the first version of control groups, and no other controller is asked", () => {
    const files = {
      "/proc/self/cgroup": "5:cpuset:/a\n4:memory:/a\n0::/\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "700\n",
      "/sys/fs/cgroup/memory.limit_in_bytes": "1\n",
    };
    expect(limitOf(files)).toBe(700);
  });
});

/** One whose timers fire as late as they are told to. */
class LateClock implements Clock {
  now = 0;
  #due = 0;
  #fire: (() => void) | null = null;
  wall = () => this.now;
  monotonic = () => this.now;
  after(ms: number, fire: () => void) {
    this.#due = this.now + ms;
    this.#fire = fire;
    return { cancel: () => void (this.#fire = null) };
  }
  fire(lateMs: number): void {
    const fire = this.#fire;
    this.#fire = null;
    this.now = this.#due + lateMs;
    fire?.();
  }
}

test("the loop is as late as its timer, each time anew, until it is stopped", () => {
  const clock = new LateClock();
  const seen: number[] = [];
  const lag = new LoopLag(clock, (seconds) => seen.push(seconds));
  lag.start();
  for (const ms of [0, 250, 3]) clock.fire(ms);
  expect(seen).toEqual([0, 0.25, 0.003]);
  lag.stop();
  clock.fire(500);
  expect(seen.length).toBe(3);
});

test("the process's own figures are of the size that they must be", () => {
  const { cpuSeconds, rssBytes, heapUsedBytes, openFiles, openFilesMax } = processFigures();
  expect(cpuSeconds).toBeGreaterThan(0);
  expect(rssBytes).toBeGreaterThan(heapUsedBytes);
  expect(openFiles).toBeGreaterThan(2);
  expect(openFilesMax).toBeGreaterThan(openFiles as number);
});
