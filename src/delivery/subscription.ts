import type { Book } from "../market/book.ts";
import { looksAtFacts, type MarketFilter, type Matcher, matcher } from "../market/filter.ts";
import type { SubscribeRequest } from "../wire/requests.ts";
import type { Beat } from "./beat.ts";
import type { Terms } from "./contract.ts";
import type { Session } from "./session.ts";
import type { View } from "./view.ts";

/**
 * Bringing a subscription in step: an image, a resume, or what a laggard missed. No messages are kept, only how far it got:
 * what changed since `from` is sent market by market, those that stopped first, and complete up to `to` at the end.
 */
export interface CatchUp {
  /** Image and resume answer a request for the subscription, `changed` one that altered it; `behind` is not asked for. */
  kind: "image" | "resume" | "changed" | "behind";
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
  /** Markets that were added: they come whole, whatever `from` is. */
  fresh: Set<Book> | null;
}

/** What somebody who comes back says to have: the initialClk and clk of its request. */
export interface Asked {
  readonly initialClk: string | null;
  readonly clk: string;
}

/** So many ids are looked through as fast as a set is asked. */
const FEW = 16;

/** One user's wish for some markets. In step: told with its views' flushes. Catching up: told on its own, as fast as its socket takes it. */
export class Subscription {
  readonly id: number;
  readonly session: Session;
  // as they are by now: `become` alters them
  filter: MarketFilter;
  terms: Terms;
  beat: Beat;
  /** Its filter looks at more than ids, so markets may enter and leave it. */
  readonly roving: boolean;
  /** Null where it names a few markets by ids alone: what makes a filter ready costs a user half a kilobyte. */
  #matches: Matcher | null;

  readonly views: View[] = [];
  /** For each view, where this subscription stands in it. */
  readonly places: number[] = [];

  /** What it said to have, until it is answered. */
  asked: Asked | null;
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
  // what the next write is made of: a chain in the hub's flush; -1 when nothing is pending
  firstPart = -1;
  lastPart = -1;

  constructor(session: Session, request: SubscribeRequest, filter: MarketFilter, terms: Terms, beat: Beat) {
    const { id, initialClk, clk } = request;
    this.id = id;
    this.session = session;
    this.filter = filter;
    this.terms = terms;
    this.beat = beat;
    this.roving = filter.marketIds === undefined || filter.marketIds.length === 0 || looksAtFacts(filter);
    this.#matches = this.#ready(filter);
    this.asked = clk === null ? null : { initialClk, clk };
  }

  /** It is altered: by markets more or less where it names them by ids alone, by fields, depth or cadence. */
  become(filter: MarketFilter, terms: Terms, beat: Beat): void {
    if (filter !== this.filter) this.#matches = this.#ready(filter);
    this.filter = filter;
    this.terms = terms;
    this.beat = beat;
  }

  get isInStep(): boolean {
    return this.catchUp === null && !this.ended;
  }

  get hasPending(): boolean {
    return this.firstPart >= 0;
  }

  /** What was pending was written, or will not be. */
  nothingPending(): void {
    this.firstPart = -1;
    this.lastPart = -1;
  }

  matches(book: Pick<Book, "id" | "known">): boolean {
    if (this.#matches !== null) return this.#matches(book.id, book.known);
    return (this.filter.marketIds as readonly string[]).includes(book.id);
  }

  #ready(filter: MarketFilter): Matcher | null {
    return this.roving || (filter.marketIds as readonly string[]).length > FEW ? matcher(filter) : null;
  }

  /** From where this market is told to somebody who knows everything up to `from`: from the start if it may have entered the filter since. */
  sinceFor(book: Book, from: number): number {
    if (this.catchUp?.fresh?.has(book)) return 0;
    return this.roving && book.filterChanged > from ? 0 : from;
  }

  begin(kind: CatchUp["kind"], from: number, now: number): void {
    this.nothingPending();
    this.catchUp = { kind, from, to: now, phase: 0, cursor: 0, begun: false, disturbed: false, fresh: null };
  }

  /** It was altered while it ran: what it missed follows, and in any case a word of what it is now. What is being said already is said on. */
  changed(fresh: readonly Book[], now: number): void {
    const before = this.catchUp;
    this.begin("changed", before?.from ?? this.told, now);
    const catchUp = this.catchUp as unknown as CatchUp;
    catchUp.begun = before?.begun ?? false;
    catchUp.fresh = new Set([...(before?.fresh ?? []), ...fresh]);
  }
}

/** Its user waits for the answer, and takes nothing for current before. */
export function isAnswer(catchUp: CatchUp): boolean {
  return catchUp.kind === "image" || catchUp.kind === "resume";
}

/** Whether a market goes first in a pass that claims everything up to `to`: it had stopped by then. */
export function goesFirst(book: Book, to: number): boolean {
  const { status } = book.facts;
  return (status === "SUSPENDED" || status === "CLOSED") && book.suspended <= to;
}
