import { createHash } from "node:crypto";
import { resolve } from "node:path";
import type { Clock } from "./base/clock.ts";
import { systemDisk } from "./base/disk.ts";
import type { Log } from "./base/log.ts";
import { type ReadOutcome, readSnapshot } from "./cluster/snapshot-reader.ts";
import { SnapshotWriter } from "./cluster/snapshot-writer.ts";
import type { Config } from "./config.ts";
import type { Upstream } from "./exchange/client.ts";
import type { Marks } from "./exchange/connection.ts";
import type { Cache } from "./market/cache.ts";
import type { Sink } from "./market/types.ts";
import type { SnapshotCounters } from "./ops/metrics-list.ts";

/** The books, empty or as they were before a restart, and how they are kept for the next one. */
export interface Books {
  readonly cache: Cache;
  /** From where each connection is to resume; absent: from nowhere. */
  readonly resumeFrom?: readonly Marks[];
  /** What to put between the source and its sink. */
  keep(source: Upstream, sink: Sink): Kept;
  /** How the keeping goes; null where nothing is kept, or not yet. */
  readonly snapshot: () => SnapshotCounters | null;
}

export interface Kept {
  readonly sink: Sink;
  /** To be called in the same turn as, and before, the source's `stop`; resolves when the books are kept, or cannot be. */
  stop(): Promise<void>;
}

/** What is read at a start, and written later, leaves garbage in heaps: it is collected after so many bytes. */
const COLLECT_BYTES = 8 * 1024 * 1024;

/** The books of before, where there are any, kept in the snapshot file from now on. */
export function snapshotBooks(config: Config, newCache: () => Cache, clock: Clock, log: Log): Books {
  const { file, everyMs } = config.snapshot as NonNullable<Config["snapshot"]>;
  const path = resolve(file);
  const criteria = criteriaOf(config);
  const before = booksOfBefore(path, { criteria, newCache, ...config.cache }, clock, log);
  const cache = before?.cache ?? newCache();
  let kept: SnapshotWriter | null = null;
  return {
    cache,
    snapshot: () => kept,
    ...(before && { resumeFrom: before.marks }),
    keep(source, sink) {
      const marks = () => source.allMarks ?? null;
      const options = {
        file: path,
        everyMs,
        criteria,
        marks,
        ...(before && { wroteAt: clock.monotonic() - before.ageMs }),
      };
      const writer = new SnapshotWriter(options, { cache, disk: systemDisk, clock, log, collect: collector() }, sink);
      kept = writer;
      return { sink: writer, stop: () => writer.stop() };
    },
  };
}

/** From the file or the one before it; null: a cold start. What is of no use is said in the log. */
function booksOfBefore(
  path: string,
  options: { criteria: string; newCache: () => Cache; retentionMs: number },
  clock: Clock,
  log: Log,
): Extract<ReadOutcome, { kind: "restored" }> | null {
  const began = clock.monotonic();
  for (const file of [path, `${path}.1`]) {
    const read = readSnapshot(systemDisk, file, { ...options, wall: clock.wall(), collect: collector() });
    if (read.kind === "useless") log.warn({ file, reason: read.reason }, "a snapshot is of no use");
    if (read.kind !== "restored") continue;
    const { cache, ageMs, sameEpoch } = read;
    const ms = Math.round(clock.monotonic() - began);
    log.info({ file, markets: cache.size, ageMs, sameEpoch, ms }, "the books of before are back, and stale");
    return read;
  }
  return null;
}

function collector(): (bytes: number) => void {
  let uncollected = 0;
  return (bytes) => {
    uncollected += bytes;
    if (uncollected < COLLECT_BYTES) return;
    uncollected = 0;
    Bun.gc(true);
  };
}

/** One word for all that books and marks are good for: the exchange, the account, and what was asked for. */
function criteriaOf({ exchange }: Config): string {
  const { host, port, appKey, username, filter, shards, fields, ladderLevels, conflateMs } = exchange;
  const asked = [host, port, appKey, username ?? null, filter, shards, [...fields].sort(), ladderLevels, conflateMs];
  return createHash("sha256").update(JSON.stringify(asked)).digest("hex").slice(0, 32);
}
