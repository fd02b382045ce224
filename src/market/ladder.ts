import type { Arena } from "./arena.ts";
import type { Deletions } from "./deletions.ts";
import { FIRST_LEVEL_LADDER, type LadderKind } from "./types.ts";

/*
 * A ladder is one block of the arena, in one of two forms. Each has a kind, the address of the runner's next ladder, and behind its head entries:
 * ascending by price, or in the order of their levels.
 *
 *   compact   sizes (32 bits, hundredths) … prices (16 bits, see `priceCode`) … ages (16 bits: sequence of the last change minus `base`)
 *   wide      (price, size, sequence) as doubles …
 *
 * A ladder begins compact, 8 bytes an entry, and turns wide, 24 bytes, for good with the first value that hundredths cannot hold exactly: starting prices
 * (`spb`, `spl`: 70.1621307023403) do, exchange prices and stakes do not.
 *
 * Heads, in 32-bit words:
 *   compact   0 kind | form << 4 | count << 6 | capacity << 19    1 next    2 base    3 age of the last change
 *   wide      0 kind | form << 4                                  1 next    2 last    3 –    4 count    5 capacity
 *
 * A deleted price leaves its place at once and is remembered in `Deletions`. An emptied level stays, with size 0.
 */
const COMPACT = 0;
const WIDE = 1;
type Form = typeof COMPACT | typeof WIDE;

const HEAD = 2;
const WIDE_HEAD = 3;
const WIDE_SLOTS = 3;
/** What 13 bits of a compact head can count; a longer ladder is wide. */
const COMPACT_ENTRIES_MAX = 8191;
const AGE_MAX = 0xffff;
/** On running out of ages the base moves up to leave this many behind: what changed before counts as changed at the base. */
const AGES_KEPT = 0x8000;
const SIZE_MAX = 0xffffffff;
const PRICE_FINE_MAX = 40_000;
const PRICE_CODE_MAX = 0xffff;
/** A ladder grows by so many entries, or an eighth: what it leaves behind is then of a size that another soon asks for. */
const GROWTH_MIN = 2;
/** A ladder takes a free block so much larger than it asked for, as room to grow into. */
const SPARE_SLOTS = 3;
/** In lists up to this long, deletions are played first where that changes nothing, so that what they free is there for what comes. */
const REORDERED_MAX = 32;

/** Levels run from 0 to this; the exchange's from 0 to 9. */
export const LEVEL_MAX = 99;

/** All ladders of a cache. Addresses move when a ladder grows or changes form, so what changes one takes and gives back its address. */
export class Ladders {
  readonly #arena: Arena;
  readonly #deletions: Deletions;

  constructor(arena: Arena, deletions: Deletions) {
    this.#arena = arena;
    this.#deletions = deletions;
  }

  create(kind: LadderKind, room: number, sequence: number): number {
    // Levels that nobody has spoken of yet count as changed at the base: long ago.
    const base = isLevelLadder(kind) ? Math.max(0, sequence - AGES_KEPT) : sequence;
    return this.#make(kind, room > COMPACT_ENTRIES_MAX ? WIDE : COMPACT, room, base);
  }

  release(at: number): void {
    this.#arena.release(at, slotsFor(this.#form(at), this.#capacity(at)));
  }

  kind(at: number): LadderKind {
    return ((this.#arena.u32[at * 2] as number) & 15) as LadderKind;
  }

  count(at: number): number {
    const head = this.#arena.u32[at * 2] as number;
    return (head & 16) === 0 ? (head >>> 6) & COMPACT_ENTRIES_MAX : (this.#arena.u32[at * 2 + 4] as number);
  }

  next(at: number): number {
    return this.#arena.u32[at * 2 + 1] as number;
  }

  /** The sequence of the last change of any entry. */
  last(at: number): number {
    const { u32 } = this.#arena;
    return (u32[at * 2 + 2] as number) + (this.#form(at) === WIDE ? 0 : (u32[at * 2 + 3] as number));
  }

  price(at: number, i: number): number {
    if (this.#form(at) === WIDE) return this.#arena.f64[at + WIDE_HEAD + i * WIDE_SLOTS] as number;
    return priceOf(this.#arena.u16[this.#prices(at) + i] as number);
  }

  size(at: number, i: number): number {
    if (this.#form(at) === WIDE) return this.#arena.f64[at + WIDE_HEAD + i * WIDE_SLOTS + 1] as number;
    return (this.#arena.u32[(at + HEAD) * 2 + i] as number) / 100;
  }

  /** The sequence at which the entry last changed; may be later than the truth (never earlier) for changes long ago. */
  changed(at: number, i: number): number {
    const { u32, u16, f64 } = this.#arena;
    if (this.#form(at) === WIDE) return f64[at + WIDE_HEAD + i * WIDE_SLOTS + 2] as number;
    return (u32[at * 2 + 2] as number) + (u16[this.#prices(at) + this.#capacity(at) + i] as number);
  }

  /** Whether there is an entry at the price. */
  has(at: number, price: number): boolean {
    const i = this.#find(at, price);
    return i < this.count(at) && this.price(at, i) === price;
  }

  /**
   * Sets the sizes at `count` prices, (price, size) pairs as they stand on a tape from `from` on; 0 deletes. `chain` is the index of the 32-bit word that
   * holds the head of the runner's deletions. Returns the ladder's address, which may be another.
   * Nearly all values go through here, so nothing is looked up twice and what the loop needs is at hand.
   */
  setPrices(at: number, tape: Float64Array, from: number, count: number, sequence: number, chain: number): number {
    const arena = this.#arena;
    let ladder = at;
    if (count > 1 && this.count(at) + count > this.#capacity(at))
      this.#deleteFirst(at, tape, from, count, sequence, chain);
    for (let i = from, end = from + count * 2; i < end; i += 2) {
      const code = priceCode(tape[i] as number);
      const cents = hundredths(tape[i + 1] as number);
      const head = arena.u32[ladder * 2] as number;
      const isWide = (head & 16) !== 0;
      if (isWide || code < 0 || cents < 0) {
        if (!isWide) ladder = this.#moved(ladder, WIDE, this.#capacity(ladder));
        ladder = this.#setWide(ladder, tape[i] as number, tape[i + 1] as number, sequence, chain);
        continue;
      }
      const { u16 } = arena;
      const first = (ladder + HEAD) * 4 + (head >>> 19) * 2;
      const entries = (head >>> 6) & COMPACT_ENTRIES_MAX;
      // Halved without a branch on what is found: prices come in no order that could be foretold, and a branch mistaken costs more than it saves.
      let low = 0;
      for (let left = entries; left > 0; ) {
        const half = (left + 1) >>> 1;
        low += half & (((u16[first + low + half - 1] as number) - code) >> 31);
        left -= half;
      }
      const found = low < entries && u16[first + low] === code;
      if (cents !== 0) {
        if (!found) ladder = this.#openGap(ladder, low);
        if (!found && this.#form(ladder) === WIDE)
          this.#writeWide(ladder, low, tape[i] as number, tape[i + 1] as number, sequence);
        else this.#write(ladder, low, code, cents, sequence);
      } else if (found) this.#delete(ladder, low, sequence, chain);
    }
    return ladder;
  }

  /** Sets `count` levels, (level, price, size) triples as they stand on a tape; size 0 empties, and says nothing of an empty one. Returns the ladder's address, which may be another. */
  setLevels(at: number, tape: Float64Array, from: number, count: number, sequence: number): number {
    let ladder = at;
    for (let i = from, end = from + count * 3; i < end; i += 3) {
      const level = tape[i] as number;
      const size = tape[i + 2] as number;
      const price = size === 0 ? 0 : (tape[i + 1] as number);
      const code = priceCode(price);
      const cents = hundredths(size);
      if (size === 0 && (level >= this.count(ladder) || this.size(ladder, level) === 0)) continue;
      if (level >= this.count(ladder)) ladder = this.#withLevels(ladder, level + 1);
      if ((code < 0 || cents < 0) && this.#form(ladder) !== WIDE)
        ladder = this.#moved(ladder, WIDE, this.#capacity(ladder));
      if (this.#form(ladder) === WIDE) this.#writeWide(ladder, level, price, size, sequence);
      else this.#write(ladder, level, code, cents, sequence);
    }
    return ladder;
  }

  /** Deletes every price. */
  clear(at: number, sequence: number, chain: number): void {
    for (let i = this.count(at) - 1; i >= 0; i--) this.#delete(at, i, sequence, chain);
  }

  #form(at: number): Form {
    return (((this.#arena.u32[at * 2] as number) >> 4) & 1) as Form;
  }

  #capacity(at: number): number {
    const head = this.#arena.u32[at * 2] as number;
    return (head & 16) === 0 ? head >>> 19 : (this.#arena.u32[at * 2 + 5] as number);
  }

  /** Where a compact ladder's prices begin, in 16-bit words; its ages follow them. */
  #prices(at: number): number {
    return (at + HEAD) * 4 + this.#capacity(at) * 2;
  }

  #setCount(at: number, count: number): void {
    const { u32 } = this.#arena;
    if (this.#form(at) === WIDE) u32[at * 2 + 4] = count;
    else u32[at * 2] = ((u32[at * 2] as number) & ~(COMPACT_ENTRIES_MAX << 6)) | (count << 6);
  }

  /** An empty ladder with room for at least so many entries; its base (wide: last change) is `sequence`. */
  #make(kind: LadderKind, form: Form, room: number, sequence: number): number {
    const at = this.#arena.allocate(slotsFor(form, Math.max(2, room)), form === WIDE ? 0 : SPARE_SLOTS);
    const { u32, allocated } = this.#arena;
    const capacity = capacityOf(form, allocated);
    u32[at * 2] = form === WIDE ? kind | (WIDE << 4) : kind | (capacity << 19);
    u32[at * 2 + 1] = 0;
    u32[at * 2 + 2] = sequence;
    u32[at * 2 + 3] = 0;
    if (form !== WIDE) return at;
    u32[at * 2 + 4] = 0;
    u32[at * 2 + 5] = capacity;
    return at;
  }

  /** Deletions can go first, up to one of a price that the list names twice, which must keep its place: their order is the list's, whether or not there was room. */
  #deleteFirst(at: number, tape: Float64Array, from: number, count: number, sequence: number, chain: number): void {
    if (count > REORDERED_MAX) return;
    const end = from + count * 2;
    for (let i = from; i < end; i += 2) {
      if (tape[i + 1] !== 0) continue;
      if (isTwice(tape, from, end, tape[i] as number)) return;
      const place = this.#find(at, tape[i] as number);
      if (place < this.count(at) && this.price(at, place) === tape[i]) this.#delete(at, place, sequence, chain);
    }
  }

  #delete(at: number, i: number, sequence: number, chain: number): void {
    const { u32, u16, f64 } = this.#arena;
    const count = this.count(at);
    u32[chain] = this.#deletions.add(this.kind(at), this.price(at, i), sequence, u32[chain] as number);
    if (this.#form(at) === WIDE) {
      const first = at + WIDE_HEAD;
      f64.copyWithin(first + i * WIDE_SLOTS, first + (i + 1) * WIDE_SLOTS, first + count * WIDE_SLOTS);
    } else {
      const [sizes, prices] = [(at + HEAD) * 2, this.#prices(at)];
      const ages = prices + this.#capacity(at);
      u32.copyWithin(sizes + i, sizes + i + 1, sizes + count);
      u16.copyWithin(prices + i, prices + i + 1, prices + count);
      u16.copyWithin(ages + i, ages + i + 1, ages + count);
    }
    this.#setCount(at, count - 1);
    this.#setLast(at, sequence);
  }

  #setLast(at: number, sequence: number): void {
    const { u32 } = this.#arena;
    if (this.#form(at) === WIDE) u32[at * 2 + 2] = sequence;
    else u32[at * 2 + 3] = sequence - (u32[at * 2 + 2] as number);
  }

  #write(at: number, i: number, code: number, cents: number, sequence: number): void {
    const { u32, u16 } = this.#arena;
    const capacity = (u32[at * 2] as number) >>> 19;
    if (sequence - (u32[at * 2 + 2] as number) > AGE_MAX) this.#rebase(at, sequence - AGES_KEPT);
    const age = sequence - (u32[at * 2 + 2] as number);
    u32[(at + HEAD) * 2 + i] = cents;
    u16[(at + HEAD) * 4 + capacity * 2 + i] = code;
    u16[(at + HEAD) * 4 + capacity * 3 + i] = age;
    u32[at * 2 + 3] = age;
  }

  #writeWide(at: number, i: number, price: number, size: number, sequence: number): void {
    const { f64, u32 } = this.#arena;
    const entry = at + WIDE_HEAD + i * WIDE_SLOTS;
    f64[entry] = price;
    f64[entry + 1] = size;
    f64[entry + 2] = sequence;
    u32[at * 2 + 2] = sequence;
  }

  #rebase(at: number, base: number): void {
    const { u32, u16 } = this.#arena;
    const by = base - (u32[at * 2 + 2] as number);
    const ages = this.#prices(at) + this.#capacity(at);
    for (let i = 0; i < this.count(at); i++) u16[ages + i] = Math.max(0, (u16[ages + i] as number) - by);
    u32[at * 2 + 2] = base;
  }

  #setWide(at: number, price: number, size: number, sequence: number, chain: number): number {
    const i = this.#find(at, price);
    const found = i < this.count(at) && this.price(at, i) === price;
    if (size === 0) {
      if (found) this.#delete(at, i, sequence, chain);
      return at;
    }
    const ladder = found ? at : this.#openGap(at, i);
    this.#writeWide(ladder, i, price, size, sequence);
    return ladder;
  }

  /** Where the price is, or would be. */
  #find(at: number, price: number): number {
    let low = 0;
    let high = this.count(at);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.price(at, middle) < price) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Makes place `i` free for a new entry; the ladder grows where it must, and turns wide where a compact one has no more numbers. */
  #openGap(at: number, i: number): number {
    const count = this.count(at);
    const ladder = count < this.#capacity(at) ? at : this.#grown(at, count + Math.max(GROWTH_MIN, count >> 2));
    const { u32, u16, f64 } = this.#arena;
    if (this.#form(ladder) === WIDE) {
      const first = ladder + WIDE_HEAD;
      f64.copyWithin(first + (i + 1) * WIDE_SLOTS, first + i * WIDE_SLOTS, first + count * WIDE_SLOTS);
    } else if (i < count) {
      const [sizes, prices] = [(ladder + HEAD) * 2, this.#prices(ladder)];
      const ages = prices + this.#capacity(ladder);
      u32.copyWithin(sizes + i + 1, sizes + i, sizes + count);
      u16.copyWithin(prices + i + 1, prices + i, prices + count);
      u16.copyWithin(ages + i + 1, ages + i, ages + count);
    }
    this.#setCount(ladder, count + 1);
    return ladder;
  }

  #withLevels(at: number, levels: number): number {
    const ladder = this.#capacity(at) < levels ? this.#grown(at, levels) : at;
    const last = this.last(ladder);
    for (let i = this.count(ladder); i < levels; i++) {
      if (this.#form(ladder) === WIDE) this.#writeWide(ladder, i, 0, 0, 0);
      else this.#write(ladder, i, 0, 0, this.#arena.u32[ladder * 2 + 2] as number);
    }
    this.#setCount(ladder, levels);
    this.#setLast(ladder, last);
    return ladder;
  }

  #grown(at: number, capacity: number): number {
    return this.#moved(at, capacity > COMPACT_ENTRIES_MAX ? WIDE : this.#form(at), capacity);
  }

  /** The same ladder in another block, with room for at least so many entries. */
  #moved(at: number, form: Form, room: number): number {
    const wide = form === WIDE;
    const to = this.#make(this.kind(at), form, room, wide ? 0 : (this.#arena.u32[at * 2 + 2] as number));
    const { u32, u16 } = this.#arena;
    const count = this.count(at);
    u32[to * 2 + 1] = this.next(at);
    this.#setCount(to, count);
    if (wide) {
      for (let i = 0; i < count; i++) this.#writeWide(to, i, this.price(at, i), this.size(at, i), this.changed(at, i));
    } else {
      const [from, prices] = [this.#prices(at), this.#prices(to)];
      const [ages, newAges] = [from + this.#capacity(at), prices + this.#capacity(to)];
      u32.copyWithin((to + HEAD) * 2, (at + HEAD) * 2, (at + HEAD) * 2 + count);
      u16.copyWithin(prices, from, from + count);
      u16.copyWithin(newAges, ages, ages + count);
    }
    this.#setLast(to, this.last(at));
    this.release(at);
    return to;
  }
}

export function isLevelLadder(kind: LadderKind): boolean {
  return kind >= FIRST_LEVEL_LADDER;
}

function isTwice(tape: Float64Array, from: number, end: number, price: number): boolean {
  let times = 0;
  for (let i = from; i < end; i += 2) if (tape[i] === price) times++;
  return times > 1;
}

function slotsFor(form: Form, capacity: number): number {
  return form === WIDE ? WIDE_HEAD + capacity * WIDE_SLOTS : HEAD + capacity;
}

/** How many entries fit a block of so many slots. */
function capacityOf(form: Form, slots: number): number {
  return form === WIDE ? Math.floor((slots - WIDE_HEAD) / WIDE_SLOTS) : Math.min(COMPACT_ENTRIES_MAX, slots - HEAD);
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
