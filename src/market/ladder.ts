import { type Arena, sizeOf } from "./arena.ts";
import { FIRST_LEVEL_LADDER, type LadderKind } from "./types.ts";

/*
 * A ladder is one block of the arena:
 *
 *   slot 0   kind | wide << 8 , count | capacity << 16
 *   slot 1   address of the runner's next ladder , base
 *   slot 2   lost , last                              (sequence numbers)
 *   slot 3…  entries, ascending by price, or in the order of their levels
 *
 * A compact entry is one slot: size (32 bits, hundredths), price (16 bits, see `priceCode`), age (16 bits: sequence of the last change minus
 * `base`). A wide entry is three slots: price, size, sequence as doubles. A ladder begins compact and turns wide, for good, with the first
 * value that compact entries cannot hold exactly. Starting prices (`spb`, `spl`: 70.1621307023403) do, exchange prices and stakes do not.
 *
 * Size 0 is a tombstone: the price is gone, and who asks what changed since before must be told.
 */
const HEAD = 3;
const WIDE_SLOTS = 3;
const WIDE = 256;
const ENTRIES_MAX = 0xffff;
const AGE_MAX = 0xffff;
/** On running out of ages the base moves up to leave this many behind: what changed before counts as changed at the base. */
const AGES_KEPT = 0x8000;
const SIZE_MAX = 0xffffffff;
const PRICE_FINE_MAX = 40_000;
const PRICE_CODE_MAX = 0xffff;

/** The most tombstones a full ladder keeps of its own accord; beyond it the older half goes and `lost` moves up. */
export const TOMBSTONES_MAX = 64;
/** Levels run from 0 to this; the exchange's from 0 to 9. */
export const LEVEL_MAX = 99;

/** All ladders of a cache. Addresses move when a ladder grows, so what changes one takes and gives back its address. */
export class Ladders {
  readonly #arena: Arena;
  /** Tombstones up to this sequence are of no use to anybody: nobody may ask what changed since before it. */
  keepFrom = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  create(kind: LadderKind, room: number, sequence: number): number {
    const capacity = Math.max(2, room);
    const at = this.#allocate(capacity, false);
    this.#writeHead(at, kind, 0, capacity, 0);
    this.#arena.u32[at * 2 + 3] = sequence;
    return at;
  }

  release(at: number): void {
    this.#arena.release(at, HEAD + this.capacity(at) * (this.isWide(at) ? WIDE_SLOTS : 1));
  }

  kind(at: number): LadderKind {
    return ((this.#arena.u32[at * 2] as number) & 255) as LadderKind;
  }

  isWide(at: number): boolean {
    return ((this.#arena.u32[at * 2] as number) & WIDE) !== 0;
  }

  /** Entries, tombstones included. */
  count(at: number): number {
    return this.#arena.u16[at * 4 + 2] as number;
  }

  capacity(at: number): number {
    return this.#arena.u16[at * 4 + 3] as number;
  }

  next(at: number): number {
    return this.#arena.u32[at * 2 + 2] as number;
  }

  setNext(at: number, next: number): void {
    this.#arena.u32[at * 2 + 2] = next;
  }

  /** Up to where tombstones were lost: who knows less than this cannot be told what changed. */
  lost(at: number): number {
    return this.#arena.u32[at * 2 + 4] as number;
  }

  /** The sequence of the last change of any entry. */
  last(at: number): number {
    return this.#arena.u32[at * 2 + 5] as number;
  }

  price(at: number, i: number): number {
    if (this.isWide(at)) return this.#arena.f64[at + HEAD + i * WIDE_SLOTS] as number;
    return priceOf(this.#arena.u16[(at + HEAD + i) * 4 + 2] as number);
  }

  size(at: number, i: number): number {
    if (this.isWide(at)) return this.#arena.f64[at + HEAD + i * WIDE_SLOTS + 1] as number;
    return (this.#arena.u32[(at + HEAD + i) * 2] as number) / 100;
  }

  /** The sequence at which the entry last changed; may be later than the truth (never earlier) for changes long ago. */
  changed(at: number, i: number): number {
    if (this.isWide(at)) return this.#arena.f64[at + HEAD + i * WIDE_SLOTS + 2] as number;
    return (this.#arena.u32[at * 2 + 3] as number) + (this.#arena.u16[(at + HEAD + i) * 4 + 3] as number);
  }

  /**
   * Sets the sizes at `count` prices, (price, size) pairs as they stand on a tape from `from` on; 0 deletes. Returns the ladder's address, which may be another.
   * Nearly all values go through here, so nothing is looked up twice and what the loop needs is at hand.
   */
  setPrices(at: number, tape: Float64Array, from: number, count: number, sequence: number): number {
    const arena = this.#arena;
    let ladder = at;
    for (let i = from, end = from + count * 2; i < end; i += 2) {
      const code = priceCode(tape[i] as number);
      const cents = hundredths(tape[i + 1] as number);
      const { u32, u16 } = arena;
      const isWide = ((u32[ladder * 2] as number) & WIDE) !== 0;
      if (isWide || code < 0 || cents < 0) {
        if (!isWide) ladder = this.#moved(ladder, this.capacity(ladder), true);
        ladder = this.#setWide(ladder, tape[i] as number, tape[i + 1] as number, sequence);
        continue;
      }
      const first = (ladder + HEAD) * 4 + 2;
      const entries = u16[ladder * 4 + 2] as number;
      let low = 0;
      let high = entries;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((u16[first + middle * 4] as number) < code) low = middle + 1;
        else high = middle;
      }
      if (low < entries && u16[first + low * 4] === code) this.#writeCompact(ladder, low, code, cents, sequence);
      else if (cents !== 0) ladder = this.#insertCompact(ladder, low, code, cents, sequence);
    }
    arena.u32[ladder * 2 + 5] = sequence;
    return ladder;
  }

  /** Puts a new price in at `place`, which a purge of tombstones to make room may move. */
  #insertCompact(at: number, place: number, code: number, cents: number, sequence: number): number {
    let ladder = at;
    let i = place;
    if (this.count(at) === this.capacity(at)) {
      ladder = this.#withRoom(at);
      i = this.#findCode(ladder, code);
    }
    this.#insert(ladder, i, 1);
    this.#writeCompact(ladder, i, code, cents, sequence);
    return ladder;
  }

  #setWide(at: number, price: number, size: number, sequence: number): number {
    let ladder = at;
    let i = this.#findWide(ladder, price);
    if (i === this.count(ladder) || this.price(ladder, i) !== price) {
      if (size === 0) return ladder;
      ladder = this.#withRoom(ladder);
      i = this.#findWide(ladder, price);
      this.#insert(ladder, i, WIDE_SLOTS);
    }
    this.#writeWide(ladder, i, price, size, sequence);
    return ladder;
  }

  /** Sets `count` levels, (level, price, size) triples as they stand on a tape; size 0 deletes. Returns the ladder's address, which may be another. */
  setLevels(at: number, tape: Float64Array, from: number, count: number, sequence: number): number {
    let ladder = at;
    for (let i = from, end = from + count * 3; i < end; i += 3) {
      const level = tape[i] as number;
      const size = tape[i + 2] as number;
      const price = size === 0 ? 0 : (tape[i + 1] as number);
      const code = priceCode(price);
      const cents = hundredths(size);
      if (level >= this.count(ladder)) {
        if (size === 0) continue;
        ladder = this.#withLevels(ladder, level + 1);
      }
      if ((code < 0 || cents < 0) && !this.isWide(ladder)) ladder = this.#moved(ladder, this.capacity(ladder), true);
      if (this.isWide(ladder)) this.#writeWide(ladder, level, price, size, sequence);
      else this.#writeCompact(ladder, level, code, cents, sequence);
    }
    this.#arena.u32[ladder * 2 + 5] = sequence;
    return ladder;
  }

  #withLevels(at: number, levels: number): number {
    const ladder = this.capacity(at) < levels ? this.#grown(at, levels) : at;
    const base = this.isWide(ladder) ? 0 : (this.#arena.u32[ladder * 2 + 3] as number);
    for (let i = this.count(ladder); i < levels; i++) this.#write(ladder, i, 0, 0, base);
    this.#setCount(ladder, levels);
    return ladder;
  }

  /** Deletes every price; what was there stays as tombstones. */
  clear(at: number, sequence: number): void {
    this.#arena.u32[at * 2 + 5] = sequence;
    for (let i = 0; i < this.count(at); i++) {
      if (this.size(at, i) !== 0) this.#write(at, i, this.price(at, i), 0, sequence);
    }
  }

  #writeHead(at: number, kind: number, count: number, capacity: number, next: number): void {
    const { u32, u16 } = this.#arena;
    u32[at * 2] = kind;
    u16[at * 4 + 2] = count;
    u16[at * 4 + 3] = capacity;
    u32[at * 2 + 2] = next;
    u32[at * 2 + 3] = u32[at * 2 + 4] = u32[at * 2 + 5] = 0;
  }

  #setCount(at: number, count: number): void {
    this.#arena.u16[at * 4 + 2] = count;
  }

  #allocate(capacity: number, wide: boolean): number {
    return this.#arena.allocate(HEAD + capacity * (wide ? WIDE_SLOTS : 1));
  }

  #write(at: number, i: number, price: number, size: number, sequence: number): void {
    if (this.isWide(at)) this.#writeWide(at, i, price, size, sequence);
    else this.#writeCompact(at, i, priceCode(price), hundredths(size), sequence);
  }

  #writeWide(at: number, i: number, price: number, size: number, sequence: number): void {
    const { f64 } = this.#arena;
    const entry = at + HEAD + i * WIDE_SLOTS;
    f64[entry] = price;
    f64[entry + 1] = size;
    f64[entry + 2] = sequence;
  }

  #writeCompact(at: number, i: number, code: number, cents: number, sequence: number): void {
    const { u32, u16 } = this.#arena;
    if (sequence - (u32[at * 2 + 3] as number) > AGE_MAX) this.#rebase(at, sequence - AGES_KEPT);
    const entry = at + HEAD + i;
    u32[entry * 2] = cents;
    u16[entry * 4 + 2] = code;
    u16[entry * 4 + 3] = sequence - (u32[at * 2 + 3] as number);
  }

  #rebase(at: number, base: number): void {
    const { u32, u16 } = this.#arena;
    const old = u32[at * 2 + 3] as number;
    for (let i = 0; i < this.count(at); i++) {
      const age = (at + HEAD + i) * 4 + 3;
      u16[age] = Math.max(0, old + (u16[age] as number) - base);
    }
    u32[at * 2 + 3] = base;
  }

  /** Where the price is, or would be. */
  #findWide(at: number, price: number): number {
    const { f64 } = this.#arena;
    let low = 0;
    let high = this.count(at);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((f64[at + HEAD + middle * WIDE_SLOTS] as number) < price) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #findCode(at: number, code: number): number {
    const { u16 } = this.#arena;
    const first = (at + HEAD) * 4 + 2;
    let low = 0;
    let high = this.count(at);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((u16[first + middle * 4] as number) < code) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #insert(at: number, i: number, slots: number): void {
    const count = this.count(at);
    const first = (at + HEAD) * 2;
    const words = slots * 2;
    if (i < count) this.#arena.u32.copyWithin(first + (i + 1) * words, first + i * words, first + count * words);
    this.#setCount(at, count + 1);
  }

  /** The ladder, with room for one more entry: tombstones nobody needs make it first, then growth, then the bound on tombstones. */
  #withRoom(at: number): number {
    if (this.count(at) < this.capacity(at)) return at;
    const needed = this.#tombstones(at, this.keepFrom);
    if (needed.useless > 0) this.#purge(at, this.keepFrom);
    else if (needed.useful > TOMBSTONES_MAX) this.#purge(at, this.#middleAge(at));
    if (this.count(at) < this.capacity(at)) return at;
    const capacity = this.capacity(at);
    return this.#grown(at, capacity + Math.max(2, capacity >> 2));
  }

  #tombstones(at: number, keepFrom: number): { useless: number; useful: number } {
    let useless = 0;
    let useful = 0;
    for (let i = 0; i < this.count(at); i++) {
      if (this.size(at, i) !== 0) continue;
      if (this.changed(at, i) <= keepFrom) useless++;
      else useful++;
    }
    return { useless, useful };
  }

  /** The median sequence of the tombstones. */
  #middleAge(at: number): number {
    const ages: number[] = [];
    for (let i = 0; i < this.count(at); i++) if (this.size(at, i) === 0) ages.push(this.changed(at, i));
    ages.sort((a, b) => a - b);
    return ages[ages.length >> 1] as number;
  }

  /** Forgets the tombstones up to `upTo`, and remembers that it did. */
  #purge(at: number, upTo: number): void {
    const { u32 } = this.#arena;
    const words = (this.isWide(at) ? WIDE_SLOTS : 1) * 2;
    const first = (at + HEAD) * 2;
    let kept = 0;
    for (let i = 0; i < this.count(at); i++) {
      if (this.size(at, i) === 0 && this.changed(at, i) <= upTo) {
        u32[at * 2 + 4] = Math.max(this.lost(at), this.changed(at, i));
        continue;
      }
      if (kept !== i) u32.copyWithin(first + kept * words, first + i * words, first + (i + 1) * words);
      kept++;
    }
    this.#setCount(at, kept);
  }

  #grown(at: number, capacity: number): number {
    if (this.capacity(at) === ENTRIES_MAX) throw new Error(`a ladder of more than ${ENTRIES_MAX} prices`);
    return this.#moved(at, Math.min(ENTRIES_MAX, Math.max(capacity, 2)), this.isWide(at));
  }

  #moved(at: number, capacity: number, wide: boolean): number {
    const slots = HEAD + capacity * (wide ? WIDE_SLOTS : 1);
    const room = Math.min(ENTRIES_MAX, Math.floor((sizeOf(slots) - HEAD) / (wide ? WIDE_SLOTS : 1)));
    const to = this.#allocate(room, wide);
    this.#writeHead(to, this.kind(at) | (wide ? WIDE : 0), this.count(at), room, this.next(at));
    const { u32 } = this.#arena;
    u32[to * 2 + 3] = u32[at * 2 + 3] as number;
    u32[to * 2 + 4] = this.lost(at);
    u32[to * 2 + 5] = this.last(at);
    if (wide === this.isWide(at)) {
      const words = this.count(at) * (wide ? WIDE_SLOTS : 1) * 2;
      u32.copyWithin((to + HEAD) * 2, (at + HEAD) * 2, (at + HEAD) * 2 + words);
    } else {
      for (let i = 0; i < this.count(at); i++)
        this.#write(to, i, this.price(at, i), this.size(at, i), this.changed(at, i));
    }
    this.release(at);
    return to;
  }
}

export function isLevelLadder(kind: LadderKind): boolean {
  return kind >= FIRST_LEVEL_LADDER;
}

/**
 * A price as 16 bits, in the prices' own order: hundredths up to 400.00, whole units above (exchange prices above 400 go in tens).
 * -1 when that would not be exact.
 */
function priceCode(price: number): number {
  const value = (price * 100 + 0.5) | 0;
  if (value / 100 !== price || value < 0) return -1;
  if (value < PRICE_FINE_MAX) return value;
  const code = PRICE_FINE_MAX + (value - PRICE_FINE_MAX) / 100;
  return code <= PRICE_CODE_MAX && Number.isInteger(code) ? code : -1;
}

function priceOf(code: number): number {
  return code < PRICE_FINE_MAX ? code / 100 : 400 + (code - PRICE_FINE_MAX);
}

/** A size as 32 bits of hundredths; -1 when that would not be exact. */
function hundredths(size: number): number {
  const value = Math.floor(size * 100 + 0.5);
  return value / 100 === size && value >= 0 && value <= SIZE_MAX ? value : -1;
}
