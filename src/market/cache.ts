import type { Clock } from "../base/clock.ts";
import { Arena } from "./arena.ts";
import { ChangeBatch, MARK, MARKET_CON, MARKET_IMG, wordsAt } from "./batch.ts";
import { Book, type Shelf } from "./book.ts";
import { Books } from "./books.ts";
import { Deletions } from "./deletions.ts";
import type { MarketFacts } from "./filter.ts";
import { Ladders } from "./ladder.ts";
import { changesToImage } from "./reimage.ts";
import { LADDER, type LadderKind, type MarketId, type Position, type ScalarKind, type SyncPosition } from "./types.ts";

export interface CacheOptions {
  /** Names who numbers the batches: new whenever numbering starts afresh. */
  readonly epoch: string;
  readonly clock: Pick<Clock, "monotonic">;
  /** How long a resume is answered by what changed; older positions get an image. Milliseconds. */
  readonly retentionMs: number;
  /** How long a CLOSED market is kept; at least `retentionMs`. Milliseconds. */
  readonly forgetMs: number;
  /** The bound of all books together. */
  readonly arenaBytesMax?: number;
  /** How many deleted prices are remembered, in all ladders together; who would need an older one gets an image of its market. */
  readonly deletionsMax?: number;
}

/** 2 MB of them; what an event day of 20,000 markets deletes in a minute. */
const DELETIONS_MAX = 128 * 1024;

/** Sequence numbers are 32-bit words in the books. At 1,000 batches a second this is reached in seven weeks. */
const SEQUENCE_MAX = 0xffff_0000;
const NO_IMAGE = 0;

/** A market that an image came without: who knows it from before must be told by an image that leaves it out. */
export interface LostMarket {
  readonly id: MarketId;
  readonly known: MarketFacts;
  /** When it was lost. */
  readonly sequence: number;
}

/** So many are remembered; who comes back from before the oldest gets an image, whatever it wants. */
const LOST_MAX = 4_096;

/** So many gaps are remembered; who comes back from before the end of an older one gets an image. */
const GAPS_MAX = 64;

/** What a cache knows beside its books, to be put back after a restart. Sequences are the epoch's. */
export interface CacheMemory {
  readonly reach: number;
  readonly membershipFrom: number;
  readonly gaps: readonly { readonly from: number; readonly to: number }[];
  readonly lost: readonly LostMarket[];
}

/** What a book knows beside its values: when it last changed, was first heard of, and became another to filters. */
export type BookMemory = Pick<Book, "last" | "born" | "filterChanged">;

/** One of the source's streams: what of it is not whole yet. */
interface Shard {
  /** The sequence of the first segment of the image that is coming in; `NO_IMAGE`: none is. */
  imageStarted: number;
  midGroup: boolean;
}

/**
 * All books, and the one place where batches get their position.
 *
 * `apply` takes one batch and returns the markets it touched. An image begins with its first segment and is whole with its last; markets that it
 * does not list are gone then. A group of segments left unfinished (the source's connection broke) is harmless: all values are absolute, and
 * the source resumes from before the group.
 */
export class Cache {
  epoch: string;
  /** How many batches were applied: the sequence of the last one. Never goes back, whoever numbers. */
  sequence = 0;
  /** What `sequence` is ahead of the numbers that the epoch gives, and so of what clients are told: this process may have followed another epoch before. */
  base = 0;
  /** The publish time of the last batch. */
  pt = 0;
  /** Who knows less than this cannot be told what changed: which markets went without a word is forgotten. */
  membershipFrom = 0;
  changes = 0;

  readonly #clock: Pick<Clock, "monotonic">;
  readonly #retentionMs: number;
  readonly #forgetMs: number;
  readonly #shelf: Shelf;
  readonly #books = new Books();
  /** The last one touched: changes to one market often come in a row. */
  #latest: Book | null = null;
  /** The entry at hand is an image of a market that is held. */
  #isReplaced = false;
  readonly #patch = new ChangeBatch();
  readonly #touched: Book[] = [];
  readonly #closed = new Set<Book>();
  readonly #dropped: Book[] = [];
  readonly #lost: LostMarket[] = [];
  #ordinals = 0;
  #retainedFrom = 0;
  readonly #shards: Shard[] = [];
  #openGroups = 0;
  /** Counts synchronisations; `#syncFrom`: what the sequence was when the present one began, null when none is under way. */
  #syncs = 0;
  #syncFrom: number | null = null;
  /** What was missed before synchronisations: whoever knows a sequence within may have seen values that were gone again at its end, which nothing here tells. */
  readonly #gaps: { readonly from: number; readonly to: number }[] = [];
  /** Numbers that an earlier life may have given after what was put back here; null once the source has answered. */
  #beyond: { readonly from: number; readonly to: number } | null = null;
  /** It continues what was here before: who knows an earlier sequence can still be told what changed. */
  #syncContinues = false;
  /** What the sequence was at each sweep, oldest first, as far back as retention goes. */
  readonly #marks: { at: number; sequence: number }[] = [];

  constructor(options: CacheOptions) {
    this.epoch = options.epoch;
    this.#clock = options.clock;
    this.#retentionMs = options.retentionMs;
    this.#forgetMs = options.forgetMs;
    const arena = new Arena(options.arenaBytesMax);
    const deletions = new Deletions(options.deletionsMax ?? DELETIONS_MAX);
    this.#shelf = { arena, deletions, ladders: new Ladders(arena, deletions), unpacked: new Set() };
  }

  get position(): Position {
    return { epoch: this.epoch, sequence: this.sequence };
  }

  get size(): number {
    return this.#books.size;
  }

  get bytesUsed(): number {
    return this.#shelf.arena.bytesUsed;
  }

  /** What the books take of the machine, free blocks included. */
  get bytesHeld(): number {
    return this.#shelf.arena.bytesHeld;
  }

  get(id: MarketId): Book | undefined {
    return this.#books.get(id);
  }

  books(): Iterable<Book> {
    return this.#books;
  }

  /** The oldest sequence from which "what changed since" can be answered. */
  get reach(): number {
    const horizon = this.#clock.monotonic() - this.#retentionMs;
    while (this.#marks.length > 0 && (this.#marks[0] as { at: number }).at < horizon) {
      this.#retainedFrom = (this.#marks.shift() as { sequence: number }).sequence;
    }
    return Math.max(this.#retainedFrom, this.membershipFrom);
  }

  /** Applies a batch. Returns the books it touched, each once; the list is the cache's and good until the next call. */
  apply(batch: ChangeBatch): readonly Book[] {
    empty(this.#touched);
    empty(this.#dropped);
    if (batch.kind === "heartbeat") return this.#touched;
    if (this.sequence >= SEQUENCE_MAX) throw new Error("sequence numbers are used up: restart to begin a new epoch");
    this.sequence = batch.sequence === null ? this.sequence + 1 : this.#numbered(batch.sequence);
    this.pt = batch.pt;
    this.changes += batch.changes;
    const shard = (this.#shards[batch.shard] ??= { imageStarted: NO_IMAGE, midGroup: false });
    const { segment } = batch;
    if (segment === "whole" || segment === "start")
      shard.imageStarted = batch.kind === "image" ? this.sequence : NO_IMAGE;
    this.#play(batch.tape, batch.length, batch, shard.imageStarted, null);
    const midGroup = segment === "start" || segment === "middle";
    if (midGroup !== shard.midGroup) {
      shard.midGroup = midGroup;
      this.#openGroups += midGroup ? 1 : -1;
    }
    if (shard.imageStarted !== NO_IMAGE && !midGroup) this.#finishImage(batch.shard, shard);
    return this.#touched;
  }

  /** True between the first and the last segment of a group, of any stream: what was touched must not be called complete yet. */
  get midGroup(): boolean {
    return this.#openGroups > 0 || this.#syncFrom !== null;
  }

  #numbered(sequence: number): number {
    const next = sequence + this.base;
    if (next <= this.sequence) throw new Error(`batch ${next} comes after ${this.sequence}`);
    return next;
  }

  // ---- following somebody who numbers ----

  /** All books are about to come anew, from whoever gives the numbers from now on. */
  beginSync({ epoch, sequence, unconfirmedFrom }: SyncPosition): void {
    const isNew = epoch !== this.epoch;
    if (isNew) this.base = Math.max(0, this.sequence + 1 - sequence);
    if (sequence + this.base < this.sequence) throw new Error(`position ${sequence} of ${epoch} was passed already`);
    this.#syncContinues = !isNew && this.sequence > 0;
    const from = this.sequence;
    this.epoch = epoch;
    this.sequence = sequence + this.base;
    if (this.#syncContinues && this.sequence > from + 1) this.#missed(from, this.sequence);
    for (const shard of this.#shards) if (shard !== undefined) shard.midGroup = false;
    this.#openGroups = 0;
    this.#syncs++;
    this.#syncFrom = this.sequence;
    this.#beyond = unconfirmedFrom === undefined ? null : { from: unconfirmedFrom + this.base, to: this.sequence };
  }

  #missed(from: number, to: number): void {
    this.#gaps.push({ from, to });
    if (this.#gaps.length > GAPS_MAX) this.membershipFrom = (this.#gaps.shift() as { to: number }).to;
  }

  /** Whether "what changed since" can be answered for somebody who knows this sequence. */
  isInReach(sequence: number): boolean {
    return sequence >= this.reach && !this.#gaps.some(({ from, to }) => sequence > from && sequence < to);
  }

  /** Whole markets as they are at this position. */
  load(batch: ChangeBatch): void {
    empty(this.#touched);
    this.pt = Math.max(this.pt, batch.pt);
    this.#play(batch.tape, batch.length, batch, this.sequence, null);
    this.#arrange(batch);
    for (const id of batch.ids) (this.#books.get(id) as Book).synced = this.#syncs;
  }

  /** Runners stand as the whole markets have them, also where changes named some before: an exchange's client that asks for no definitions lists them so. */
  #arrange({ tape, length, ids }: ChangeBatch): void {
    let book: Book | undefined;
    let previous = 0;
    for (let i = 0; i < length; i += wordsAt(tape, i)) {
      if (tape[i] === MARK.market) {
        book = this.#books.get(ids[tape[i + 1] as number] as MarketId);
        previous = 0;
      } else if (tape[i] === MARK.runner && book !== undefined)
        previous = book.place(tape[i + 1] as number, tape[i + 2] as number, previous);
    }
  }

  /** Drops the markets that did not come, which `dropped` gives. */
  endSync(): void {
    empty(this.#dropped);
    const from = this.#syncFrom;
    if (from === null) return;
    this.#syncFrom = null;
    for (const book of this.#books) if (book.synced !== this.#syncs && book.born <= from) this.#lose(book);
    if (this.#syncContinues) return;
    this.#retainedFrom = this.sequence;
    this.#marks.length = 0;
  }

  // ---- being put back after a restart ----

  get memory(): CacheMemory {
    return { reach: this.reach, membershipFrom: this.membershipFrom, gaps: this.#gaps, lost: this.#lost };
  }

  /** Books of an earlier life are about to be put back, as of `position`, whose epoch goes on; batches that came after it may be applied in between. */
  beginRestore({ epoch, sequence }: Position, { reach, membershipFrom, gaps, lost }: CacheMemory): void {
    if (this.sequence > 0) throw new Error("books are put back into an empty cache only");
    this.epoch = epoch;
    this.sequence = sequence;
    this.membershipFrom = membershipFrom;
    this.#gaps.push(...gaps);
    this.#lost.push(...lost);
    this.#retainedFrom = reach;
  }

  /** One whole market as it was. Of its values it is known only that they are no younger than `last`: who knows less gets an image of it. */
  restore(batch: ChangeBatch, { last, born, filterChanged }: BookMemory): void {
    const id = batch.ids[0] as MarketId;
    // What batches said of it meanwhile is in it.
    const partial = this.#books.get(id);
    if (partial !== undefined) this.#drop(partial);
    const { sequence, pt } = this;
    this.sequence = last;
    this.pt = batch.pt;
    empty(this.#touched);
    this.#play(batch.tape, batch.length, batch, NO_IMAGE, null);
    this.sequence = sequence;
    this.pt = Math.max(pt, batch.pt);
    Object.assign(this.#books.get(id) as Book, { born, filterChanged });
  }

  /** All books are back. Numbers go on from `to`; the earlier life may have given those before it, to people who have seen what is not here. */
  endRestore(to: number): void {
    const from = this.sequence;
    this.#missed(from, to);
    this.sequence = to;
    this.#beyond = { from, to };
    this.#marks.push({ at: this.#clock.monotonic(), sequence: from });
  }

  /** The source has answered: nobody knows more than the books do any longer. */
  confirm(): void {
    this.#beyond = null;
  }

  /** False from when books were put back until the source has answered. */
  get isConfirmed(): boolean {
    return this.#beyond === null;
  }

  /** The last sequence of what was put back, until the source has answered; null: it has. */
  get unconfirmedFrom(): number | null {
    return this.#beyond?.from ?? null;
  }

  /** Whoever knows this sequence may have seen more than was put back. */
  isBeyond(sequence: number): boolean {
    return this.#beyond !== null && sequence > this.#beyond.from && sequence < this.#beyond.to;
  }

  /** The books that the last batch took away: an image came without them. */
  get dropped(): readonly Book[] {
    return this.#dropped;
  }

  /** Markets that images came without, of late. */
  get lost(): readonly LostMarket[] {
    return this.#lost;
  }

  /** Housekeeping, to be called about once a second: moves the end of retention on, and drops markets CLOSED for longer than `forgetMs`, which it returns. */
  sweep(): readonly Book[] {
    this.#marks.push({ at: this.#clock.monotonic(), sequence: this.sequence });
    const { reach } = this;
    while (this.#lost.length > 0 && (this.#lost[0] as LostMarket).sequence < reach) this.#lost.shift();
    const horizon = this.#clock.monotonic() - this.#forgetMs;
    const gone: Book[] = [];
    for (const book of this.#closed) if ((book.closedAt as number) <= horizon) gone.push(book);
    for (const book of gone) this.#drop(book);
    return gone;
  }

  /** Plays a tape with the ids and definitions of `batch`; one that does not begin with a market is about `book`. */
  #play(tape: Float64Array, length: number, batch: ChangeBatch, imageStarted: number, of: Book | null): void {
    let book = of;
    let runner = 0;
    for (let i = 0; i < length; ) {
      switch ((tape[i] as number) | 0) {
        case MARK.market:
          book = this.#touch(
            batch.ids[tape[i + 1] as number] as MarketId,
            tape[i + 2] as number,
            batch.shard,
            imageStarted,
          );
          i += 3;
          if (book === null) i = nextMarket(tape, i, length);
          else if (this.#isReplaced) i = this.#reimage(book, batch, i, imageStarted);
          break;
        case MARK.marketTv:
          (book as Book).tv = tape[i + 1] as number;
          (book as Book).tvChanged = this.sequence;
          i += 2;
          break;
        case MARK.definition:
          this.#define(book as Book, batch, tape[i + 1] as number);
          i += 2;
          break;
        case MARK.runner:
          runner = (book as Book).runner(tape[i + 1] as number, tape[i + 2] as number, this.sequence);
          i += 3;
          break;
        case MARK.scalar:
          (book as Book).setScalar(runner, tape[i + 1] as ScalarKind, tape[i + 2] as number, this.sequence);
          i += 3;
          break;
        default:
          i = this.#playLadder(book as Book, runner, tape, i);
      }
    }
  }

  /** Plays one ladder from the tape; returns where the tape goes on. An empty `trd` clears the ladder, any other empty list says nothing. */
  #playLadder(book: Book, runner: number, tape: Float64Array, i: number): number {
    const kind = tape[i + 1] as LadderKind;
    const count = tape[i + 2] as number;
    if (count > 0) book.setLadder(runner, kind, tape, i + 3, count, this.sequence);
    else if (kind === LADDER.trd) book.clearLadder(runner, kind, this.sequence);
    return i + 3 + count * (tape[i] === MARK.levels ? 3 : 2);
  }

  /** Makes a book that is held what an image says of it: by what differs where that can be said, and by forgetting it first elsewhere. Returns where the tape goes on. */
  #reimage(book: Book, batch: ChangeBatch, i: number, imageStarted: number): number {
    const end = nextMarket(batch.tape, i, batch.length);
    // An `img` that is not part of an image of the whole is passed on as one.
    if (imageStarted === NO_IMAGE || !changesToImage(book, batch, i, end, this.#patch)) {
      book.clear(this.sequence);
      return i;
    }
    this.#play(this.#patch.tape, this.#patch.length, batch, NO_IMAGE, book);
    // What went by meanwhile comes as one change.
    book.conflated = this.sequence;
    return end;
  }

  /**
   * The book a change is for. In an image, a market's first entry replaces it whether it says so or not.
   * One stream speaks for a market; another takes it over with an image that is not older, and says nothing before (null).
   */
  #touch(id: MarketId, flags: number, shard: number, imageStarted: number): Book | null {
    let book = this.#latest?.id === id ? this.#latest : this.#books.get(id);
    this.#isReplaced = false;
    if (book === undefined) {
      book = new Book(id, this.#shelf, this.sequence, ++this.#ordinals);
      book.shard = shard;
      this.#books.add(book);
    } else {
      this.#isReplaced = (flags & MARKET_IMG) !== 0 || (imageStarted !== NO_IMAGE && book.last < imageStarted);
      if (book.shard !== shard) {
        if (!this.#isReplaced || this.pt < book.pt) return null;
        book.shard = shard;
      }
    }
    if (book.last !== this.sequence) {
      book.last = this.sequence;
      this.#touched.push(book);
    }
    if (flags & MARKET_CON) book.conflated = this.sequence;
    book.pt = this.pt;
    this.#latest = book;
    return book;
  }

  #define(book: Book, batch: ChangeBatch, index: number): void {
    const before = book.facts.status;
    book.setDefinition(batch.definitions[index] as string, batch.facts[index] as MarketFacts, this.sequence);
    const { status } = book.facts;
    const stopped = status === "SUSPENDED" || status === "CLOSED";
    if (stopped && status !== before) book.suspended = this.sequence;
    if ((status === "CLOSED") === (book.closedAt !== null)) return;
    book.closedAt = status === "CLOSED" ? this.#clock.monotonic() : null;
    if (status === "CLOSED") this.#closed.add(book);
    else this.#closed.delete(book);
  }

  /** A stream's image is whole: what it did not list is gone, and nobody can be told so but by an image of their own. */
  #finishImage(index: number, shard: Shard): void {
    for (const book of this.#books) {
      if (book.shard !== index || book.last >= shard.imageStarted) continue;
      this.#lose(book);
    }
    shard.imageStarted = NO_IMAGE;
  }

  #lose(book: Book): void {
    this.#drop(book);
    this.#dropped.push(book);
    this.#lost.push({ id: book.id, known: book.known, sequence: this.sequence });
    if (this.#lost.length > LOST_MAX) this.membershipFrom = (this.#lost.shift() as LostMarket).sequence;
  }

  #drop(book: Book): void {
    this.#books.remove(book);
    this.#latest = null;
    this.#closed.delete(book);
    book.release();
  }
}

/** Where the next market begins on a tape, from a mark of the one before on. */
function nextMarket(tape: Float64Array, from: number, length: number): number {
  let i = from;
  while (i < length && tape[i] !== MARK.market) i += wordsAt(tape, i);
  return i;
}

/** For lists that mostly hold one: setting a length costs more than taking one out. */
function empty(list: unknown[]): void {
  while (list.length > 0) list.pop();
}
