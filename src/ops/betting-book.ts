import type { BookQuery } from "../edge/betting-requests.ts";
import type { Book } from "../market/book.ts";
import { isLevelLadder } from "../market/ladder.ts";
import { FIELD, type FieldSet, LADDER, type LadderKind, SCALAR, type ScalarKind } from "../market/types.ts";

/** What listMarketBook looks at in a definition. */
export interface BookDefinition {
  readonly status?: string;
  readonly betDelay?: number;
  readonly betDelayModels?: readonly string[];
  readonly bspReconciled?: boolean;
  readonly complete?: boolean;
  readonly inPlay?: boolean;
  readonly numberOfWinners?: number;
  readonly numberOfActiveRunners?: number;
  readonly crossMatching?: boolean;
  readonly runnersVoidable?: boolean;
  readonly version?: number;
  readonly keyLineDefinition?: { readonly kl?: readonly { readonly id: number; readonly hc: number }[] };
  readonly runners?: readonly RunnerDefinition[];
}

interface RunnerDefinition {
  readonly id: number;
  readonly hc?: number | null;
  readonly status?: string;
  readonly sortPriority?: number;
  readonly adjustmentFactor?: number;
  readonly removalDate?: string;
  readonly bsp?: number | string;
}

export interface PriceSize {
  readonly price: number;
  readonly size: number;
}

/** No such runner in any change yet, no such ladder. */
const NONE = 0;
/** The virtual offers, the full depth, the best levels. */
const PAIRS = [
  [LADDER.bdatb, LADDER.bdatl],
  [LADDER.atb, LADDER.atl],
  [LADDER.batb, LADDER.batl],
] as const;
const OFFERS = FIELD.EX_ALL_OFFERS | FIELD.EX_BEST_OFFERS;

/**
 * A market as listMarketBook tells it. Every number is the stream's own; what the stream does not tell (lastMatchTime), what it does not carry by its
 * `fields`, and what it never said is left out. Runners stand in the order of their sortPriority.
 */
export function marketBook(
  book: Book,
  definition: BookDefinition,
  query: BookQuery,
  fields: FieldSet,
  isDelayed: boolean,
): object {
  const runners = [...(definition.runners ?? [])].sort((a, b) => (a.sortPriority ?? 0) - (b.sortPriority ?? 0));
  const { kl } = definition.keyLineDefinition ?? {};
  return {
    marketId: book.id,
    isMarketDataDelayed: isDelayed,
    betDelayModels: definition.betDelayModels,
    status: definition.status,
    betDelay: definition.betDelay,
    bspReconciled: definition.bspReconciled,
    complete: definition.complete,
    inplay: definition.inPlay,
    numberOfWinners: definition.numberOfWinners,
    numberOfRunners: runners.length,
    numberOfActiveRunners: definition.numberOfActiveRunners,
    ...(fields & FIELD.EX_TRADED_VOL && { totalMatched: Number.isNaN(book.tv) ? 0 : book.tv }),
    ...(fields & OFFERS && { totalAvailable: totalAvailable(book) }),
    crossMatching: definition.crossMatching,
    runnersVoidable: definition.runnersVoidable,
    version: definition.version,
    ...(kl && { keyLineDescription: { keyLine: kl.map(({ id, hc }) => ({ handicap: hc, selectionId: id })) } }),
    runners: runners.map((runner) => runnerBook(book, runner, definition.bspReconciled === true, query)),
  };
}

function runnerBook(book: Book, defined: RunnerDefinition, isReconciled: boolean, query: BookQuery): object {
  const { priceData } = query;
  const hc = defined.hc ?? 0;
  const runner = runnerAt(book, defined.id, hc);
  const sp = priceData.has("SP_AVAILABLE") || priceData.has("SP_TRADED");
  const ex = priceData.has("EX_BEST_OFFERS") || priceData.has("EX_ALL_OFFERS") || priceData.has("EX_TRADED");
  return {
    selectionId: defined.id,
    handicap: hc,
    status: defined.status,
    adjustmentFactor: defined.adjustmentFactor,
    lastPriceTraded: scalar(book, runner, SCALAR.ltp),
    totalMatched: scalar(book, runner, SCALAR.tv),
    removalDate: defined.removalDate,
    ...(sp && { sp: startingPrices(book, runner, defined, isReconciled) }),
    ...(ex && { ex: exchangePrices(book, runner, query) }),
  };
}

/** What the stream calls `spl` is what backers get, `spb` what layers do. Projections end with the reconciliation. */
function startingPrices(book: Book, runner: number, { bsp }: RunnerDefinition, isReconciled: boolean): object {
  return {
    ...(!isReconciled && {
      nearPrice: scalar(book, runner, SCALAR.spn),
      farPrice: scalar(book, runner, SCALAR.spf),
    }),
    backStakeTaken: prices(book, ladderAt(book, runner, LADDER.spl)),
    layLiabilityTaken: prices(book, ladderAt(book, runner, LADDER.spb)),
    actualSP: bsp,
  };
}

function exchangePrices(book: Book, runner: number, { priceData, depth, virtualise }: BookQuery): object {
  const all = priceData.has("EX_ALL_OFFERS");
  const levels = all ? Number.POSITIVE_INFINITY : priceData.has("EX_BEST_OFFERS") ? depth : 0;
  const { back, lay } = offers(book, runner, virtualise);
  return {
    availableToBack: bestFirst(book, back, "back").slice(0, levels),
    availableToLay: bestFirst(book, lay, "lay").slice(0, levels),
    tradedVolume: priceData.has("EX_TRADED") ? prices(book, ladderAt(book, runner, LADDER.trd)) : [],
  };
}

/** The ladders that are a runner's offers: full depth where there is one, otherwise the best levels; with virtual bets where that is asked for and there. */
function offers(book: Book, runner: number, virtualise: boolean): { back: number; lay: number } {
  const [display, ...plain] = PAIRS;
  for (const [backs, lays] of virtualise ? [display, ...plain] : plain) {
    const [back, lay] = [ladderAt(book, runner, backs), ladderAt(book, runner, lays)];
    if (sizes(book, back) > 0 || sizes(book, lay) > 0) return { back, lay };
  }
  return { back: NONE, lay: NONE };
}

/** All unmatched offers that we see, to the hundredth. */
export function totalAvailable(book: Book): number {
  let total = 0;
  for (let runner = book.firstRunner; runner !== NONE; runner = book.nextRunner(runner)) {
    const { back, lay } = offers(book, runner, false);
    total += sizes(book, back) + sizes(book, lay);
  }
  return Math.round(total * 100) / 100;
}

/** What stands in a ladder, added up. */
function sizes(book: Book, at: number): number {
  const { ladders } = book;
  let sum = 0;
  for (let i = 0, count = at === NONE ? 0 : ladders.count(at); i < count; i++) sum += ladders.size(at, i);
  return sum;
}

/** Level ladders have the best first already; price ladders stand by price, ascending. */
function bestFirst(book: Book, at: number, side: "back" | "lay"): PriceSize[] {
  const list = prices(book, at);
  return at !== NONE && side === "back" && !isLevelLadder(book.ladders.kind(at)) ? list.reverse() : list;
}

/** What stands in a ladder, in its order; levels that are empty are none. */
function prices(book: Book, at: number): PriceSize[] {
  const { ladders } = book;
  const list: PriceSize[] = [];
  for (let i = 0, count = at === NONE ? 0 : ladders.count(at); i < count; i++) {
    const size = ladders.size(at, i);
    if (size !== 0) list.push({ price: ladders.price(at, i), size });
  }
  return list;
}

/** A number, or the exchange's word for one that JSON cannot write; undefined where it was never said. */
function scalar(book: Book, runner: number, kind: ScalarKind): number | string | undefined {
  if (runner === NONE || book.scalarChanged(runner, kind) === 0) return undefined;
  const value = book.scalar(runner, kind);
  return Number.isFinite(value) ? value : String(value);
}

function runnerAt(book: Book, id: number, hc: number): number {
  let runner = book.firstRunner;
  while (runner !== NONE && (book.runnerId(runner) !== id || book.runnerHc(runner) !== hc))
    runner = book.nextRunner(runner);
  return runner;
}

function ladderAt(book: Book, runner: number, kind: LadderKind): number {
  let at = runner === NONE ? NONE : book.firstLadder(runner);
  while (at !== NONE && book.ladders.kind(at) !== kind) at = book.ladders.next(at);
  return at;
}
