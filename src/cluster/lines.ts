import type { ChangeBatch } from "../market/batch.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { SourceState, SyncPosition } from "../market/types.ts";
import type { EndedToken } from "../tenancy/sessions.ts";
import { writeBatch } from "../wire/changes.ts";
import { decodeServerLine } from "../wire/esa.ts";
import type { TextWriter } from "../wire/text.ts";

/**
 * The bus's lines, each ended by CRLF. Batches go as the exchange's own change messages, behind who numbers them:
 *
 *     B<sequence> <shard> {"op":"mcm",…}     a batch; a heartbeat has the number of the batch before
 *     P<shard> {"op":"mcm",…}                whole markets, for who has just joined
 *     {"op":"hello",…}                       and the other control lines below
 *
 * Numbers are in base 36.
 */
export type ControlLine =
  /** From a follower, first of all. */
  | { readonly op: "join"; readonly version: number; readonly name: string; readonly hasBooks: boolean }
  /** From a follower, where only what is wanted is carried: its users want these markets, or none of them does any more. */
  | { readonly op: "want" | "unwant"; readonly filter: MarketFilter }
  /** Where the numbers stand; all books follow, between the batches that go on. */
  | ({ readonly op: "hello"; readonly version: number } & SyncPosition)
  | { readonly op: "synced" }
  /** From a follower, and passed on to the others: a token of a login is not to be believed any more. */
  | { readonly op: "ended"; readonly token: EndedToken }
  /** Who has all books, whenever that changes. */
  | { readonly op: "followers"; readonly names: readonly string[] }
  | { readonly op: "state"; readonly state: SourceState; readonly reason: string }
  | { readonly op: "heartbeat" };

export const BUS_VERSION = 1;
/** A line with one market that is very large, and then some. */
export const BUS_LINE_BYTES_MAX = 64 * 1024 * 1024;

const [B, P, OPEN, SPACE] = [66, 80, 123, 32];

export function writeBatchLine(batch: ChangeBatch, sequence: number, out: TextWriter): void {
  out.ascii(`B${sequence.toString(36)} ${batch.shard.toString(36)} `);
  writeBatch(batch, out);
  out.ascii("\r\n");
}

export function writePieceLine(piece: ChangeBatch, out: TextWriter): void {
  out.ascii(`P${piece.shard.toString(36)} `);
  writeBatch(piece, out);
  out.ascii("\r\n");
}

export function controlLine(line: ControlLine): string {
  return `${JSON.stringify(line)}\r\n`;
}

/** What a line was: of `batch` and `piece`, the batch given is filled, its shard and (`batch`) its sequence too. */
export type BusLine =
  | { readonly kind: "batch" }
  | { readonly kind: "piece" }
  | { readonly kind: "control"; readonly line: ControlLine }
  | { readonly kind: "invalid"; readonly reason: string };

const BATCH: BusLine = { kind: "batch" };
const PIECE: BusLine = { kind: "piece" };

export function readBusLine(bytes: Uint8Array, start: number, end: number, batch: ChangeBatch): BusLine {
  const first = bytes[start];
  if (first === OPEN) return control(bytes, start, end);
  if (first !== B && first !== P) return { kind: "invalid", reason: "a line of no kind" };
  let at = start + 1;
  const numbers: number[] = [];
  while (bytes[at] !== OPEN) {
    const space = bytes.indexOf(SPACE, at);
    if (space === -1 || space >= end || numbers.length === 2)
      return { kind: "invalid", reason: "a line without a message" };
    numbers.push(Number.parseInt(Buffer.from(bytes.subarray(at, space)).toString("latin1"), 36));
    at = space + 1;
  }
  const message = decodeServerLine(bytes, at, end, batch);
  if (message.kind === "invalid") return message;
  const shard = numbers.at(-1);
  if (message.kind !== "change" || numbers.length !== (first === B ? 2 : 1) || numbers.some(Number.isNaN))
    return { kind: "invalid", reason: "a line without its numbers, or of another message" };
  batch.shard = shard as number;
  batch.sequence = first === B ? (numbers[0] as number) : null;
  return first === B ? BATCH : PIECE;
}

function control(bytes: Uint8Array, start: number, end: number): BusLine {
  try {
    const line = JSON.parse(Buffer.from(bytes.subarray(start, end)).toString()) as ControlLine;
    return { kind: "control", line };
  } catch {
    return { kind: "invalid", reason: "a control line that is not JSON" };
  }
}
