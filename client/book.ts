import type {
  LevelPriceSize,
  MarketChange,
  MarketDefinition,
  PriceSize,
  RunnerChange,
  RunnerDefinition,
  WireNumber,
} from "./messages.ts";

/** Whether the stream behind a book can be believed right now; shared by all books of a subscription. */
export interface Feed {
  readonly stale: boolean;
}

/** The best prices of both sides, best first. */
export interface BestPrices {
  readonly back: readonly PriceSize[];
  readonly lay: readonly PriceSize[];
}

/**
 * One market as the exchange shows it, kept by applying its market changes one after the other.
 *
 * Everything it hands out is live: ladders and runners change with the next message, and an image (`img`) brings new runner objects.
 * Copy what you want to keep. Numbers are exactly those sent; null means "not said (yet)".
 */
export class MarketBook {
  readonly id: string;
  readonly #feed: Feed;
  readonly #runners = new Map<RunnerKey, RunnerBook>();
  #definition: MarketDefinition | null = null;
  #totalMatched: number | null = null;
  #publishTime = 0;

  constructor(id: string, feed: Feed = { stale: false }) {
    this.id = id;
    this.#feed = feed;
  }

  /** The definition as last sent, whole. */
  get definition(): MarketDefinition | null {
    return this.#definition;
  }

  /** INACTIVE, OPEN, SUSPENDED or CLOSED. */
  get status(): string | null {
    return this.#definition?.status ?? null;
  }

  get inPlay(): boolean | null {
    return this.#definition?.inPlay ?? null;
  }

  /** Grows with every change of the definition. */
  get version(): number | null {
    return this.#definition?.version ?? null;
  }

  /** Volume matched on the market (`tv`). */
  get totalMatched(): number | null {
    return this.#totalMatched;
  }

  /** When the last change was published by the server, milliseconds since the Unix epoch (`pt`). */
  get publishTime(): number {
    return this.#publishTime;
  }

  get suspended(): boolean {
    return this.status === "SUSPENDED";
  }

  get closed(): boolean {
    return this.status === "CLOSED";
  }

  /** True while the stream behind it is cut, silent or said to be unreliable: what stands here may be old. */
  get stale(): boolean {
    return this.#feed.stale;
  }

  /** True where a price shown here may be offered to somebody: open, and not stale. */
  get bettable(): boolean {
    return this.status === "OPEN" && !this.stale;
  }

  /** Its runners in the order in which they were first seen; `inOrder` gives them as a trader lists them. */
  get runners(): IterableIterator<RunnerBook> {
    return this.#runners.values();
  }

  /** A runner by selection id and handicap. */
  runner(id: number, hc = 0): RunnerBook | undefined {
    return this.#runners.get(runnerKey(id, hc));
  }

  /** Its runners by `sortPriority`, then by id and handicap. */
  inOrder(): RunnerBook[] {
    return [...this.#runners.values()].sort((a, b) => a.sortPriority - b.sortPriority || a.id - b.id || a.hc - b.hc);
  }

  /** Takes one entry of a change message's `mc`, published at `pt`. */
  apply(change: MarketChange, pt: number): void {
    if (change.img) this.#clear();
    this.#publishTime = pt;
    this.#totalMatched = change.tv ?? this.#totalMatched;
    if (change.marketDefinition) this.#define(change.marketDefinition);
    if (change.rc) for (const runner of change.rc) this.#runner(runner.id, runner.hc).apply(runner);
  }

  #clear(): void {
    this.#runners.clear();
    this.#definition = null;
    this.#totalMatched = null;
  }

  #define(definition: MarketDefinition): void {
    this.#definition = definition;
    for (const runner of this.#runners.values()) runner.definition = null;
    for (const runner of definition.runners ?? []) this.#runner(runner.id, runner.hc).definition = runner;
  }

  #runner(id: number, hc: number | null | undefined): RunnerBook {
    const key = runnerKey(id, hc ?? 0);
    let runner = this.#runners.get(key);
    if (runner === undefined) this.#runners.set(key, (runner = new RunnerBook(id, hc ?? 0)));
    return runner;
  }
}

/** One runner of a market. Ladders are sorted as a trader reads them: the best price first, traded and starting prices by price, level ladders by level. */
export class RunnerBook {
  readonly id: number;
  readonly hc: number;
  /** Its part of the market definition. */
  definition: RunnerDefinition | null = null;
  /** Last traded price. */
  ltp: number | null = null;
  /** Volume traded on the runner. */
  tv: number | null = null;
  /** Starting price, near and far projection; may be NaN or Infinity, as the exchange has it. */
  spn: number | null = null;
  spf: number | null = null;
  /** Available to back, the highest price first. */
  readonly atb: PriceSize[] = [];
  /** Available to lay, the lowest price first. */
  readonly atl: PriceSize[] = [];
  /** Volume traded at each price, ascending. */
  readonly trd: PriceSize[] = [];
  /** Starting price bets of both sides by price, ascending. */
  readonly spb: PriceSize[] = [];
  readonly spl: PriceSize[] = [];
  /** Best offers by level, without and with virtual bets. */
  readonly batb: LevelPriceSize[] = [];
  readonly batl: LevelPriceSize[] = [];
  readonly bdatb: LevelPriceSize[] = [];
  readonly bdatl: LevelPriceSize[] = [];

  constructor(id: number, hc: number) {
    this.id = id;
    this.hc = hc;
  }

  get status(): string | null {
    return this.definition?.status ?? null;
  }

  get name(): string | null {
    return this.definition?.name ?? null;
  }

  /** Where it stands in the exchange's list; last where the definition does not say. */
  get sortPriority(): number {
    return this.definition?.sortPriority ?? Number.MAX_SAFE_INTEGER;
  }

  /** Takes one entry of a market change's `rc`. */
  apply(change: RunnerChange): void {
    if (change.tv != null) this.tv = change.tv;
    if (change.ltp != null) this.ltp = change.ltp;
    if (change.spn != null) this.spn = plainNumber(change.spn);
    if (change.spf != null) this.spf = plainNumber(change.spf);
    if (change.atb) applyPrices(this.atb, change.atb, DESCENDING);
    if (change.atl) applyPrices(this.atl, change.atl, ASCENDING);
    if (change.trd) applyTraded(this.trd, change.trd);
    if (change.spb) applyPrices(this.spb, change.spb, ASCENDING);
    if (change.spl) applyPrices(this.spl, change.spl, ASCENDING);
    if (change.batb) applyLevels(this.batb, change.batb);
    if (change.batl) applyLevels(this.batl, change.batl);
    if (change.bdatb) applyLevels(this.bdatb, change.bdatb);
    if (change.bdatl) applyLevels(this.bdatl, change.bdatl);
  }

  /** The best `depth` prices of each side, from the first kind of ladder the subscription brought: best offers, all offers, displayed offers. */
  best(depth = 3): BestPrices {
    return {
      back: bestOf(this.batb, this.atb, this.bdatb, depth),
      lay: bestOf(this.batl, this.atl, this.bdatl, depth),
    };
  }
}

/** Almost every runner has handicap 0, and a number is the cheapest key there is. */
type RunnerKey = number | string;

function runnerKey(id: number, hc: number): RunnerKey {
  return hc === 0 ? id : `${id}/${hc}`;
}

const ASCENDING = 1;
const DESCENDING = -1;

/** The entries of the message are kept as they are: the wire's own pairs are the ladder's, and nothing is copied. */
function applyPrices(ladder: PriceSize[], changes: readonly PriceSize[], order: 1 | -1): void {
  for (const change of changes) {
    const price = change[0];
    let at = 0;
    for (let end = ladder.length; at < end; ) {
      const middle = (at + end) >>> 1;
      if ((ladder[middle][0] - price) * order < 0) at = middle + 1;
      else end = middle;
    }
    place(ladder, at, change, at < ladder.length && ladder[at][0] === price, change[1] === 0);
  }
}

/** An empty list says that nothing is traded any more; on every other ladder it says nothing. */
function applyTraded(ladder: PriceSize[], changes: readonly PriceSize[]): void {
  if (changes.length === 0) ladder.length = 0;
  else applyPrices(ladder, changes, ASCENDING);
}

function applyLevels(ladder: LevelPriceSize[], changes: readonly LevelPriceSize[]): void {
  for (const change of changes) {
    let at = 0;
    while (at < ladder.length && ladder[at][0] < change[0]) at++;
    place(ladder, at, change, at < ladder.length && ladder[at][0] === change[0], change[2] === 0);
  }
}

function place<Entry>(ladder: Entry[], at: number, entry: Entry, found: boolean, deleted: boolean): void {
  if (found && !deleted) ladder[at] = entry;
  else if (found) ladder.splice(at, 1);
  else if (!deleted) ladder.splice(at, 0, entry);
}

function bestOf(
  best: readonly LevelPriceSize[],
  all: readonly PriceSize[],
  displayed: readonly LevelPriceSize[],
  depth: number,
): readonly PriceSize[] {
  if (best.length === 0 && all.length > 0) return all.slice(0, depth);
  const levels = best.length > 0 ? best : displayed;
  return levels.slice(0, depth).map(([, price, size]) => [price, size]);
}

function plainNumber(value: WireNumber): number {
  return typeof value === "number" ? value : Number(value);
}
