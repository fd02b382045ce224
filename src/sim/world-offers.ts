import type { PriceSize } from "./naive.ts";
import { PRICES } from "./world-prices.ts";

/** Sizes by tick, best first, in pence: one side of a runner's offers, or what was traded. Two lists of integers, because a large world has half a million of these. */
export class Offers {
  readonly ticks: number[] = [];
  readonly sizes: number[] = [];
  /** 1: the lowest tick is the best (offers to lay, traded); -1: the highest is (offers to back). */
  readonly #direction: 1 | -1;

  constructor(direction: 1 | -1) {
    this.#direction = direction;
  }

  get length(): number {
    return this.ticks.length;
  }

  sizeAt(tick: number): number {
    const at = this.ticks.indexOf(tick);
    return at === -1 ? 0 : (this.sizes[at] as number);
  }

  /** Puts a size at a tick; 0 takes it away. */
  put(tick: number, size: number): void {
    let at = 0;
    while (at < this.ticks.length && (this.ticks[at] as number) * this.#direction < tick * this.#direction) at++;
    const there = this.ticks[at] === tick;
    if (size === 0) {
      if (!there) return;
      this.ticks.splice(at, 1);
      this.sizes.splice(at, 1);
    } else if (there) this.sizes[at] = size;
    else {
      this.ticks.splice(at, 0, tick);
      this.sizes.splice(at, 0, size);
    }
  }

  entries(): PriceSize[] {
    return this.ticks.map((tick, i) => [PRICES[tick] as number, (this.sizes[i] as number) / 100]);
  }
}
