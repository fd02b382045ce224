import type { Arena } from "./arena.ts";
import { NO_FACTS, packDefinition, unpackDefinition } from "./definition.ts";
import type { Deletions } from "./deletions.ts";
import type { MarketFacts } from "./filter.ts";
import { isLevelLadder, type Ladders } from "./ladder.ts";
import { type LadderKind, type MarketId, SCALAR, type ScalarKind } from "./types.ts";

/** The memory that the books of one cache share. */
export interface Shelf {
  readonly arena: Arena;
  readonly ladders: Ladders;
  readonly deletions: Deletions;
  /** Books whose definition is not packed yet, the least lately defined first. */
  readonly unpacked: Set<Book>;
}

/** Definitions kept as text: one just set is sent on at once, and soon set again where a market is busy. Older ones are packed. */
const UNPACKED_MAX = 64;

/*
 * A runner is one block of the arena; its ladders hang from it by kind, and runners from each other as they first came, or as a whole market has them: two who
 * hold the same say the same, however they came by it.
 *
 *   slot 0   id                      slot 5   sequences of ltp, tv
 *   slot 1   hc                      slot 6   first ladder , next runner
 *   slot 2   ltp                     slot 7   last, born     (sequences)
 *   slot 3   tv                      slot 4   starting prices , deletions
 *
 * Starting prices (spn, spf), which most markets never have, are a block of their own: spn, spf, their sequences. A value never set has sequence 0.
 */
const RUNNER_SLOTS = 8;
const STARTING_SLOTS = 3;

/**
 * One market's book: what the exchange last said of it, each value with the sequence at which it last changed.
 * Ladders and runners lie packed in the shelf's arena; the object itself holds what there is one of.
 */
export class Book {
  readonly id: MarketId;
  /** The sequence of the batch that first spoke of it. */
  born: number;
  /** Counts the cache's markets in the order in which they were first heard of; never used twice. */
  readonly ordinal: number;
  facts: MarketFacts = NO_FACTS;
  /** The last facts ever said, which filters go by: an image that comes without a definition takes nobody's market away. */
  known: MarketFacts = NO_FACTS;
  /** Market matched; NaN until said. */
  tv = Number.NaN;
  tvChanged = 0;
  definitionChanged = 0;
  /** What a reader at an earlier sequence holds is of no use: it must get an image. */
  imageFrom: number;
  /** When facts that filters look at last changed: who resumes from before may not have had this market. */
  filterChanged = 0;
  /** When the source last said that it had merged changes (`con`). */
  conflated = 0;
  /** When the market last became SUSPENDED or CLOSED. */
  suspended = 0;
  /** The sequence of the last change of anything. */
  last = 0;
  /** The publish time of that change, milliseconds since the Unix epoch. */
  pt = 0;
  /** When it closed, on the cache's monotonic clock; null while it is not CLOSED. */
  closedAt: number | null = null;
  /** The synchronisation that last brought it. */
  synced = 0;
  /** Which of the source's streams speaks for it. */
  shard = 0;
  /** For whoever reads books in step with the cache (the hub): what hangs on this market. */
  watchers: unknown = null;

  readonly #shelf: Shelf;
  #firstRunner = 0;
  /** The one looked for last: historic files name a runner several times in a row. */
  #recentRunner = 0;
  #definitionText: string | null = null;
  #definitionAt = 0;
  #definitionBytes = 0;

  /** `sequence`: of the batch that first spoke of it. */
  constructor(id: MarketId, shelf: Shelf, sequence: number, ordinal: number) {
    this.id = id;
    this.ordinal = ordinal;
    this.born = this.imageFrom = sequence;
    this.#shelf = shelf;
  }

  // ---- reading ----

  /** The definition as the exchange wrote it (ASCII JSON), null when none came yet. */
  definition(): string | null {
    if (this.#definitionText !== null) return this.#definitionText;
    if (this.#definitionBytes === 0) return null;
    const start = this.#definitionAt * 8;
    return unpackDefinition(this.#shelf.arena.u8.subarray(start, start + this.#definitionBytes));
  }

  /** The address of the first runner, 0 when there is none; walk on with `nextRunner`. */
  get firstRunner(): number {
    return this.#firstRunner;
  }
  nextRunner(runner: number): number {
    return this.#shelf.arena.u32[runner * 2 + 13] as number;
  }
  runnerId(runner: number): number {
    return this.#shelf.arena.f64[runner] as number;
  }
  runnerHc(runner: number): number {
    return this.#shelf.arena.f64[runner + 1] as number;
  }
  /** The sequence of the last change of anything of the runner. */
  runnerLast(runner: number): number {
    return this.#shelf.arena.u32[runner * 2 + 14] as number;
  }
  /** The sequence at which the runner was first heard of. */
  runnerBorn(runner: number): number {
    return this.#shelf.arena.u32[runner * 2 + 15] as number;
  }
  scalar(runner: number, kind: ScalarKind): number {
    const { u32, f64 } = this.#shelf.arena;
    if (kind === SCALAR.ltp) return f64[runner + 2] as number;
    if (kind === SCALAR.tv) return f64[runner + 3] as number;
    return f64[(u32[runner * 2 + 8] as number) + (kind - SCALAR.spn)] as number;
  }
  /** The sequence at which a single value last changed, 0 when it was never set. */
  scalarChanged(runner: number, kind: ScalarKind): number {
    const { u32 } = this.#shelf.arena;
    if (kind === SCALAR.ltp) return u32[runner * 2 + 10] as number;
    if (kind === SCALAR.tv) return u32[runner * 2 + 11] as number;
    const starting = u32[runner * 2 + 8] as number;
    return starting === 0 ? 0 : (u32[starting * 2 + 4 + (kind - SCALAR.spn)] as number);
  }
  /** The address of the runner's first ladder, 0 when it has none; walk on with `ladders.next`. */
  firstLadder(runner: number): number {
    return this.#shelf.arena.u32[runner * 2 + 12] as number;
  }
  get ladders(): Ladders {
    return this.#shelf.ladders;
  }
  /** The head of the chain of prices that went from the runner's ladders; walk it with `deletions.next`. */
  deletedLast(runner: number): number {
    return this.#shelf.arena.u32[runner * 2 + 9] as number;
  }
  get deletions(): Deletions {
    return this.#shelf.deletions;
  }

  // ---- writing: only the cache does ----

  /** Forgets everything: an image follows. */
  clear(sequence: number): void {
    this.#releaseRunners();
    this.#releaseDefinition();
    this.facts = NO_FACTS;
    this.tv = Number.NaN;
    this.tvChanged = 0;
    this.definitionChanged = 0;
    this.imageFrom = sequence;
  }

  setDefinition(json: string, facts: MarketFacts, sequence: number): void {
    if (differInFilter(facts, this.known)) this.filterChanged = sequence;
    this.facts = this.known = facts;
    this.definitionChanged = sequence;
    this.#releaseDefinition();
    this.#definitionText = json;
    const { unpacked } = this.#shelf;
    unpacked.add(this);
    if (unpacked.size > UNPACKED_MAX) (unpacked.values().next().value as Book).#pack();
  }

  /** The runner's address; it is made if it is new. */
  runner(id: number, hc: number, sequence: number): number {
    const { f64, u32 } = this.#shelf.arena;
    const recent = this.#recentRunner;
    if (recent !== 0 && f64[recent] === id && f64[recent + 1] === hc) {
      u32[recent * 2 + 14] = sequence;
      return recent;
    }
    let previous = 0;
    for (let runner = this.#firstRunner; runner !== 0; runner = u32[runner * 2 + 13] as number) {
      if (f64[runner] === id && f64[runner + 1] === hc) {
        u32[runner * 2 + 14] = sequence;
        this.#recentRunner = runner;
        return runner;
      }
      previous = runner;
    }
    const runner = this.#newRunner(id, hc, sequence);
    if (previous === 0) this.#firstRunner = runner;
    else this.#shelf.arena.u32[previous * 2 + 13] = runner;
    return runner;
  }

  /** Moves a runner that is there behind another (0: to the front); returns its address. */
  place(id: number, hc: number, behind: number): number {
    const { f64, u32 } = this.#shelf.arena;
    let previous = 0;
    let runner = this.#firstRunner;
    while (f64[runner] !== id || f64[runner + 1] !== hc) {
      previous = runner;
      runner = this.nextRunner(runner);
    }
    if (previous === behind || runner === behind) return runner;
    if (previous === 0) this.#firstRunner = this.nextRunner(runner);
    else u32[previous * 2 + 13] = this.nextRunner(runner);
    u32[runner * 2 + 13] = behind === 0 ? this.#firstRunner : this.nextRunner(behind);
    if (behind === 0) this.#firstRunner = runner;
    else u32[behind * 2 + 13] = runner;
    return runner;
  }

  setScalar(runner: number, kind: ScalarKind, value: number, sequence: number): void {
    const { u32, f64 } = this.#shelf.arena;
    if (kind === SCALAR.ltp) {
      f64[runner + 2] = value;
      u32[runner * 2 + 10] = sequence;
    } else if (kind === SCALAR.tv) {
      f64[runner + 3] = value;
      u32[runner * 2 + 11] = sequence;
    } else this.#setStarting(runner, kind - SCALAR.spn, value, sequence);
  }

  /** Applies `count` entries of a ladder as they stand on a tape from `from` on: (price, size) or (level, price, size). */
  setLadder(runner: number, kind: LadderKind, tape: Float64Array, from: number, count: number, sequence: number): void {
    const { ladders, arena } = this.#shelf;
    const link = this.#ladderLink(runner, kind, count, sequence);
    const first = arena.u32[link] as number;
    const at = isLevelLadder(kind)
      ? ladders.setLevels(first, tape, from, count, sequence)
      : ladders.setPrices(first, tape, from, count, sequence, runner * 2 + 9);
    if (at !== first) this.#shelf.arena.u32[link] = at;
  }

  clearLadder(runner: number, kind: LadderKind, sequence: number): void {
    const link = this.#ladderLink(runner, kind, 0, sequence);
    this.#shelf.ladders.clear(this.#shelf.arena.u32[link] as number, sequence, runner * 2 + 9);
  }

  /** Gives all its memory back; the book is of no more use. */
  release(): void {
    this.#releaseRunners();
    this.#releaseDefinition();
  }

  /** The index (in 32-bit words) of the word that holds the ladder's address; the ladder is made if it is new. */
  #ladderLink(runner: number, kind: LadderKind, room: number, sequence: number): number {
    const { ladders, arena } = this.#shelf;
    let link = runner * 2 + 12;
    for (let at = arena.u32[link] as number; at !== 0 && ladders.kind(at) <= kind; at = arena.u32[link] as number) {
      if (ladders.kind(at) === kind) return link;
      link = at * 2 + 1;
    }
    const next = arena.u32[link] as number;
    const made = ladders.create(kind, room, sequence);
    arena.u32[made * 2 + 1] = next;
    arena.u32[link] = made;
    return link;
  }

  #newRunner(id: number, hc: number, sequence: number): number {
    const runner = this.#shelf.arena.allocate(RUNNER_SLOTS);
    const { u32, f64 } = this.#shelf.arena;
    u32.fill(0, runner * 2, (runner + RUNNER_SLOTS) * 2);
    f64[runner] = id;
    f64[runner + 1] = hc;
    u32[runner * 2 + 14] = u32[runner * 2 + 15] = sequence;
    return runner;
  }

  #setStarting(runner: number, index: number, value: number, sequence: number): void {
    const { arena } = this.#shelf;
    let starting = arena.u32[runner * 2 + 8] as number;
    if (starting === 0) {
      starting = arena.allocate(STARTING_SLOTS);
      arena.u32.fill(0, starting * 2, (starting + STARTING_SLOTS) * 2);
      arena.u32[runner * 2 + 8] = starting;
    }
    arena.f64[starting + index] = value;
    arena.u32[starting * 2 + 4 + index] = sequence;
  }

  #releaseRunners(): void {
    const { arena, ladders } = this.#shelf;
    for (let runner = this.#firstRunner; runner !== 0; ) {
      for (let at = this.firstLadder(runner); at !== 0; ) {
        const next = ladders.next(at);
        ladders.release(at);
        at = next;
      }
      const starting = arena.u32[runner * 2 + 8] as number;
      if (starting !== 0) arena.release(starting, STARTING_SLOTS);
      const next = this.nextRunner(runner);
      arena.release(runner, RUNNER_SLOTS);
      runner = next;
    }
    this.#firstRunner = this.#recentRunner = 0;
  }

  #pack(): void {
    const packed = packDefinition(this.#definitionText as string);
    this.#releaseDefinition();
    this.#definitionAt = this.#shelf.arena.allocate(slotsFor(packed.length));
    this.#definitionBytes = packed.length;
    this.#shelf.arena.u8.set(packed, this.#definitionAt * 8);
  }

  #releaseDefinition(): void {
    this.#definitionText = null;
    this.#shelf.unpacked.delete(this);
    if (this.#definitionBytes > 0) this.#shelf.arena.release(this.#definitionAt, slotsFor(this.#definitionBytes));
    this.#definitionBytes = 0;
  }
}

function slotsFor(bytes: number): number {
  return (bytes + 7) >> 3;
}

function differInFilter(a: MarketFacts, b: MarketFacts): boolean {
  return (
    a.eventId !== b.eventId ||
    a.eventTypeId !== b.eventTypeId ||
    a.marketType !== b.marketType ||
    a.bettingType !== b.bettingType ||
    a.countryCode !== b.countryCode ||
    a.venue !== b.venue ||
    a.raceType !== b.raceType ||
    a.bspMarket !== b.bspMarket ||
    a.turnInPlayEnabled !== b.turnInPlayEnabled
  );
}
