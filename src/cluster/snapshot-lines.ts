import type { ChangeBatch } from "../market/batch.ts";
import type { Book } from "../market/book.ts";
import type { BookMemory, CacheMemory } from "../market/cache.ts";
import { changesSince } from "../market/changes.ts";
import { ALL_FIELDS, LADDER_LEVELS_MAX } from "../market/types.ts";
import { writeBatch } from "../wire/changes.ts";
import { decodeServerLine } from "../wire/esa.ts";
import type { TextWriter } from "../wire/text.ts";

/**
 * The snapshot file: the bus's lines, so that whoever reads it does what a newcomer to the bus does.
 *
 *     {"op":"snapshot","version":1,…}                          where the numbers stood
 *     M<shard> <last> <born> <filterChanged> {"op":"mcm",…}    one whole market, as of the last batch before it
 *     B<sequence> <shard> {"op":"mcm",…}                       a batch that came while the file was written
 *     {"op":"end",…}                                           how many there are, and from where the exchange resumes
 *     <SHA-256 of all before, in hex>
 *
 * Numbers are in base 36.
 */
export interface SnapshotHeader extends CacheMemory {
  readonly op: "snapshot";
  readonly version: number;
  readonly epoch: string;
  readonly sequence: number;
  /** What the exchange was asked for, and as whom: books and marks of another question are of no use. */
  readonly criteria: string;
}

export interface SnapshotEnd {
  readonly op: "end";
  readonly markets: number;
  readonly batches: number;
  /** Of the last batch that is in here. */
  readonly sequence: number;
  /** Milliseconds since the Unix epoch. */
  readonly wall: number;
  /** By which each connection resumes after that batch. */
  readonly marks: readonly { readonly initialClk: string; readonly clk: string }[];
}

export const SNAPSHOT_VERSION = 1;
/** Hex, and the end of the line. */
export const CHECKSUM_BYTES = 65;
export const HEADER_START = '{"op":"snapshot","version":';
const WHOLE = { fields: ALL_FIELDS, ladderLevels: LADDER_LEVELS_MAX };
const [OPEN, SPACE] = [123, 32];

export function writeSnapshotLine(line: SnapshotHeader | SnapshotEnd, out: TextWriter): void {
  out.bytes = Buffer.concat([out.bytes.subarray(0, out.length), Buffer.from(`${JSON.stringify(line)}\r\n`)]);
  out.length = out.bytes.length;
}

/** `batch` is for use in between. */
export function writeMarketLine(book: Book, batch: ChangeBatch, out: TextWriter): void {
  batch.clear();
  batch.kind = "image";
  batch.pt = book.pt;
  changesSince(book, 0, WHOLE, batch);
  const numbers = [book.shard, book.last, book.born, book.filterChanged].map((number) => number.toString(36));
  out.ascii(`M${numbers.join(" ")} `);
  writeBatch(batch, out);
  out.ascii("\r\n");
}

/** Fills the batch with the market; null: it is no such line. */
export function readMarketLine(bytes: Uint8Array, start: number, end: number, batch: ChangeBatch): BookMemory | null {
  const numbers: number[] = [];
  let at = start + 1;
  while (bytes[at] !== OPEN) {
    const space = bytes.indexOf(SPACE, at);
    if (space === -1 || space >= end || numbers.length === 4) return null;
    numbers.push(Number.parseInt(Buffer.from(bytes.subarray(at, space)).toString("latin1"), 36));
    at = space + 1;
  }
  const [shard, last, born, filterChanged] = numbers as [number, number, number, number];
  if (numbers.length !== 4 || numbers.some(Number.isNaN)) return null;
  if (decodeServerLine(bytes, at, end, batch).kind !== "change" || batch.ids.length !== 1) return null;
  batch.shard = shard;
  return { last, born, filterChanged };
}
