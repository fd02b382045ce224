import { createHash } from "node:crypto";
import type { Disk, Input } from "../base/disk.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { Cache } from "../market/cache.ts";
import { LineReader } from "../wire/lines.ts";
import { BUS_LINE_BYTES_MAX, readBusLine } from "./lines.ts";
import {
  CHECKSUM_BYTES,
  HEADER_START,
  readMarketLine,
  SNAPSHOT_VERSION,
  type SnapshotEnd,
  type SnapshotHeader,
} from "./snapshot-lines.ts";

export interface ReaderOptions {
  readonly criteria: string;
  /** Milliseconds since the Unix epoch. */
  readonly wall: number;
  /** Of an older file the books are good, but nobody comes back with its clks. */
  readonly retentionMs: number;
  /** An empty cache under an epoch of its own. */
  readonly newCache: () => Cache;
  /** So many bytes were read and are garbage now. */
  readonly collect?: (bytes: number) => void;
}

export type ReadOutcome =
  | {
      readonly kind: "restored";
      readonly cache: Cache;
      /** By which each connection resumes. */
      readonly marks: SnapshotEnd["marks"];
      readonly ageMs: number;
      /** The numbers go on: users come back by what changed. */
      readonly sameEpoch: boolean;
    }
  | { readonly kind: "missing" }
  | { readonly kind: "useless"; readonly reason: string };

const CHUNK_BYTES = 256 * 1024;
/** More than were ever given between a snapshot and the end of its process: a million, and 20 for each millisecond since. */
const SKIP = { atLeast: 1_000_000, perMs: 20 } as const;
/** Numbers from here on are not carried over: they would soon be used up. */
const SEQUENCE_MAX = 2 ** 31;

/** Reads a snapshot into a new cache: the whole file is held against its checksum before anything in it is believed. Takes about a second for 100 MB. */
export function readSnapshot(disk: Disk, path: string, options: ReaderOptions): ReadOutcome {
  let input: Input;
  try {
    input = disk.open(path);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? { kind: "missing" } : useless(error);
  }
  try {
    const wrong = whatIsWrong(input);
    return wrong === null ? load(input, options) : { kind: "useless", reason: wrong };
  } catch (error) {
    return useless(error);
  } finally {
    input.close();
  }
}

function useless(error: unknown): ReadOutcome {
  const { code, message } = error as NodeJS.ErrnoException;
  return { kind: "useless", reason: code ?? message };
}

function whatIsWrong(input: Input): string | null {
  const hash = createHash("sha256");
  const end = input.size - CHECKSUM_BYTES;
  const said = Buffer.alloc(CHECKSUM_BYTES);
  for (const chunk of chunks(input, end)) {
    if (chunk.at === 0) {
      const version = versionOf(chunk.bytes);
      if (version === null) return "it is no snapshot";
      if (version !== SNAPSHOT_VERSION) return `it is of version ${version}, and this is ${SNAPSHOT_VERSION}`;
    }
    hash.update(chunk.bytes);
  }
  input.read(said, Math.max(0, end));
  return said.toString("latin1") === `${hash.digest("hex")}\n` ? null : "it is cut short, or not what was written";
}

function versionOf(bytes: Uint8Array): number | null {
  const start = Buffer.from(bytes.subarray(0, HEADER_START.length + 12)).toString("latin1");
  const [, version] = start.startsWith(HEADER_START) ? (/^(\d+),/.exec(start.slice(HEADER_START.length)) ?? []) : [];
  return version === undefined ? null : Number(version);
}

/** The bytes up to `end`; each chunk is good until the next. */
function* chunks(input: Input, end: number): Generator<{ at: number; bytes: Uint8Array }> {
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  for (let at = 0; at < end; ) {
    const count = input.read(buffer.subarray(0, Math.min(CHUNK_BYTES, end - at)), at);
    if (count === 0) return;
    yield { at, bytes: buffer.subarray(0, count) };
    at += count;
  }
}

function load(input: Input, options: ReaderOptions): ReadOutcome {
  const loading = new Loading(options, endOf(input));
  const lines = new LineReader(BUS_LINE_BYTES_MAX);
  for (const { bytes } of chunks(input, input.size - CHECKSUM_BYTES)) {
    lines.push(bytes, (chunk, start, end) => loading.line(chunk, start, end));
    if (loading.wrong !== null) return { kind: "useless", reason: loading.wrong };
    options.collect?.(bytes.length);
  }
  return loading.outcome();
}

/** The last line but one: whether the numbers go on is to be known before the books come. */
function endOf(input: Input): SnapshotEnd {
  const tail = Buffer.alloc(Math.min(input.size - CHECKSUM_BYTES, CHUNK_BYTES));
  input.read(tail, input.size - CHECKSUM_BYTES - tail.length);
  return JSON.parse(tail.subarray(tail.lastIndexOf("\n", tail.length - 2) + 1).toString()) as SnapshotEnd;
}

/** Lines of a file that is known to be what was written. */
class Loading {
  wrong: string | null = null;
  readonly #options: ReaderOptions;
  readonly #end: SnapshotEnd;
  readonly #cache: Cache;
  readonly #ageMs: number;
  readonly #sameEpoch: boolean;
  readonly #batch = new ChangeBatch();
  #markets = 0;
  #batches = 0;

  constructor(options: ReaderOptions, end: SnapshotEnd) {
    this.#options = options;
    this.#end = end;
    this.#cache = options.newCache();
    this.#ageMs = options.wall - end.wall;
    // A clock that was set back says nothing about what was given since.
    const isYoung = this.#ageMs >= 0 && this.#ageMs <= options.retentionMs;
    this.#sameEpoch = isYoung && this.#next < SEQUENCE_MAX;
  }

  line(bytes: Uint8Array, start: number, end: number): void {
    if (this.wrong !== null) return;
    if (bytes[start] === MARKET) return this.#market(bytes, start, end);
    if (bytes[start] === BATCH) return this.#batchLine(bytes, start, end);
    const line = JSON.parse(Buffer.from(bytes.subarray(start, end)).toString()) as SnapshotHeader | SnapshotEnd;
    if (line.op === "snapshot") this.#begin(line);
  }

  outcome(): ReadOutcome {
    const { markets, batches, marks } = this.#end;
    if (this.#markets !== markets || this.#batches !== batches)
      return { kind: "useless", reason: `it holds ${this.#markets} markets where ${markets} were written` };
    this.#cache.endRestore(this.#sameEpoch ? this.#next : this.#cache.sequence + 1);
    const [cache, sameEpoch, ageMs] = [this.#cache, this.#sameEpoch, this.#ageMs];
    return { kind: "restored", cache, marks, ageMs, sameEpoch };
  }

  get #next(): number {
    return this.#end.sequence + SKIP.atLeast + SKIP.perMs * Math.max(0, this.#ageMs);
  }

  #begin(header: SnapshotHeader): void {
    if (header.criteria !== this.#options.criteria) {
      this.wrong = "it is of another account, exchange or subscription";
      return;
    }
    if (this.#sameEpoch) return this.#cache.beginRestore(header, header);
    const { epoch } = this.#cache;
    this.#cache.beginRestore({ epoch, sequence: 1 }, { reach: 1, membershipFrom: 1, gaps: [], lost: [] });
  }

  #market(bytes: Uint8Array, start: number, end: number): void {
    const memory = readMarketLine(bytes, start, end, this.#batch);
    if (memory === null) {
      this.wrong = "a line of it is no market";
      return;
    }
    this.#markets++;
    const { sequence } = this.#cache;
    this.#cache.restore(this.#batch, this.#sameEpoch ? memory : { last: sequence, born: 1, filterChanged: sequence });
  }

  #batchLine(bytes: Uint8Array, start: number, end: number): void {
    if (readBusLine(bytes, start, end, this.#batch).kind !== "batch") {
      this.wrong = "a line of it is no batch";
      return;
    }
    this.#batches++;
    if (!this.#sameEpoch) this.#batch.sequence = null;
    this.#cache.apply(this.#batch);
  }
}

const [MARKET, BATCH] = [77, 66];
