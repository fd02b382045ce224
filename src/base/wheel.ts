import type { Clock, Timer } from "./clock.ts";

const TICK_MS = 100;
/** The farthest moment that can be waited for: 6.4 s, above the longest heartbeat interval of 5 s. */
const BUCKETS = 64;

/** One timer for everybody's heartbeats: a timing wheel. `due` is called for each item whose moment has come; it returns in how many milliseconds to ask again, or null. */
export class Wheel<T> {
  readonly #buckets: T[][] = Array.from({ length: BUCKETS }, () => []);
  #spare: T[] = [];
  #tick = 0;
  #count = 0;
  #timer: Timer | null = null;
  readonly #clock: Clock;
  readonly #due: (item: T) => number | null;

  constructor(clock: Clock, due: (item: T) => number | null) {
    this.#clock = clock;
    this.#due = due;
  }

  add(item: T, ms: number): void {
    const ticks = Math.min(BUCKETS - 1, Math.max(1, Math.floor(ms / TICK_MS)));
    (this.#buckets[(this.#tick + ticks) % BUCKETS] as T[]).push(item);
    this.#count++;
    this.#timer ??= this.#clock.after(TICK_MS, () => this.#turn());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #turn(): void {
    this.#timer = null;
    this.#tick = (this.#tick + 1) % BUCKETS;
    const items = this.#buckets[this.#tick] as T[];
    this.#buckets[this.#tick] = this.#spare;
    this.#count -= items.length;
    for (const item of items) {
      const again = this.#due(item);
      if (again !== null) this.add(item, again);
    }
    items.length = 0;
    this.#spare = items;
    if (this.#count > 0) this.#timer ??= this.#clock.after(TICK_MS, () => this.#turn());
  }
}
