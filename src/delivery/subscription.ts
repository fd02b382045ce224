import type { Book } from "../market/book.ts";
import { looksAtFacts, type Matcher, matcher } from "../market/filter.ts";
import type { SubscribeRequest } from "../wire/requests.ts";
import type { Beat } from "./beat.ts";
import type { Contract } from "./contract.ts";
import type { Session } from "./session.ts";
import type { View } from "./view.ts";

/**
 * Bringing a subscription in step: an image, a resume, or what a laggard missed. No messages are kept, only how far it got:
 * what changed since `from` is sent market by market, those that stopped first, and complete up to `to` at the end.
 */
export interface CatchUp {
  kind: "image" | "resume" | "behind";
  from: number;
  /** The sequence when the pass began: what its end may claim. */
  to: number;
  /** Stopped markets go in phase 0, the others in phase 1; `cursor` is the next view of the phase. */
  phase: 0 | 1;
  cursor: number;
  /** A message of this pass went out already. */
  begun: boolean;
  /** Markets came or went during the pass, so the cursor may have missed one: it must be done again. */
  disturbed: boolean;
}

/** One user's wish for some markets. In step: told with its views' flushes. Catching up: told on its own, as fast as its socket takes it. */
export class Subscription {
  readonly id: number;
  readonly session: Session;
  readonly contract: Contract;
  /** Another one under another epoch. */
  initialClk: string;
  readonly request: SubscribeRequest;
  readonly beat: Beat;
  /** Its filter looks at more than ids, so markets may enter and leave it. */
  readonly roving: boolean;
  /** `{"op":"mcm","id":7`: how each of its messages begins. */
  readonly prefix: string;

  readonly views: View[] = [];
  /** For each view, where this subscription stands in it. */
  readonly places: number[] = [];

  /** Up to which sequence it was told, and so what its last clk said. */
  told = 0;
  catchUp: CatchUp | null = null;
  ended = false;
  /** Where only wanted markets are carried: takes its wish back. */
  unwant: (() => void) | null = null;
  /** What it was last told of the source: 503, or null for all is well. */
  said: number | null = null;
  /** When it was last sent anything, monotonic milliseconds. */
  sentAt = 0;
  /** What the next write is made of: -(head + 1) begins a message, then pairs (offset, length) of entries. */
  readonly pending: number[] = [];
  /** The head its last pending message has. */
  pendingHead = -1;
  readonly #matches: Matcher;

  constructor(session: Session, request: SubscribeRequest, contract: Contract, initialClk: string, beat: Beat) {
    this.id = request.id;
    this.session = session;
    this.request = request;
    this.contract = contract;
    this.initialClk = initialClk;
    this.beat = beat;
    this.#matches = matcher(request.filter);
    this.roving =
      request.filter.marketIds === undefined || request.filter.marketIds.length === 0 || looksAtFacts(request.filter);
    this.prefix = `{"op":"mcm","id":${request.id}`;
  }

  get isInStep(): boolean {
    return this.catchUp === null && !this.ended;
  }

  matches(book: Pick<Book, "id" | "known">): boolean {
    return this.#matches(book.id, book.known);
  }

  /** From where this market is told to somebody who knows everything up to `from`: from the start if it may have entered the filter since. */
  sinceFor(book: Book, from: number): number {
    return this.roving && book.filterChanged > from ? 0 : from;
  }

  begin(kind: CatchUp["kind"], from: number, now: number): void {
    this.pending.length = 0;
    this.pendingHead = -1;
    this.catchUp = { kind, from, to: now, phase: 0, cursor: 0, begun: false, disturbed: false };
  }
}

/** Whether a market goes first in a pass that claims everything up to `to`: it had stopped by then. */
export function goesFirst(book: Book, to: number): boolean {
  const { status } = book.facts;
  return (status === "SUSPENDED" || status === "CLOSED") && book.suspended <= to;
}
