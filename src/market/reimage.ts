import { type ChangeBatch, MARK, wordsAt } from "./batch.ts";
import type { Book } from "./book.ts";
import { isLevelLadder } from "./ladder.ts";
import { type LadderKind, SCALAR_NAMES, type ScalarKind } from "./types.ts";

/** Of the ladder at hand: sizes by price in the book, and the prices or levels that the image has. */
const known = new Map<number, number>();
const said = new Set<number>();
const runnersSeen = new Set<number>();

/**
 * A market's entry in an image (the tape of `image` between `from` and `to`), as what it changes in a book that is held already; written to `into`, whose definitions are the image's.
 * So that an exchange that starts anew (a resume out of reach, other criteria) costs those who are in step what changed meanwhile, and not everything.
 *
 * False where changes cannot say it: a runner or a value that was is no more, or the entry names one twice. Then the book is to be cleared and the entry taken as it is.
 */
export function changesToImage(book: Book, image: ChangeBatch, from: number, to: number, into: ChangeBatch): boolean {
  into.clear();
  runnersSeen.clear();
  const { tape } = image;
  let [hasTv, hasDefinition] = [false, false];
  for (let i = from; i < to; ) {
    const mark = tape[i] as number;
    if (mark === MARK.marketTv) {
      hasTv = true;
      if (tape[i + 1] !== book.tv) into.marketTv(tape[i + 1] as number);
      i += 2;
    } else if (mark === MARK.definition) {
      hasDefinition = true;
      const index = tape[i + 1] as number;
      if (image.definitions[index] !== book.definition()) into.definitionAt(index);
      i += 2;
    } else {
      const end = nextRunner(tape, i, to);
      if (mark !== MARK.runner || !runnerChanges(book, tape, i, end, into)) return false;
      i = end;
    }
  }
  if ((!hasTv && !Number.isNaN(book.tv)) || (!hasDefinition && book.definition() !== null)) return false;
  for (let runner = book.firstRunner; runner !== 0; runner = book.nextRunner(runner)) {
    if (!runnersSeen.has(runner)) return false;
  }
  return true;
}

function runnerChanges(book: Book, tape: Float64Array, from: number, to: number, into: ChangeBatch): boolean {
  const [id, hc] = [tape[from + 1] as number, tape[from + 2] as number];
  const runner = runnerOf(book, id, hc);
  into.runner(id, hc);
  if (runner === 0) {
    into.copy(tape, from + 3, to);
    return true;
  }
  if (runnersSeen.has(runner)) return false;
  runnersSeen.add(runner);
  let scalars = 0;
  let ladders = 0;
  for (let i = from + 3; i < to; ) {
    const kind = tape[i + 1] as number;
    if (tape[i] === MARK.scalar) {
      scalars |= 1 << kind;
      const value = tape[i + 2] as number;
      const isKnown = book.scalarChanged(runner, kind as ScalarKind) > 0;
      if (!isKnown || !Object.is(book.scalar(runner, kind as ScalarKind), value))
        into.scalar(kind as ScalarKind, value);
      i += 3;
    } else {
      if (ladders & (1 << kind)) return false;
      ladders |= 1 << kind;
      i = ladderChanges(book, ladderOf(book, runner, kind as LadderKind), tape, i, into);
      if (i === NOT_PLAIN) return false;
    }
  }
  return allSaid(book, runner, scalars, ladders, into);
}

/** What the book has and the image does not: prices can be deleted, single values cannot. */
function allSaid(book: Book, runner: number, scalars: number, ladders: number, into: ChangeBatch): boolean {
  for (let kind = 0; kind < SCALAR_NAMES.length; kind++) {
    if (!(scalars & (1 << kind)) && book.scalarChanged(runner, kind as ScalarKind) > 0) return false;
  }
  said.clear();
  for (let at = book.firstLadder(runner); at !== 0; at = book.ladders.next(at)) {
    if (!(ladders & (1 << book.ladders.kind(at)))) deletions(book, at, into);
  }
  return true;
}

/** A ladder in an image that names a price twice, or one that is not there. */
const NOT_PLAIN = -1;

/** The entries of a ladder that differ, and those that are no more; returns where the tape goes on. `at` 0: the book has no such ladder. */
function ladderChanges(book: Book, at: number, tape: Float64Array, i: number, into: ChangeBatch): number {
  const kind = tape[i + 1] as LadderKind;
  const words = isLevelLadder(kind) ? 3 : 2;
  const end = i + 3 + (tape[i + 2] as number) * words;
  if (at === 0) {
    into.copy(tape, i, end);
    return end;
  }
  known.clear();
  for (let n = 0, count = book.ladders.count(at); n < count; n++) {
    if (words === 2) known.set(book.ladders.price(at, n), book.ladders.size(at, n));
  }
  said.clear();
  const start = into.length;
  into.ladder(kind, words === 3);
  const marked = into.length;
  for (let row = i + 3; row < end; row += words) {
    const key = tape[row] as number;
    const size = tape[row + words - 1] as number;
    if (size === 0 || said.has(key)) return NOT_PLAIN;
    said.add(key);
    if (words === 2) {
      if (known.get(key) !== size) into.level(key, size);
    } else if (!isLevel(book, at, key, tape[row + 1] as number, size)) into.entry(key, tape[row + 1] as number, size);
  }
  gone(book, at, into);
  if (into.length === marked) into.length = start;
  return end;
}

function isLevel({ ladders }: Book, at: number, level: number, price: number, size: number): boolean {
  return level < ladders.count(at) && ladders.price(at, level) === price && ladders.size(at, level) === size;
}

function deletions(book: Book, at: number, into: ChangeBatch): void {
  const start = into.length;
  into.ladder(book.ladders.kind(at), isLevelLadder(book.ladders.kind(at)));
  const marked = into.length;
  gone(book, at, into);
  if (into.length === marked) into.length = start;
}

/** Size 0 for what the ladder has and is not said. */
function gone({ ladders }: Book, at: number, into: ChangeBatch): void {
  const byLevel = isLevelLadder(ladders.kind(at));
  for (let n = 0, count = ladders.count(at); n < count; n++) {
    if (byLevel && !said.has(n) && ladders.size(at, n) !== 0) into.entry(n, 0, 0);
    if (!byLevel && !said.has(ladders.price(at, n))) into.level(ladders.price(at, n), 0);
  }
}

function runnerOf(book: Book, id: number, hc: number): number {
  for (let runner = book.firstRunner; runner !== 0; runner = book.nextRunner(runner)) {
    if (book.runnerId(runner) === id && book.runnerHc(runner) === hc) return runner;
  }
  return 0;
}

function ladderOf(book: Book, runner: number, kind: LadderKind): number {
  for (let at = book.firstLadder(runner); at !== 0; at = book.ladders.next(at)) {
    if (book.ladders.kind(at) === kind) return at;
  }
  return 0;
}

function nextRunner(tape: Float64Array, from: number, to: number): number {
  let i = from + 3;
  while (i < to && tape[i] !== MARK.runner) i += wordsAt(tape, i);
  return i;
}
