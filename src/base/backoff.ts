import type { Random } from "./random.ts";

export interface BackoffOptions {
  /** The longest first wait, milliseconds. */
  readonly firstMs: number;
  /** The longest wait ever, milliseconds: the named bound of every retry that uses this. */
  readonly maxMs: number;
}

/**
 * Exponential backoff with full jitter: the n-th wait is uniform in [min, min(max, first × 2ⁿ)].
 * The floor (a tenth of the first) keeps a fleet from retrying in a tight loop when chance gives zeros.
 */
export class Backoff {
  #attempts = 0;
  readonly #options: BackoffOptions;
  readonly #random: Random;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** How many waits were handed out since the last success. */
  get attempts(): number {
    return this.#attempts;
  }

  /** The next wait in milliseconds. */
  next(): number {
    const { firstMs, maxMs } = this.#options;
    const cap = Math.min(maxMs, firstMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts++;
    const floor = Math.min(firstMs / 10, cap);
    return floor + this.#random.next() * (cap - floor);
  }

  /** It worked: start small again next time. */
  reset(): void {
    this.#attempts = 0;
  }
}
