import type { Random } from "./random.ts";

/** Draws one of `count` places by Zipf's law: place n (from 0) is (n + 1)^-exponent times as likely as the first. */
export class ZipfDraw {
  readonly #random: Random;
  readonly #cumulated: Float64Array;

  constructor(count: number, exponent: number, random: Random) {
    this.#random = random;
    this.#cumulated = new Float64Array(count);
    let sum = 0;
    for (let n = 0; n < count; n++) this.#cumulated[n] = sum += (n + 1) ** -exponent;
  }

  next(): number {
    const sums = this.#cumulated;
    const dice = this.#random.next() * (sums[sums.length - 1] as number);
    let [low, high] = [0, sums.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) > dice) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
