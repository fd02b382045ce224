import { WORKLOADS as USERS, type Workload } from "../src/load/workload.ts";
import { EVENT_DAYS, type EventDayOptions } from "../src/sim/world-w1.ts";

/** A workload of performance.md: what the exchange does (`simulate --workload NAME`), and who comes (`loadtest --workload NAME`). W1 has no users. */
export interface BenchWorkload {
  readonly name: string;
  readonly feed: EventDayOptions;
  readonly users: Workload | null;
}

export const WORKLOADS: Readonly<Record<string, BenchWorkload>> = Object.fromEntries(
  Object.entries(EVENT_DAYS).map(([name, feed]) => [name, { name, feed, users: USERS[name] ?? null }]),
);
