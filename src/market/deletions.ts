import type { LadderKind } from "./types.ts";

/**
 * The tombstones of a cache: which prices went from which ladders, and when. One ring for all of them, so that books stay as large as what they hold and
 * the memory for what they no longer hold has a bound of its own. Each runner's deletions are a chain, newest first, whose head the runner keeps.
 *
 * When the ring comes round, the oldest are lost; a chain that leads there cannot tell who knows less than `lostUpTo` what is gone.
 */
export class Deletions {
  readonly #price: Float64Array;
  readonly #sequence: Uint32Array;
  readonly #previous: Uint32Array;
  readonly #kind: Uint8Array;
  readonly #mask: number;
  #total = 0;

  /** `max`: how many are remembered, rounded up to a power of two; 17 bytes each. */
  constructor(max: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2, max)));
    this.#mask = size - 1;
    this.#price = new Float64Array(size);
    this.#sequence = new Uint32Array(size);
    this.#previous = new Uint32Array(size);
    this.#kind = new Uint8Array(size);
  }

  /** Remembers one; `head` is the chain so far (0: none). Returns the chain's new head. */
  add(kind: LadderKind, price: number, sequence: number, head: number): number {
    const at = ++this.#total & this.#mask;
    this.#price[at] = price;
    this.#sequence[at] = sequence;
    this.#previous[at] = head;
    this.#kind[at] = kind;
    return this.#total;
  }

  /** The deletion behind a chain's head, or null at the chain's end: after the first of all, after `since`, or where the ring has come round. */
  next(head: number, since: number): { kind: LadderKind; price: number; previous: number } | null {
    if (head === 0 || this.#isLost(head)) return null;
    const at = head & this.#mask;
    if ((this.#sequence[at] as number) <= since) return null;
    return {
      kind: this.#kind[at] as LadderKind,
      price: this.#price[at] as number,
      previous: this.#previous[at] as number,
    };
  }

  /** Whether a chain no longer holds all that was deleted after `since`. */
  lostSince(head: number, since: number): boolean {
    if (since >= this.#lostUpTo) return false;
    for (let at = head; at !== 0; at = this.#previous[at & this.#mask] as number) {
      if (this.#isLost(at)) return true;
      if ((this.#sequence[at & this.#mask] as number) <= since) return false;
    }
    return false;
  }

  #isLost(index: number): boolean {
    return index + this.#mask < this.#total;
  }

  /** The oldest one still remembered is of this sequence or a later one; all that are lost are of it or an earlier one. */
  get #lostUpTo(): number {
    return this.#total <= this.#mask ? 0 : (this.#sequence[(this.#total + 1) & this.#mask] as number);
  }
}
