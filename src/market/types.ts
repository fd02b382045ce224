import type { ChangeBatch } from "./batch.ts";

/** The exchange's id of a market, such as "1.241629436". */
export type MarketId = string;

/** Which of the exchange's marketDataFilter fields a reader wants: bits of `FIELD`, joined by `|`, and `AS_SENT`. */
export type FieldSet = number;

/** The exchange's field flags, in the exchange's words. */
export const FIELD = {
  EX_BEST_OFFERS_DISP: 1,
  EX_BEST_OFFERS: 2,
  EX_ALL_OFFERS: 4,
  EX_TRADED: 8,
  EX_TRADED_VOL: 16,
  EX_LTP: 32,
  EX_MARKET_DEF: 64,
  SP_TRADED: 128,
  SP_PROJECTED: 256,
} as const;

export type FieldName = keyof typeof FIELD;

/** Beside the bits of `FIELD`: what upstream sent, and nothing computed from it. */
export const AS_SENT: FieldSet = 512;

/** Every field as upstream sends it: what a subscription without `fields` gets. */
export const ALL_FIELDS: FieldSet = 511 | AS_SENT;

/** The deepest level ladder the exchange gives, and so what a subscription without `ladderLevels` gets. */
export const LADDER_LEVELS_MAX = 10;

/** Kinds of ladder. The first five are keyed by price, the others by level. Values are the tape's and the book's. */
export const LADDER = { atb: 0, atl: 1, trd: 2, spb: 3, spl: 4, batb: 5, batl: 6, bdatb: 7, bdatl: 8 } as const;
export type LadderName = keyof typeof LADDER;
export type LadderKind = (typeof LADDER)[LadderName];
export const LADDER_NAMES = ["atb", "atl", "trd", "spb", "spl", "batb", "batl", "bdatb", "bdatl"] as const;
export const LADDER_FIELDS: readonly FieldSet[] = [4, 4, 8, 128, 128, 2, 2, 1, 1];
export const FIRST_LEVEL_LADDER = 5;

/** Kinds of single values of a runner. */
export const SCALAR = { tv: 0, ltp: 1, spn: 2, spf: 3 } as const;
export type ScalarName = keyof typeof SCALAR;
export type ScalarKind = (typeof SCALAR)[ScalarName];
export const SCALAR_NAMES = ["tv", "ltp", "spn", "spf"] as const;
export const SCALAR_FIELDS: readonly FieldSet[] = [16, 32, 256, 256];

export type MarketStatus = "INACTIVE" | "OPEN" | "SUSPENDED" | "CLOSED";

/**
 * Where in the stream of batches something stands. `epoch` names who numbers them, and is new whenever numbering starts afresh;
 * `sequence` counts batches from 1. Opaque to everybody but the cache, which assigns them, and the contract, which writes them.
 */
export interface Position {
  readonly epoch: string;
  readonly sequence: number;
}

/** Where books that are about to come stand. */
export interface SyncPosition extends Position {
  /** Present where they are those of before a restart, and their source has not answered yet: somebody may have seen what came after this sequence, and is not here. */
  readonly unconfirmedFrom?: number;
}

/** How a source is doing. `live`: what it says can be believed. `stale`: it is late or silent, its last word stands. `down`: never yet, or given up. */
export type SourceState = "live" | "stale" | "down";

/** Where a source puts what it has. Calls are synchronous: a batch is the source's again when `batch` returns. */
export interface Sink {
  /** One change message, or one segment of a segmented one. */
  batch(batch: ChangeBatch): void;
  /** All batches that came in one piece (one read of a socket) were handed over: what is due at once may be written out. */
  settled(): void;
  /** The source's state changed; `reason` is for people. */
  state(state: SourceState, reason: string): void;
}

/** A sink that follows somebody who numbers batches (a cluster peer): its positions are that one's. */
export interface Follower extends Sink {
  /** All books are about to come, as `piece`s, between the batches that go on. Nothing is complete until `synced`. */
  syncing(position: SyncPosition): void;
  /** Whole markets (`img`) as they are at the position of the last batch. */
  piece(batch: ChangeBatch): void;
  /** Every market there is has come; those that did not are gone. */
  synced(): void;
  /** Whoever numbers is not heard any more: until the next `synced`, others may be further than we are. */
  cutOff(): void;
  /** Whoever numbers is heard, and has said nothing that has not come: once in each of its heartbeat intervals. */
  current(): void;
}

/** Anything that prices come from: the exchange, a second feed, a recording, a cluster peer. */
export interface Source {
  readonly name: string;
  start(sink: Sink): void;
  /** Lets go of everything; no call to the sink afterwards. */
  stop(): void;
}
