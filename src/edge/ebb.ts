import type { Clock, Timer } from "../base/clock.ts";

/** Fewer than this leave nothing worth a collection. */
export const GONE_MIN = 1_000;
/** So many times as many have gone as are here. */
export const GONE_TIMES = 3;
/** With more users than this a full collection holds the loop up for more than 20 ms (15,000: 45 ms). */
export const HERE_MAX = 5_000;
/** From then until it is collected: who has gone still lies in lists of what is due. */
export const SETTLE_MS = 10_000;
const LOOK_MS = 1_000;

export interface EbbWorld {
  readonly clock: Clock;
  /** Users right now, and how many have left since the start. */
  here(): number;
  gone(): number;
  /** A full collection of garbage. */
  collect(): void;
}

/**
 * Asks for a full collection when most users have gone. Left to itself the engine does that by what is allocated, which is next to nothing once nobody is
 * here: a gateway that 19,500 users had left kept 131 MB for minutes, where it had 76 before they came (`npm run prove -- soak`).
 */
export class Ebb {
  readonly #world: EbbWorld;
  #timer: Timer;
  /** How many had left when it was collected last. */
  #goneBefore = 0;
  /** Since when it is due; null: it is not. */
  #dueSince: number | null = null;

  constructor(world: EbbWorld) {
    this.#world = world;
    this.#timer = this.#lookSoon();
  }

  stop(): void {
    this.#timer.cancel();
  }

  #lookSoon(): Timer {
    return this.#world.clock.after(LOOK_MS, () => {
      this.#look();
      this.#timer = this.#lookSoon();
    });
  }

  #look(): void {
    const { clock, collect } = this.#world;
    if (!this.#isDue()) return void (this.#dueSince = null);
    this.#dueSince ??= clock.monotonic();
    if (clock.monotonic() - this.#dueSince < SETTLE_MS) return;
    this.#dueSince = null;
    this.#goneBefore = this.#world.gone();
    collect();
  }

  #isDue(): boolean {
    const here = this.#world.here();
    const gone = this.#world.gone() - this.#goneBefore;
    return here <= HERE_MAX && gone >= Math.max(GONE_MIN, GONE_TIMES * here);
  }
}
