import { createHash, type Hash } from "node:crypto";
import type { Clock, Timer } from "../base/clock.ts";
import type { Disk, Output } from "../base/disk.ts";
import type { Log } from "../base/log.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import type { Sink, SourceState } from "../market/types.ts";
import { TextWriter } from "../wire/text.ts";
import { writeBatchLine } from "./lines.ts";
import { SNAPSHOT_VERSION, type SnapshotEnd, writeMarketLine, writeSnapshotLine } from "./snapshot-lines.ts";

export interface SnapshotOptions {
  readonly file: string;
  /** From the end of one to the beginning of the next. */
  readonly everyMs: number;
  readonly criteria: string;
  /** From where the source would resume, as of the last batch; null: it could not. */
  readonly marks: () => SnapshotEnd["marks"] | null;
  /** When the file that there is was written, by the monotonic clock; absent: there is none. */
  readonly wroteAt?: number;
}

export interface SnapshotWorld {
  readonly cache: Cache;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  /** So many bytes were put together, and what that took is garbage now. */
  readonly collect?: (bytes: number) => void;
}

/** Books are written for so long at a time, and then it is others' turn for as long again. */
const SLICE_MS = 3;
/** What is handed to the disk at a time. */
const CHUNK_BYTES = 256 * 1024;
/** More than this waits for the disk: it is slower than the exchange, and the attempt is given up. */
const WAITING_BYTES_MAX = 16 * 1024 * 1024;
/** The longest that the last one, at a stop, may take. */
const LAST_MS_MAX = 10_000;

/**
 * Keeps a file of all books beside the house, from which a restart goes on. Stands between a source and its sink, since a file that takes seconds to write
 * is as of its end only with the batches that came meanwhile (docs/decisions/0011-snapshot.md).
 *
 * Written to a temporary file, which takes the file's place when all of it is on the disk; the one before stays as `.1`. Whatever goes wrong is logged, once for each
 * code, and tried again the next time.
 */
export class SnapshotWriter implements Sink {
  // counters, read by ops
  written = 0;
  failures = 0;
  /** The longest that one turn of the loop was taken, and what the last file came to. */
  sliceMsMax = 0;
  lastBytes = 0;
  lastMs = 0;
  /** By the monotonic clock; null: there is no file. */
  wroteAt: number | null;
  readonly #options: SnapshotOptions;
  readonly #world: SnapshotWorld;
  readonly #sink: Sink;
  #draft: Draft | null = null;
  #timer: Timer | null = null;
  #isDue = false;
  #isStopped = false;
  #said = "";

  constructor(options: SnapshotOptions, world: SnapshotWorld, sink: Sink) {
    this.#options = options;
    this.#world = world;
    this.#sink = sink;
    this.wroteAt = options.wroteAt ?? null;
  }

  /** The last attempt failed. */
  get isFailing(): boolean {
    return this.#said !== "";
  }

  batch(batch: ChangeBatch): void {
    this.#sink.batch(batch);
    this.#draft?.batch(batch);
  }

  settled(): void {
    this.#sink.settled();
    if (this.#isDue) this.#begin();
    else this.#draft?.goOn();
  }

  state(state: SourceState, reason: string): void {
    this.#sink.state(state, reason);
    if (state === "live") this.#world.cache.confirm();
    // The first one at once: until there is one, another restart would begin where this one did.
    if (state === "live" && this.written === 0 && this.#timer === null && this.#draft === null) this.#isDue = true;
  }

  /**
   * The last one, for the next start. The source is to be stopped in this same turn, so its marks are taken down now. Resolves when it is written, or cannot be.
   */
  stop(): Promise<void> {
    this.#isStopped = true;
    this.#isDue = false;
    this.#timer?.cancel();
    this.#draft?.abandon("another takes its place");
    return this.#begin(true);
  }

  #begin(isLast = false): Promise<void> {
    const { cache, clock } = this.#world;
    const marks = this.#options.marks();
    if (this.#draft !== null || cache.midGroup || !cache.isConfirmed || cache.size === 0 || marks === null)
      return Promise.resolve();
    this.#isDue = false;
    const began = clock.monotonic();
    const draft = new Draft(this.#options, this.#world, isLast ? marks : null);
    this.#draft = draft;
    return draft.done.then((outcome) => {
      if (this.#draft === draft) this.#draft = null;
      this.sliceMsMax = Math.max(this.sliceMsMax, draft.sliceMsMax);
      if (outcome.kind === "written") this.#wrote(draft, clock.monotonic() - began);
      else this.#failed(outcome);
      if (this.#isStopped) return;
      this.#timer = clock.after(this.#options.everyMs, () => {
        this.#isDue = true;
        this.#begin();
      });
    });
  }

  #wrote({ bytes, markets }: Draft, ms: number): void {
    this.written++;
    this.lastBytes = bytes;
    this.lastMs = Math.round(ms);
    this.#said = "";
    const { log, clock } = this.#world;
    this.wroteAt = clock.monotonic();
    const { sliceMsMax } = this;
    log.debug({ file: this.#options.file, markets, bytes, ms: this.lastMs, sliceMsMax }, "a snapshot was written");
  }

  #failed({ code, reason }: Extract<Outcome, { kind: "failed" }>): void {
    this.failures++;
    if (this.#said === code) return;
    this.#said = code;
    const { log } = this.#world;
    log.warn({ file: this.#options.file, code, reason }, "no snapshot was written; tried again later");
  }
}

type Outcome =
  | { readonly kind: "written" }
  /** `code`: the system's, such as ENOSPC, or ABANDONED. */
  | { readonly kind: "failed"; readonly code: string; readonly reason: string };

/** One file in the making. */
class Draft {
  readonly done: Promise<Outcome>;
  bytes = 0;
  markets = 0;
  sliceMsMax = 0;
  readonly #options: SnapshotOptions;
  readonly #world: SnapshotWorld;
  /** Where the source stood when it was stopped; null: it goes on. */
  readonly #marks: SnapshotEnd["marks"] | null;
  readonly #books: Book[];
  readonly #hash: Hash = createHash("sha256");
  readonly #batch = new ChangeBatch();
  #batches = 0;
  /** What is being put together, and what the disk has at the moment. */
  #out = new TextWriter();
  #other = new TextWriter();
  #isWriting = true;
  /** Nothing more goes in. */
  #isWhole = false;
  #given: Extract<Outcome, { kind: "failed" }> | null = null;
  #wake: () => void = () => {};
  #timer: Timer | null = null;
  readonly #beganAt: number;

  constructor(options: SnapshotOptions, world: SnapshotWorld, marks: SnapshotEnd["marks"] | null) {
    this.#options = options;
    this.#world = world;
    this.#marks = marks;
    const began = world.clock.monotonic();
    this.#beganAt = began;
    const { cache } = world;
    const { epoch, sequence, memory } = cache;
    const { criteria } = options;
    writeSnapshotLine({ op: "snapshot", version: SNAPSHOT_VERSION, epoch, sequence, criteria, ...memory }, this.#out);
    // From the last to the first: they are taken from the end, and are to come back in the order in which they came.
    this.#books = [...cache.books()].sort((a, b) => b.ordinal - a.ordinal);
    this.done = this.#write();
    this.sliceMsMax = world.clock.monotonic() - began;
  }

  batch(batch: ChangeBatch): void {
    if (this.#isWhole || this.#given !== null || batch.kind === "heartbeat") return;
    // What an image leaves out is lost, and of a market that is not in the file yet nobody would ever know that.
    if (batch.kind === "image") return this.abandon("the exchange sent an image meanwhile");
    writeBatchLine(batch, this.#world.cache.sequence, this.#out);
    this.#batches++;
    if (this.#out.length > WAITING_BYTES_MAX) this.abandon(`more than ${WAITING_BYTES_MAX} bytes wait for the disk`);
  }

  /** The next slice, if it is not the disk's turn. */
  goOn(): void {
    if (this.#isWriting || this.#isWhole || this.#timer !== null || this.#given !== null) return;
    const { clock } = this.#world;
    const began = clock.monotonic();
    if (this.#marks !== null && began - this.#beganAt > LAST_MS_MAX) return this.abandon("it took too long");
    this.#slice(began + SLICE_MS);
    this.sliceMsMax = Math.max(this.sliceMsMax, clock.monotonic() - began);
    if (this.#isWhole || this.#out.length >= CHUNK_BYTES) return this.#wake();
    this.#timer = clock.after(this.#marks === null ? SLICE_MS : 0, () => {
      this.#timer = null;
      this.goOn();
    });
  }

  abandon(reason: string): void {
    this.#given ??= { kind: "failed", code: "ABANDONED", reason };
    this.#timer?.cancel();
    this.#wake();
  }

  #slice(until: number): void {
    const { cache, clock } = this.#world;
    while (this.#books.length > 0 && this.#out.length < CHUNK_BYTES && clock.monotonic() < until) {
      const book = this.#books.pop() as Book;
      if (cache.get(book.id) !== book) continue;
      writeMarketLine(book, this.#batch, this.#out);
      this.markets++;
    }
    if (this.#books.length === 0 && !cache.midGroup) this.#end();
  }

  #end(): void {
    const { cache, clock } = this.#world;
    const marks = this.#marks ?? this.#options.marks();
    if (marks === null) return this.abandon("the exchange could not be resumed");
    const { markets } = this;
    const { sequence } = cache;
    const wall = Math.floor(clock.wall());
    writeSnapshotLine({ op: "end", markets, batches: this.#batches, sequence, wall, marks }, this.#out);
    this.#isWhole = true;
  }

  async #write(): Promise<Outcome> {
    const { disk } = this.#world;
    const { file } = this.#options;
    const draft = `${file}.tmp`;
    let output: Output | null = null;
    try {
      output = await disk.create(draft);
      while (!this.#isWhole) {
        if (this.#given === null) await this.#turn();
        if (this.#given === null) await this.#hand(output);
        if (this.#given !== null) throw this.#given;
      }
      await output.write(Buffer.from(`${this.#hash.digest("hex")}\n`));
      await output.sync();
      await output.close();
      output = null;
      await disk.rename(file, `${file}.1`).catch(unlessMissing);
      await disk.rename(draft, file);
      return { kind: "written" };
    } catch (error) {
      this.#given ??= failure(error);
      this.#timer?.cancel();
      // What is half written is of no use, and in the way where the disk is full.
      await output?.close().catch(() => {});
      await disk.remove(draft).catch(() => {});
      return this.#given;
    }
  }

  /** Slices until there is a chunk. */
  #turn(): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#isWriting = false;
      this.goOn();
    });
  }

  async #hand(output: Output): Promise<void> {
    this.#isWriting = true;
    const full = this.#out;
    this.#out = this.#other;
    this.#other = full;
    const bytes = full.bytes.subarray(0, full.length);
    this.#hash.update(bytes);
    this.bytes += bytes.length;
    await output.write(bytes);
    this.#world.collect?.(bytes.length);
    full.clear();
  }
}

function unlessMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
}

function failure(error: unknown): Extract<Outcome, { kind: "failed" }> {
  const { code = "UNKNOWN", message } = error as NodeJS.ErrnoException;
  return { kind: "failed", code, reason: message };
}
