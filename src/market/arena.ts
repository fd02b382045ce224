/** A slot is 8 bytes: one double, two 32-bit words or four 16-bit ones. Addresses are slot numbers; 0 is never handed out and means "none". */
export const SLOT_BYTES = 8;

const PAGE_BYTES = 65536;
/** Grows by this much at a time: small against the whole, large against the cost of new views. */
const GROW_PAGES = 32;
/** What is left of a block that is cut is worth keeping from this size on: the smallest thing kept here. */
const REST_SLOTS_MIN = 3;
/** Blocks up to this many slots have a free list of their own size; larger ones are rounded up to a multiple of 16 first. */
const EXACT_SLOTS_MAX = 64;

/**
 * The memory of all books of a cache: blocks of slots in one growing buffer, with a free list for each size.
 *
 * It is a WebAssembly memory, which is used here for one property only: it grows in place. An ArrayBuffer would have to be copied to grow
 * (twice the memory for a moment), or be made large beforehand, which the collector takes for real use and lets the heap grow as much again
 * (measured with 64 MB in use and busy allocation beside it: 311 MB peak with an ArrayBuffer, 210 MB with this).
 */
export class Arena {
  u32!: Uint32Array;
  u16!: Uint16Array;
  u8!: Uint8Array;
  f64!: Float64Array;

  /** How many slots the block handed out last really has. */
  allocated = 0;

  readonly #memory: WebAssembly.Memory;
  readonly #bytesMax: number;
  #top = 1;
  #slots = 0;
  /** First free block of each size up to EXACT_SLOTS_MAX, and of each larger one; a free block holds the address of the next in its first word. */
  readonly #free = new Uint32Array(EXACT_SLOTS_MAX + 1);
  readonly #freeLarge = new Map<number, number>();
  #freeSlots = 0;

  /** `bytesMax`: the bound of all books together; at most 4 GiB, which is what 32-bit addresses of a WebAssembly memory reach. */
  constructor(bytesMax = 2 ** 31) {
    this.#bytesMax = bytesMax;
    const pagesMax = Math.ceil(bytesMax / PAGE_BYTES);
    this.#memory = new WebAssembly.Memory({ initial: Math.min(GROW_PAGES, pagesMax), maximum: pagesMax });
    this.#view();
  }

  get bytesUsed(): number {
    return (this.#top - this.#freeSlots) * SLOT_BYTES;
  }

  /** What the arena takes of the machine, free blocks included. */
  get bytesHeld(): number {
    return this.#top * SLOT_BYTES;
  }

  /**
   * A block of `slots` slots, or of up to `spare` more where such a one is free (`allocated` says how many); its content is whatever was there.
   * Free blocks are used before new ground, larger ones by cutting them: ladders grow through many sizes, and left what they had behind them.
   */
  allocate(slots: number, spare = 0): number {
    const size = sizeOf(slots);
    this.allocated = size;
    if (size > EXACT_SLOTS_MAX) return this.#takeLarge(size) || this.#bump(size);
    for (let larger = size; larger <= EXACT_SLOTS_MAX; larger++) {
      if (this.#free[larger] === 0 || (larger > size + spare && larger < size + REST_SLOTS_MIN)) continue;
      const at = this.#take(larger);
      if (larger <= size + spare) this.allocated = larger;
      else this.release(at + size, larger - size);
      return at;
    }
    return this.#bump(size);
  }

  /** Gives a block back that has so many slots. */
  release(at: number, slots: number): void {
    const size = sizeOf(slots);
    this.#freeSlots += size;
    if (size > EXACT_SLOTS_MAX) {
      this.u32[at * 2] = this.#freeLarge.get(size) ?? 0;
      this.#freeLarge.set(size, at);
    } else {
      this.u32[at * 2] = this.#free[size] as number;
      this.#free[size] = at;
    }
  }

  #take(size: number): number {
    const at = this.#free[size] as number;
    this.#free[size] = this.u32[at * 2] as number;
    this.#freeSlots -= size;
    return at;
  }

  #takeLarge(size: number): number {
    const at = this.#freeLarge.get(size) ?? 0;
    if (at === 0) return 0;
    this.#freeLarge.set(size, this.u32[at * 2] as number);
    this.#freeSlots -= size;
    return at;
  }

  #bump(size: number): number {
    const at = this.#top;
    if (at + size > this.#slots) this.#grow(at + size);
    this.#top += size;
    return at;
  }

  #grow(slots: number): void {
    const missing = Math.ceil(((slots - this.#slots) * SLOT_BYTES) / PAGE_BYTES);
    if (slots * SLOT_BYTES > this.#bytesMax)
      throw new Error(`the books need more than arenaBytesMax = ${this.#bytesMax} bytes`);
    const room = Math.ceil((this.#bytesMax - this.#slots * SLOT_BYTES) / PAGE_BYTES);
    this.#memory.grow(Math.min(room, Math.max(missing, GROW_PAGES)));
    this.#view();
  }

  #view(): void {
    const { buffer } = this.#memory;
    this.u32 = new Uint32Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u8 = new Uint8Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.#slots = buffer.byteLength / SLOT_BYTES;
  }
}

/** The size a block of `slots` slots really has. */
export function sizeOf(slots: number): number {
  return slots <= EXACT_SLOTS_MAX ? slots : (slots + 15) & ~15;
}
