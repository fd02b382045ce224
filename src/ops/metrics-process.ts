import { readdirSync, readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import type { Clock, Timer } from "../base/clock.ts";

/** What the process takes of the machine, asked anew each time. */
export interface ProcessFigures {
  /** Seconds since the Unix epoch. */
  readonly startedAt: number;
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  /** Null where the system does not tell. */
  readonly openFiles: number | null;
  readonly openFilesMax: number | null;
}

export function processFigures(): ProcessFigures {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return {
    startedAt: performance.timeOrigin / 1000,
    cpuSeconds: (user + system) / 1e6,
    rssBytes: rss,
    heapUsedBytes: heapUsed,
    openFiles: openFiles(),
    openFilesMax: openFilesMax(),
  };
}

/** Linux 6.2 and later give it as the folder's size; with 19,000 connections a list of them takes 10 ms. */
function openFiles(): number | null {
  try {
    return statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
  } catch {
    return null;
  }
}

function openFilesMax(): number | null {
  const soft = /^Max open files\s+(\d+)/m.exec(textOf("/proc/self/limits"))?.[1];
  return soft === undefined ? null : Number(soft);
}

/** How much memory the process may take, bytes: the least of what its control groups allow and the machine has. */
export function memoryLimit(read: (path: string) => string = textOf, machineBytes = totalmem()): number {
  const limits = read("/proc/self/cgroup")
    .split("\n")
    .flatMap((line) => groupFiles(line))
    .map((path) => Number.parseInt(read(path), 10))
    .filter((bytes) => bytes > 0);
  return Math.min(machineBytes, ...limits);
}

/** Where the limits of a group and of those that it is in would stand: "0::/a/b" in the second version of control groups, "4:memory:/a/b" in the first. */
function groupFiles(line: string): string[] {
  const [, controllers, path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
  const of = { "": { root: "", file: "memory.max" }, memory: { root: "/memory", file: "memory.limit_in_bytes" } };
  const place = controllers === "" || controllers === "memory" ? of[controllers] : undefined;
  if (place === undefined) return [];
  const parts = path.split("/").filter((part) => part !== "");
  return [...Array(parts.length + 1).keys()].map((depth) =>
    ["/sys/fs/cgroup".concat(place.root), ...parts.slice(0, depth), place.file].join("/"),
  );
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

const LAG_EVERY_MS = 100;

/** How late the event loop is: a timer that is due every 100 ms, and by how much it was missed. */
export class LoopLag {
  /** The latest, seconds. */
  last = 0;
  readonly #clock: Clock;
  readonly #observe: (seconds: number) => void;
  #timer: Timer | null = null;

  constructor(clock: Clock, observe: (seconds: number) => void) {
    this.#clock = clock;
    this.#observe = observe;
  }

  start(): void {
    const due = this.#clock.monotonic() + LAG_EVERY_MS;
    this.#timer = this.#clock.after(LAG_EVERY_MS, () => {
      this.last = Math.max(0, this.#clock.monotonic() - due) / 1000;
      this.#observe(this.last);
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
