import { factsOf, type MarketFacts, NO_FACTS, sameFacts } from "./exchange-filter.ts";
import { mergeChanges } from "./exchange-merge.ts";
import { type MarketChange, type MarketDefinition, NaiveBook } from "./naive.ts";

/** An entry that left the log unfolded costs a parse at the next image; this many are folded at once. */
const OVERDUE_MAX = 32;

export interface BooksOptions {
  /** A clk older than this many messages is out of reach. */
  readonly logMessagesMax: number;
  /** The same bound in market changes, which is what costs memory. */
  readonly logChangesMax: number;
}

/** A market change as it was published: serialised once, shared by all who get it. */
export interface Published {
  readonly market: ExchangeMarket;
  readonly change: MarketChange;
  readonly text: string;
}

/**
 * Every market of the exchange and the log of what changed lately. Books are kept as JSON text (20,000 of them are 90 MB, as objects ten times that):
 *
 *     base (an image, as of some message) ── entries since, as text ──> now
 *                    log start ───┴──> what a resume can be answered from
 */
export class ExchangeBooks {
  readonly markets = new Map<string, ExchangeMarket>();
  /** Messages published so far: the position of the last one. */
  position = 0;
  /** What came after this position can be told change by change. */
  logStart = 0;
  readonly #options: BooksOptions;
  readonly #log: { position: number; market: ExchangeMarket }[] = [];
  #logHead = 0;

  constructor(options: BooksOptions) {
    this.#options = options;
  }

  /** Takes one message of the exchange. */
  publish(changes: readonly MarketChange[]): Published[] {
    this.position++;
    const published = changes.map((change) => this.#record(change));
    this.#trim();
    return published;
  }

  /** Lets go of a market; who does not know its last change can only be told so by an image without it. */
  forget(id: string): void {
    this.logStart = Math.max(this.logStart, this.markets.get(id)?.changedAt ?? 0);
    this.markets.delete(id);
  }

  #record(change: MarketChange): Published {
    let market = this.markets.get(change.id);
    if (market === undefined) {
      market = new ExchangeMarket(change.id, this.position);
      this.markets.set(change.id, market);
    }
    const text = JSON.stringify(change);
    market.record(this.position, change, text);
    this.#log.push({ position: this.position, market });
    return { market, change, text };
  }

  #trim(): void {
    const { logMessagesMax, logChangesMax } = this.#options;
    let first = this.#log[this.#logHead];
    while (first !== undefined) {
      if (this.position - first.position < logMessagesMax && this.#log.length - this.#logHead <= logChangesMax) break;
      this.logStart = first.position;
      first.market.left(first.position);
      first = this.#log[++this.#logHead];
    }
    if (this.#logHead > 1024 && this.#logHead * 2 > this.#log.length) {
      this.#log.splice(0, this.#logHead);
      this.#logHead = 0;
    }
  }
}

interface Entry {
  readonly position: number;
  /** Counts the entries of a market from 1: a message may hold several, so positions alone do not order them. */
  readonly n: number;
  readonly text: string;
}

export class ExchangeMarket {
  readonly id: string;
  /** The message that brought it: in that message, it is new to everybody. */
  readonly bornAt: number;
  facts: MarketFacts = NO_FACTS;
  /** The last message that changed what filters look at: whoever stands before it may not have had this market. */
  factsAt: number;
  /** The last message that changed it. */
  changedAt: number;
  closed = false;
  /** An image of the first `#baseN` entries. */
  #base = "";
  #baseN = 0;
  /** In order; all that are in the log, and those that are not in the base yet. */
  #entries: Entry[] = [];
  #recorded = 0;
  #overdue = 0;

  constructor(id: string, position: number) {
    this.id = id;
    this.bornAt = this.factsAt = this.changedAt = position;
  }

  record(position: number, change: MarketChange, text: string): void {
    this.changedAt = position;
    this.#entries.push({ position, n: ++this.#recorded, text });
    if (change.marketDefinition == null) return;
    this.#learn(position, change.marketDefinition);
    // An image with a definition is the whole book: no need to fold one out of changes.
    if (change.img !== true) return;
    this.#base = text;
    this.#baseN = this.#recorded;
  }

  /** The whole book now, as the text of an `mc` entry with `img: true`. */
  image(): string {
    if (this.#baseN < this.#recorded) this.#fold();
    return this.#base;
  }

  /** What changed after `position`, as one entry; null when only an image can say it. Ask only for positions within the log. */
  since(position: number): MarketChange | null {
    if (this.factsAt > position) return null;
    let from = this.#entries.length;
    while (from > 0 && (this.#entries[from - 1] as Entry).position > position) from--;
    return mergeChanges(this.#entries.slice(from).map(parsed));
  }

  /** The log let go of the entry at `position`. */
  left(position: number): void {
    const oldest = this.#entries[0];
    if (oldest === undefined || oldest.position > position) return;
    if (oldest.n > this.#baseN && ++this.#overdue >= OVERDUE_MAX) this.#fold();
    const kept = this.#entries.findIndex((entry) => entry.position > position || entry.n > this.#baseN);
    this.#entries.splice(0, kept === -1 ? this.#entries.length : kept);
  }

  #learn(position: number, definition: MarketDefinition): void {
    this.closed = definition.status === "CLOSED";
    const facts = factsOf(definition);
    if (sameFacts(facts, this.facts)) return;
    this.facts = facts;
    this.factsAt = position;
  }

  #fold(): void {
    const book = new NaiveBook(this.id);
    if (this.#base !== "") book.apply(JSON.parse(this.#base) as MarketChange);
    for (const entry of this.#entries) if (entry.n > this.#baseN) book.apply(parsed(entry));
    this.#base = JSON.stringify(book.image());
    this.#baseN = this.#recorded;
    this.#overdue = 0;
  }
}

function parsed(entry: Entry): MarketChange {
  return JSON.parse(entry.text) as MarketChange;
}
