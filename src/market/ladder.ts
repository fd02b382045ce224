import type { Arena } from "./arena.ts";
import { FIRST_LEVEL_LADDER, type LadderKind } from "./types.ts";

/*
 * A ladder is one block of the arena, in one of three forms. Each has a kind, the address of the runner's next ladder, a base, and behind its head
 * entries: ascending by price, or in the order of their levels.
 *
 *   flat    sizes (32 bits, hundredths) … prices (16 bits, see `priceCode`) …          6 bytes an entry; all changed at `base`
 *   aged    sizes … prices … ages (16 bits: sequence of the last change minus `base`)  8 bytes an entry
 *   wide    (price, size, sequence) as doubles …                                      24 bytes an entry
 *
 * A ladder begins flat, which is what an image leaves and what most of 20,000 markets stay; its first change after that makes it aged, and the first
 * value that hundredths cannot hold exactly makes it wide, for good: starting prices (`spb`, `spl`: 70.1621307023403) do, exchange prices and stakes do not.
 *
 * Heads, in 32-bit words:
 *   flat, aged   0 kind | form << 4 | count << 6 | capacity << 19    1 next    2 base    3 lastAge | lostAge << 16
 *   wide         0 kind | form << 4                                  1 next    2 last    3 lost    4 count    5 capacity
 *
 * Size 0 is a tombstone: the price is gone, and who asks what changed since before must be told. `lost` says up to where tombstones were given up.
 */
const FLAT = 0;
const AGED = 1;
const WIDE = 2;
type Form = typeof FLAT | typeof AGED | typeof WIDE;

const HEAD = 2;
const WIDE_HEAD = 3;
const WIDE_SLOTS = 3;
/** A ladder takes a free block so much larger than it asked for, as room to grow into. */
const SPARE_SLOTS = 3;
/** What 13 bits of a compact head can count; a longer ladder is wide. */
const COMPACT_ENTRIES_MAX = 8191;
/** Ages and `lostAge` (which is one more) fit 16 bits. */
const AGE_MAX = 0xfffe;
/** On running out of ages the base moves up to leave this many behind: what changed before counts as changed at the base. */
const AGES_KEPT = 0x8000;
const SIZE_MAX = 0xffffffff;
const PRICE_FINE_MAX = 40_000;
const PRICE_CODE_MAX = 0xffff;

/** The most tombstones a full ladder keeps of its own accord; beyond it the older half goes and `lost` moves up. */
export const TOMBSTONES_MAX = 64;
/** Levels run from 0 to this; the exchange's from 0 to 9. */
export const LEVEL_MAX = 99;

/** All ladders of a cache. Addresses move when a ladder grows or changes form, so what changes one takes and gives back its address. */
export class Ladders {
  readonly #arena: Arena;
  /** Tombstones up to this sequence are of no use to anybody: nobody may ask what changed since before it. */
  keepFrom = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  create(kind: LadderKind, room: number, sequence: number): number {
    return this.#make(kind, room > COMPACT_ENTRIES_MAX ? WIDE : FLAT, room, sequence);
  }

  release(at: number): void {
    this.#arena.release(at, slotsFor(this.#form(at), this.#capacity(at)));
  }

  kind(at: number): LadderKind {
    return ((this.#arena.u32[at * 2] as number) & 15) as LadderKind;
  }

  /** Entries, tombstones included. */
  count(at: number): number {
    const head = this.#arena.u32[at * 2] as number;
    return ((head >> 4) & 3) === WIDE ? (this.#arena.u32[at * 2 + 4] as number) : (head >>> 6) & COMPACT_ENTRIES_MAX;
  }

  next(at: number): number {
    return this.#arena.u32[at * 2 + 1] as number;
  }

  /** Up to where tombstones were lost: who knows less than this cannot be told what changed. May say more than the truth for long ago, never less. */
  lost(at: number): number {
    const { u32, u16 } = this.#arena;
    if (this.#form(at) === WIDE) return u32[at * 2 + 3] as number;
    const lostAge = u16[at * 4 + 7] as number;
    return lostAge === 0 ? 0 : (u32[at * 2 + 2] as number) + lostAge - 1;
  }

  /** The sequence of the last change of any entry. */
  last(at: number): number {
    const { u32, u16 } = this.#arena;
    if (this.#form(at) === WIDE) return u32[at * 2 + 2] as number;
    return (u32[at * 2 + 2] as number) + (u16[at * 4 + 6] as number);
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
    const form = this.#form(at);
    if (form === WIDE) return f64[at + WIDE_HEAD + i * WIDE_SLOTS + 2] as number;
    const base = u32[at * 2 + 2] as number;
    return form === FLAT ? base : base + (u16[this.#prices(at) + this.#capacity(at) + i] as number);
  }

  /**
   * Sets the sizes at `count` prices, (price, size) pairs as they stand on a tape from `from` on; 0 deletes. Returns the ladder's address, which may be another.
   * Nearly all values go through here, so nothing is looked up twice and what the loop needs is at hand.
   */
  setPrices(at: number, tape: Float64Array, from: number, count: number, sequence: number): number {
    const arena = this.#arena;
    let ladder = this.#ready(at, sequence);
    for (let i = from, end = from + count * 2; i < end; i += 2) {
      const code = priceCode(tape[i] as number);
      const cents = hundredths(tape[i + 1] as number);
      const head = arena.u32[ladder * 2] as number;
      const isWide = ((head >> 4) & 3) === WIDE;
      if (isWide || code < 0 || cents < 0) {
        if (!isWide) ladder = this.#moved(ladder, WIDE, this.#capacity(ladder));
        ladder = this.#setWide(ladder, tape[i] as number, tape[i + 1] as number, sequence);
        continue;
      }
      const { u16 } = arena;
      const first = (ladder + HEAD) * 4 + (head >>> 19) * 2;
      const entries = (head >>> 6) & COMPACT_ENTRIES_MAX;
      let low = 0;
      let high = entries;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((u16[first + middle] as number) < code) low = middle + 1;
        else high = middle;
      }
      if (low < entries && u16[first + low] === code) this.#write(ladder, low, code, cents, sequence);
      else if (cents !== 0) ladder = this.#insertCompact(ladder, low, code, cents, sequence);
    }
    return ladder;
  }

  /** Sets `count` levels, (level, price, size) triples as they stand on a tape; size 0 deletes. Returns the ladder's address, which may be another. */
  setLevels(at: number, tape: Float64Array, from: number, count: number, sequence: number): number {
    let ladder = this.#ready(at, sequence);
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
      if ((code < 0 || cents < 0) && this.#form(ladder) !== WIDE)
        ladder = this.#moved(ladder, WIDE, this.#capacity(ladder));
      if (this.#form(ladder) === WIDE) this.#writeWide(ladder, level, price, size, sequence);
      else this.#write(ladder, level, code, cents, sequence);
    }
    return ladder;
  }

  /** Deletes every price; what was there stays as tombstones. Returns the ladder's address, which may be another. */
  clear(at: number, sequence: number): number {
    const ladder = this.#ready(at, sequence);
    for (let i = 0; i < this.count(ladder); i++) {
      if (this.size(ladder, i) === 0) continue;
      if (this.#form(ladder) === WIDE) this.#writeWide(ladder, i, this.price(ladder, i), 0, sequence);
      else this.#write(ladder, i, this.#arena.u16[this.#prices(ladder) + i] as number, 0, sequence);
    }
    return ladder;
  }

  #form(at: number): Form {
    return (((this.#arena.u32[at * 2] as number) >> 4) & 3) as Form;
  }

  #capacity(at: number): number {
    const head = this.#arena.u32[at * 2] as number;
    return ((head >> 4) & 3) === WIDE ? (this.#arena.u32[at * 2 + 5] as number) : head >>> 19;
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
    const at = this.#arena.allocate(slotsFor(form, Math.max(2, room)), SPARE_SLOTS);
    const { u32 } = this.#arena;
    const capacity = capacityOf(form, this.#arena.allocated);
    u32[at * 2] = form === WIDE ? kind | (WIDE << 4) : kind | (form << 4) | (capacity << 19);
    u32[at * 2 + 1] = 0;
    u32[at * 2 + 2] = sequence;
    u32[at * 2 + 3] = 0;
    if (form !== WIDE) return at;
    u32[at * 2 + 4] = 0;
    u32[at * 2 + 5] = capacity;
    return at;
  }

  /** The ladder, able to hold changes of `sequence`: a flat one can only if they come with its image. */
  #ready(at: number, sequence: number): number {
    if (this.#form(at) !== FLAT || this.#arena.u32[at * 2 + 2] === sequence) return at;
    return this.#moved(at, AGED, this.count(at));
  }

  #write(at: number, i: number, code: number, cents: number, sequence: number): void {
    const { u32, u16 } = this.#arena;
    const head = u32[at * 2] as number;
    const capacity = head >>> 19;
    u32[(at + HEAD) * 2 + i] = cents;
    u16[(at + HEAD) * 4 + capacity * 2 + i] = code;
    if (((head >> 4) & 3) === FLAT) return;
    if (sequence - (u32[at * 2 + 2] as number) > AGE_MAX) this.#rebase(at, sequence - AGES_KEPT);
    const age = sequence - (u32[at * 2 + 2] as number);
    u16[(at + HEAD) * 4 + capacity * 3 + i] = age;
    u16[at * 4 + 6] = age;
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
    u16[at * 4 + 6] = Math.max(0, (u16[at * 4 + 6] as number) - by);
    const lostAge = u16[at * 4 + 7] as number;
    u16[at * 4 + 7] = lostAge === 0 ? 0 : Math.max(1, lostAge - by);
    u32[at * 2 + 2] = base;
  }

  #setWide(at: number, price: number, size: number, sequence: number): number {
    let ladder = at;
    let i = this.#findWide(ladder, price);
    if (i === this.count(ladder) || this.price(ladder, i) !== price) {
      if (size === 0) return ladder;
      ladder = this.#withRoom(ladder);
      i = this.#findWide(ladder, price);
      const { f64 } = this.#arena;
      const [count, first] = [this.count(ladder), ladder + WIDE_HEAD];
      f64.copyWithin(first + (i + 1) * WIDE_SLOTS, first + i * WIDE_SLOTS, first + count * WIDE_SLOTS);
      this.#setCount(ladder, count + 1);
    }
    this.#writeWide(ladder, i, price, size, sequence);
    return ladder;
  }

  /** Where the price is, or would be. */
  #findWide(at: number, price: number): number {
    let low = 0;
    let high = this.count(at);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.price(at, middle) < price) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts a new price in at `place`, which a purge of tombstones to make room may move. */
  #insertCompact(at: number, place: number, code: number, cents: number, sequence: number): number {
    let ladder = at;
    let i = place;
    if (this.count(at) === this.#capacity(at)) {
      ladder = this.#withRoom(at);
      if (this.#form(ladder) === WIDE) return this.#setWide(ladder, priceOf(code), cents / 100, sequence);
      const prices = this.#prices(ladder);
      for (i = 0; i < this.count(ladder) && (this.#arena.u16[prices + i] as number) < code; ) i++;
    }
    this.#openGap(ladder, i);
    this.#write(ladder, i, code, cents, sequence);
    return ladder;
  }

  #openGap(at: number, i: number): void {
    const { u32, u16 } = this.#arena;
    const [count, sizes, prices] = [this.count(at), (at + HEAD) * 2, this.#prices(at)];
    if (i < count) {
      u32.copyWithin(sizes + i + 1, sizes + i, sizes + count);
      u16.copyWithin(prices + i + 1, prices + i, prices + count);
      const ages = prices + this.#capacity(at);
      if (this.#form(at) === AGED) u16.copyWithin(ages + i + 1, ages + i, ages + count);
    }
    this.#setCount(at, count + 1);
  }

  #withLevels(at: number, levels: number): number {
    const ladder = this.#capacity(at) < levels ? this.#grown(at, levels) : at;
    const never = this.#form(ladder) === WIDE ? 0 : (this.#arena.u32[ladder * 2 + 2] as number);
    for (let i = this.count(ladder); i < levels; i++) {
      if (this.#form(ladder) === WIDE) this.#writeWide(ladder, i, 0, 0, never);
      else this.#write(ladder, i, 0, 0, never);
    }
    this.#setCount(ladder, levels);
    return ladder;
  }

  /** The ladder, with room for one more entry: tombstones nobody needs make it first, then the bound on tombstones, then growth. */
  #withRoom(at: number): number {
    if (this.count(at) < this.#capacity(at)) return at;
    const ages = this.#tombstones(at);
    if (ages.length > 0 && (ages[0] as number) <= this.keepFrom) this.#purge(at, this.keepFrom);
    else if (ages.length > TOMBSTONES_MAX) this.#purge(at, ages[ages.length >> 1] as number);
    if (this.count(at) < this.#capacity(at)) return at;
    const capacity = this.#capacity(at);
    return this.#grown(at, capacity + Math.max(2, capacity >> 2));
  }

  /** When each tombstone came, the oldest first. */
  #tombstones(at: number): number[] {
    const ages: number[] = [];
    for (let i = 0; i < this.count(at); i++) if (this.size(at, i) === 0) ages.push(this.changed(at, i));
    return ages.sort((a, b) => a - b);
  }

  /** Forgets the tombstones up to `upTo`, and remembers that it did. */
  #purge(at: number, upTo: number): void {
    let kept = 0;
    let lost = this.lost(at);
    for (let i = 0; i < this.count(at); i++) {
      if (this.size(at, i) === 0 && this.changed(at, i) <= upTo) lost = Math.max(lost, this.changed(at, i));
      else this.#shift(at, i, kept++);
    }
    this.#setCount(at, kept);
    this.#setLost(at, lost);
  }

  #shift(at: number, from: number, to: number): void {
    const { u32, u16, f64 } = this.#arena;
    if (this.#form(at) === WIDE) {
      const first = at + WIDE_HEAD;
      f64.copyWithin(first + to * WIDE_SLOTS, first + from * WIDE_SLOTS, first + (from + 1) * WIDE_SLOTS);
      return;
    }
    const prices = this.#prices(at);
    const ages = prices + this.#capacity(at);
    u32[(at + HEAD) * 2 + to] = u32[(at + HEAD) * 2 + from] as number;
    u16[prices + to] = u16[prices + from] as number;
    if (this.#form(at) === AGED) u16[ages + to] = u16[ages + from] as number;
  }

  #setLost(at: number, lost: number): void {
    const { u32, u16 } = this.#arena;
    if (this.#form(at) === WIDE) u32[at * 2 + 3] = lost;
    else if (lost > 0) u16[at * 4 + 7] = Math.max(1, lost - (u32[at * 2 + 2] as number) + 1);
  }

  #grown(at: number, capacity: number): number {
    const form = this.#form(at);
    return this.#moved(at, capacity > COMPACT_ENTRIES_MAX ? WIDE : form, capacity);
  }

  /** The same ladder in another block, with room for at least so many entries. */
  #moved(at: number, form: Form, room: number): number {
    const wide = form === WIDE;
    const to = this.#make(this.kind(at), form, room, wide ? this.last(at) : (this.#arena.u32[at * 2 + 2] as number));
    const { u32, u16 } = this.#arena;
    const count = this.count(at);
    u32[to * 2 + 1] = this.next(at);
    this.#setCount(to, count);
    if (wide) {
      const last = this.last(at);
      for (let i = 0; i < count; i++) this.#writeWide(to, i, this.price(at, i), this.size(at, i), this.changed(at, i));
      u32[to * 2 + 2] = last;
    } else {
      u16[to * 4 + 6] = u16[at * 4 + 6] as number;
      u32.copyWithin((to + HEAD) * 2, (at + HEAD) * 2, (at + HEAD) * 2 + count);
      u16.copyWithin(this.#prices(to), this.#prices(at), this.#prices(at) + count);
      this.#copyAges(at, to, count);
    }
    this.#setLost(to, this.lost(at));
    this.release(at);
    return to;
  }

  #copyAges(at: number, to: number, count: number): void {
    if (this.#form(to) !== AGED) return;
    const { u16 } = this.#arena;
    const target = this.#prices(to) + this.#capacity(to);
    const source = this.#prices(at) + this.#capacity(at);
    if (this.#form(at) === FLAT) u16.fill(0, target, target + count);
    else u16.copyWithin(target, source, source + count);
  }
}

export function isLevelLadder(kind: LadderKind): boolean {
  return kind >= FIRST_LEVEL_LADDER;
}

function slotsFor(form: Form, capacity: number): number {
  if (form === WIDE) return WIDE_HEAD + capacity * WIDE_SLOTS;
  return HEAD + (form === AGED ? capacity : (capacity * 3 + 3) >> 2);
}

/** How many entries fit a block of so many slots. */
function capacityOf(form: Form, slots: number): number {
  if (form === WIDE) return Math.floor((slots - WIDE_HEAD) / WIDE_SLOTS);
  return Math.min(COMPACT_ENTRIES_MAX, form === AGED ? slots - HEAD : Math.floor(((slots - HEAD) * 4) / 3));
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
