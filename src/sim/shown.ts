import { type FieldFlag, fieldChoice, LADDER_LEVELS_MAX } from "./exchange-fields.ts";
import {
  type BookState,
  type LevelPriceSize,
  type MarketChange,
  NaiveBook,
  type RunnerChange,
  type RunnerState,
} from "./naive.ts";

/**
 * A market's image with the levels that EX_BEST_OFFERS must show of each runner: on each side the exchange's own where it shows any, else the best of all
 * offers, best first, sizes as they stand.
 */
export function withBestOffers(image: MarketChange): MarketChange {
  return { ...image, rc: (image.rc ?? []).map(withLevels) };
}

/**
 * What somebody must hold of a book who asked for these fields and levels. No fields: all, as the exchange sends them, and nothing computed; nor is it without
 * somebody who `computes`.
 */
export function shownState(
  book: NaiveBook,
  fields: readonly FieldFlag[],
  ladderLevels: number,
  computes = true,
): BookState {
  const shown = new NaiveBook(book.market);
  const image = fields.length > 0 && computes ? withBestOffers(book.image()) : book.image();
  shown.apply(fieldChoice(fields, ladderLevels).choose(image) as MarketChange);
  return fields.length > 0 ? withoutBare(shown.state()) : shown.state();
}

/** A book without runners of which nothing is shown but that they are there: whether those are told of is nobody's concern. */
export function withoutBare(state: BookState): BookState {
  return { ...state, runners: state.runners.filter((runner) => !isBare(runner)) };
}

function isBare({ id: _, hc: __, ...values }: RunnerState): boolean {
  return Object.values(values).every((value) => value === null || (Array.isArray(value) && value.length === 0));
}

function withLevels(runner: RunnerChange): RunnerChange {
  const batb = runner.batb ?? levelsOf(runner.atb, (a, b) => b - a);
  const batl = runner.batl ?? levelsOf(runner.atl, (a, b) => a - b);
  return { ...runner, ...(batb.length > 0 && { batb }), ...(batl.length > 0 && { batl }) };
}

function levelsOf(offers: RunnerChange["atb"], order: (a: number, b: number) => number): readonly LevelPriceSize[] {
  const best = [...(offers ?? [])].sort(([a], [b]) => order(a, b)).slice(0, LADDER_LEVELS_MAX);
  return best.map(([price, size], level) => [level, price, size]);
}
