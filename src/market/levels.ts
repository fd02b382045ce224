import type { ChangeBatch } from "./batch.ts";
import type { Book } from "./book.ts";
import type { Ladders } from "./ladder.ts";
import { LADDER, type LadderKind } from "./types.ts";

/** A side of EX_BEST_OFFERS: its levels, the offers they are the best of, and which of these stands first: the last of the ladder, or the first. */
interface Side {
  readonly levels: LadderKind;
  readonly offers: LadderKind;
  readonly dearestFirst: boolean;
}
const BACK: Side = { levels: LADDER.batb, offers: LADDER.atb, dearestFirst: true };
const LAY: Side = { levels: LADDER.batl, offers: LADDER.atl, dearestFirst: false };

/** Levels shift together, so a change of any within the depth sends all of them, emptied ones as [level, 0, 0]. */
export function levelsSince(
  book: Book,
  at: number,
  since: number,
  img: boolean,
  depth: number,
  into: ChangeBatch,
): void {
  const { ladders } = book;
  const count = Math.min(depth, heldSince(ladders, at, since));
  let changed = false;
  for (let i = 0; i < count; i++) changed ||= ladders.changed(at, i) > since;
  if (!changed) return;
  const start = into.length;
  into.ladder(ladders.kind(at), true);
  const marked = into.length;
  addLevels(ladders, at, count, img, into);
  if (into.length === marked) into.length = start;
}

/**
 * What changed in a runner's `batb` and `batl`. They are a function of the book: on each side the source's own levels where it shows any, else the best of the
 * offers (`atb`, `atl`), every size as it stands. (The exchange adds stakes below 1 GBP to the next worse price; who has only the offers cannot know how.)
 *
 * Levels of the source's that stood at `since` and still do are passed on as `levelsSince` has it. In all other cases, the change from the one to the other
 * included, all levels are sent, and [level, 0, 0] for as many beyond as the reader may hold; nothing, when none of the best `depth` offers changed or went.
 */
export function bestOffersSince(
  book: Book,
  runner: number,
  since: number,
  img: boolean,
  depth: number,
  into: ChangeBatch,
): void {
  const { ladders } = book;
  let [batb, batl, atb, atl] = [0, 0, 0, 0];
  for (let at = book.firstLadder(runner); at !== 0; at = ladders.next(at)) {
    const kind = ladders.kind(at);
    if (kind === LADDER.batb) batb = at;
    else if (kind === LADDER.batl) batl = at;
    else if (kind === LADDER.atb) atb = at;
    else if (kind === LADDER.atl) atl = at;
  }
  sideSince(book, runner, BACK, batb, atb, since, img, depth, into);
  sideSince(book, runner, LAY, batl, atl, since, img, depth, into);
}

/** `levels` and `offers` are the addresses of the side's ladders, 0 where it has none. */
function sideSince(
  book: Book,
  runner: number,
  side: Side,
  levels: number,
  offers: number,
  since: number,
  img: boolean,
  depth: number,
  into: ChangeBatch,
): void {
  const { ladders } = book;
  const levelsChanged = levels !== 0 && ladders.last(levels) > since;
  const offersChanged = offers !== 0 && ladders.last(offers) > since;
  if (!levelsChanged && !offersChanged) return;
  const hasOffers = offersChanged || (offers !== 0 && ladders.count(offers) > 0);
  if (!hasOffers || stands(ladders, levels, since)) {
    if (levelsChanged) levelsSince(book, levels, since, img, depth, into);
    return;
  }
  if (!levelsChanged && !bestChanged(book, runner, side, offers, since, depth)) return;
  const start = into.length;
  into.ladder(side.levels, true);
  const marked = into.length;
  const from = stands(ladders, levels, Number.POSITIVE_INFINITY) ? levels : offers;
  const count = Math.min(depth, ladders.count(from));
  if (from === levels) addLevels(ladders, levels, count, img, into);
  else addBest(ladders, side, offers, count, into);
  if (!img && count < depth) {
    const shown = levelsChanged ? heldSince(ladders, levels, since) : 0;
    const held = Math.max(shown, bestHeld(book, runner, side, offers, since));
    for (let level = count; level < Math.min(depth, held); level++) into.entry(level, 0, 0);
  }
  if (into.length === marked) into.length = start;
}

/** The levels that a reader may have held then, or holds now: the last ones were empty already, where nobody who came later knows of them. */
function heldSince(ladders: Ladders, levels: number, since: number): number {
  let count = ladders.count(levels);
  while (count > 0 && ladders.size(levels, count - 1) === 0 && ladders.changed(levels, count - 1) <= since) count--;
  return count;
}

/** Whether a level ladder shows a level that has stood since then or longer. */
function stands(ladders: Ladders, levels: number, since: number): boolean {
  if (levels === 0) return false;
  for (let i = 0, count = ladders.count(levels); i < count; i++)
    if (ladders.size(levels, i) !== 0 && ladders.changed(levels, i) <= since) return true;
  return false;
}

/** Whether one of the best `depth` offers changed since then, or one went that was among them. */
function bestChanged(book: Book, runner: number, side: Side, offers: number, since: number, depth: number): boolean {
  const { ladders, deletions } = book;
  const count = Math.min(depth, ladders.count(offers));
  for (let level = 0; level < count; level++)
    if (ladders.changed(offers, placeOf(ladders, side, offers, level)) > since) return true;
  if (deletions.lostSince(book.deletedLast(runner), since)) return true;
  // When none of those shown changed, they stood then as now: whatever went from behind them was not shown.
  const worst = count < depth ? null : ladders.price(offers, placeOf(ladders, side, offers, count - 1));
  for (let head = book.deletedLast(runner); ; ) {
    const deletion = deletions.next(head, since);
    if (deletion === null) return false;
    head = deletion.previous;
    if (deletion.kind !== side.offers) continue;
    if (worst === null || (side.dearestFirst ? deletion.price > worst : deletion.price < worst)) return true;
  }
}

/** How many offers there can have been at `since`, at most: those of now and all that went. */
function bestHeld(book: Book, runner: number, side: Side, offers: number, since: number): number {
  const { ladders, deletions } = book;
  if (deletions.lostSince(book.deletedLast(runner), since)) return Number.POSITIVE_INFINITY;
  let held = ladders.count(offers);
  for (let head = book.deletedLast(runner); ; ) {
    const deletion = deletions.next(head, since);
    if (deletion === null) return held;
    head = deletion.previous;
    if (deletion.kind === side.offers) held++;
  }
}

function addLevels(ladders: Ladders, at: number, count: number, img: boolean, into: ChangeBatch): void {
  for (let i = 0; i < count; i++) {
    const size = ladders.size(at, i);
    if (size !== 0 || !img) into.entry(i, ladders.price(at, i), size);
  }
}

function addBest(ladders: Ladders, side: Side, offers: number, count: number, into: ChangeBatch): void {
  for (let level = 0; level < count; level++) {
    const i = placeOf(ladders, side, offers, level);
    into.entry(level, ladders.price(offers, i), ladders.size(offers, i));
  }
}

/** Where in the ladder of offers a level's offer is. */
function placeOf(ladders: Ladders, { dearestFirst }: Side, offers: number, level: number): number {
  return dearestFirst ? ladders.count(offers) - 1 - level : level;
}
