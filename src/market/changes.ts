import { type ChangeBatch, MARKET_CON, MARKET_IMG } from "./batch.ts";
import type { Book } from "./book.ts";
import { isLevelLadder } from "./ladder.ts";
import { bestOffersSince, levelsSince } from "./levels.ts";
import { AS_SENT, FIELD, type FieldSet, LADDER_FIELDS, SCALAR_FIELDS, type ScalarKind } from "./types.ts";

/** What of a book a reader gets. */
export interface Projection {
  readonly fields: FieldSet;
  /** The deepest level of level ladders, 1 to 10. */
  readonly ladderLevels: number;
}

const PRICE_LADDER_FIELDS = FIELD.EX_ALL_OFFERS | FIELD.EX_TRADED | FIELD.SP_TRADED;
const SCALARS: readonly ScalarKind[] = [0, 1, 2, 3];

/**
 * What changed in a book since `since`, as one market change appended to `into`: the one answer behind a view's frame, a laggard's catch-up,
 * a resume and a late joiner. Applied to what a reader at `since` holds, it gives what the book holds now, in the projection's fields.
 *
 * It is an image (`img`) when the book was replaced since, when a ladder no longer knows what was deleted since, or when `since` is 0.
 * Returns false, and appends nothing, when nothing of the projection changed.
 */
export function changesSince(
  book: Book,
  since: number,
  projection: Projection,
  into: ChangeBatch,
  con = false,
): boolean {
  const img = since < book.imageFrom || deletionsLost(book, since, projection.fields);
  const from = img ? 0 : since;
  const start = into.length;
  const changesBefore = into.changes;
  into.market(book.id);
  const marked = into.length;
  if (projection.fields & FIELD.EX_TRADED_VOL && book.tvChanged > from) into.marketTv(book.tv);
  if (projection.fields & FIELD.EX_MARKET_DEF && book.definitionChanged > from)
    into.definition(book.definition() as string, book.facts);
  for (let runner = book.firstRunner; runner !== 0; runner = book.nextRunner(runner)) {
    if (book.runnerLast(runner) > from) runnerSince(book, runner, from, img, projection, into);
  }
  if (into.length === marked && !img) {
    into.length = start;
    into.changes = changesBefore;
    into.ids.pop();
    return false;
  }
  into.tape[start + 2] = (img ? MARKET_IMG : 0) | (con ? MARKET_CON : 0);
  return true;
}

/** Whether it is forgotten which prices went since `since` from a ladder that is wanted. Levels do without: they are sent whole then. */
function deletionsLost(book: Book, since: number, fields: FieldSet): boolean {
  if (!(fields & PRICE_LADDER_FIELDS)) return false;
  for (let runner = book.firstRunner; runner !== 0; runner = book.nextRunner(runner)) {
    if (book.deletions.lostSince(book.deletedLast(runner), since)) return true;
  }
  return false;
}

function runnerSince(
  book: Book,
  runner: number,
  since: number,
  img: boolean,
  projection: Projection,
  into: ChangeBatch,
): void {
  const start = into.length;
  into.runner(book.runnerId(runner), book.runnerHc(runner));
  const marked = into.length;
  for (const kind of SCALARS) {
    if ((SCALAR_FIELDS[kind] as number) & projection.fields && book.scalarChanged(runner, kind) > since) {
      into.scalar(kind, book.scalar(runner, kind));
    }
  }
  const { ladders } = book;
  const { fields, ladderLevels } = projection;
  const computed = fields & AS_SENT ? 0 : fields & FIELD.EX_BEST_OFFERS;
  for (let at = book.firstLadder(runner); at !== 0; at = ladders.next(at)) {
    if (ladders.last(at) <= since || !((LADDER_FIELDS[ladders.kind(at)] as number) & fields & ~computed)) continue;
    if (isLevelLadder(ladders.kind(at))) levelsSince(book, at, since, img, ladderLevels, into);
    else pricesSince(book, runner, at, img ? -1 : since, into);
  }
  if (computed) bestOffersSince(book, runner, since, img, ladderLevels, into);
  if (into.length === marked && book.runnerBorn(runner) <= since) into.length = start;
}

/** `since` -1: all prices, and none that went. */
function pricesSince(book: Book, runner: number, at: number, since: number, into: ChangeBatch): void {
  const { ladders } = book;
  const start = into.length;
  into.ladder(ladders.kind(at), false);
  const marked = into.length;
  for (let i = 0, count = ladders.count(at); i < count; i++) {
    if (ladders.changed(at, i) > since) into.level(ladders.price(at, i), ladders.size(at, i));
  }
  if (since >= 0) deletedSince(book, runner, at, since, into);
  if (into.length === marked) into.length = start;
}

/** Prices said to be gone in the ladder at hand: each is said once. */
const gone = new Set<number>();

function deletedSince(book: Book, runner: number, at: number, since: number, into: ChangeBatch): void {
  const { ladders, deletions } = book;
  const kind = ladders.kind(at);
  gone.clear();
  for (let head = book.deletedLast(runner); ; ) {
    const deletion = deletions.next(head, since);
    if (deletion === null) return;
    head = deletion.previous;
    if (deletion.kind !== kind || gone.has(deletion.price) || ladders.has(at, deletion.price)) continue;
    gone.add(deletion.price);
    into.level(deletion.price, 0);
  }
}
