import type { ChangeMessage } from "../../client/messages.ts";
import { cameThrough } from "./came-through.ts";
import { type BookState, firstDifference, type MarketChange, NaiveBook } from "./naive.ts";
import type { Asked, Onlooker } from "./onlooker.ts";
import type { Sample } from "./samples.ts";
import { shownState, withoutBare } from "./shown.ts";

/** Flushes beyond what the interval allows: timers fire late and then on time, and who was behind is told at once. */
const FLUSHES_SPARE = 3;
const FLUSHES_RATE_MAX = 1.5;

/** A state that the client held, as `--dump` prints it. */
export interface SampledState extends BookState {
  readonly n: number;
  readonly of: number;
  readonly final: boolean;
  readonly publishTime: number;
}

/** Where the client's book was not what the exchange had said. */
export interface Difference {
  readonly market: string;
  readonly n: number;
  readonly of: number;
  /** The path with what it should be against what came. */
  readonly where: string;
}

/** How a playthrough went; counted up while it runs, so that progress can be shown. */
export class Playthrough {
  messages = 0;
  /** Of `changesOf`: how far it is. */
  changes = 0;
  changesOf = 0;
  markets = 0;
  states = 0;
  /** Bytes of JSON that came to the client. */
  bytes = 0;
  /** Flushes (messages that say where they stand) of a conflated stream, and the time between the first and the last. */
  flushes = 0;
  flushesMs = 0;
  /** How often the client lost its connection and resumed: right books all the same, but nobody had cut it. */
  reconnects = 0;
  readonly differences: Difference[] = [];

  /** Whether more flushes came than one in so many milliseconds. */
  isTooQuickFor(conflateMs: number): boolean {
    return conflateMs > 0 && this.flushes > FLUSHES_SPARE + (FLUSHES_RATE_MAX * this.flushesMs) / conflateMs;
  }
}

interface JudgeOptions {
  readonly asked: Asked;
  /** Who passes the recording on computes level ladders where it has none. */
  readonly computes: boolean;
  /** How many changes each market has in the whole recording. */
  readonly counts: ReadonlyMap<string, number>;
  readonly firstPt: number;
  readonly went: Playthrough;
  readonly came: (state: SampledState) => void;
}

/** A message of the recording that the naive books have not played yet. */
interface Published {
  /** As it was published: no two messages have the same, so that a client's message says by its pt how far it goes. */
  readonly pt: number;
  readonly recordedPt: number;
  readonly changes: readonly MarketChange[];
}

/** A naive book, with the recording's publish time of its last change. */
interface Judged {
  readonly book: NaiveBook;
  recordedPt: number;
}

/**
 * Keeps the naive books of a recording, plays them up to wherever the client has come, and compares. It knows only what was published and what the client
 * shows; on a conflated stream, a message's `pt` says up to which published one it goes.
 */
export class Judge {
  onlooker: Onlooker | null = null;
  readonly #options: JudgeOptions;
  readonly #books = new Map<string, Judged>();
  readonly #ahead: Published[] = [];
  #pt: number;
  /** Markets that changed since the last flush that spoke for all of them. */
  readonly #changed = new Set<string>();
  #flushedAt: number | null = null;

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#pt = options.firstPt;
  }

  /** Takes down what is published next; returns its publish time, later than any before. */
  published(recordedPt: number, changes: readonly MarketChange[]): number {
    this.#pt = Math.max(this.#pt + 1, recordedPt);
    this.#ahead.push({ pt: this.#pt, recordedPt, changes });
    return this.#pt;
  }

  /** The client has everything; this market is to be looked at. */
  look({ market }: Sample): void {
    this.#playTo(Number.POSITIVE_INFINITY);
    this.#compare(market);
  }

  /**
   * A message of a conflated stream. The markets in it must be as they were at its `pt`. When it has a `clk` and is no segment of a longer one, all others must be too:
   * whatever had changed until then was in it.
   */
  told({ pt, clk, segmentType }: ChangeMessage, markets: readonly string[], now: number): void {
    this.#playTo(pt);
    const speaksForAll = clk != null && segmentType == null;
    if (speaksForAll) this.#countFlush(now);
    const due = new Set(speaksForAll ? [...this.#changed, ...markets] : markets);
    for (const market of due) this.#compare(market);
    if (speaksForAll) this.#changed.clear();
  }

  /** All markets at the very end, so that nothing that came for others has spoilt one that was right at its own end. */
  lookOnceMore(): void {
    this.#playTo(Number.POSITIVE_INFINITY);
    const { differences } = this.#options.went;
    for (const { book } of this.#books.values()) {
      const { market, n } = book;
      const where = this.#difference(book, cameThrough(market, this.onlooker?.book(market)));
      const isKnown = differences.some((difference) => difference.market === market && difference.n === n);
      if (where !== null && !isKnown) differences.push({ market, n, of: n, where });
    }
  }

  #countFlush(now: number): void {
    const { went } = this.#options;
    if (this.#flushedAt !== null) went.flushesMs += now - this.#flushedAt;
    this.#flushedAt = now;
    went.flushes++;
  }

  #playTo(pt: number): void {
    while (this.#ahead.length > 0 && (this.#ahead[0] as Published).pt <= pt) {
      const { recordedPt, changes } = this.#ahead.shift() as Published;
      for (const change of changes) this.#play(change, recordedPt);
    }
  }

  #play(change: MarketChange, recordedPt: number): void {
    let judged = this.#books.get(change.id);
    if (judged === undefined) this.#books.set(change.id, (judged = { book: new NaiveBook(change.id), recordedPt }));
    judged.book.apply(change);
    judged.recordedPt = recordedPt;
    this.#changed.add(change.id);
  }

  #compare(id: string): void {
    const { counts, went, came } = this.#options;
    const state = cameThrough(id, this.onlooker?.book(id));
    const { book, recordedPt } = this.#books.get(id) ?? { book: new NaiveBook(id), recordedPt: 0 };
    const { n } = book;
    const of = counts.get(id) ?? 0;
    const where = this.#difference(book, state);
    went.states++;
    if (where !== null) went.differences.push({ market: id, n, of, where });
    const { market, ...rest } = state;
    came({ market, n, of, final: n === of, publishTime: recordedPt, ...rest });
  }

  #difference(book: NaiveBook, state: BookState): string | null {
    const { asked, computes } = this.#options;
    const shown = shownState(book, asked.fields, asked.ladderLevels, computes);
    return firstDifference(shown, asked.fields.length === 0 ? state : withoutBare(state));
  }
}
