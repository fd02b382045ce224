/** A slot is 8 bytes: one double, two 32-bit words or four 16-bit ones. Addresses are slot numbers; 0 is never handed out and means "none". */
export const SLOT_BYTES = 8;

const PAGE_BYTES = 65536;
/** Grows by this much at a time: small against the whole, large against the cost of new views. */
const GROW_PAGES = 32;
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

  readonly #memory: WebAssembly.Memory;
  readonly #bytesMax: number;
  #top = 1;
  #slots = 0;
  /** First free block of each size; a free block holds the address of the next in its first word. */
  readonly #free = new Map<number, number>();
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

  /** A block of at least `slots` slots; its content is whatever was there. Ask `sizeOf` for the size it really has. */
  allocate(slots: number): number {
    const size = sizeOf(slots);
    const free = this.#free.get(size);
    if (free) {
      this.#free.set(size, this.u32[free * 2] as number);
      this.#freeSlots -= size;
      return free;
    }
    const at = this.#top;
    if (at + size > this.#slots) this.#grow(at + size);
    this.#top += size;
    return at;
  }

  /** Gives a block back that was allocated with the same number of slots. */
  release(at: number, slots: number): void {
    const size = sizeOf(slots);
    this.u32[at * 2] = this.#free.get(size) ?? 0;
    this.#free.set(size, at);
    this.#freeSlots += size;
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
