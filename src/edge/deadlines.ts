import type { Clock, Timer } from "../base/clock.ts";

/** How coarse the one timer is, as a share of the wait: something due may be told so much later, so that many of them share a firing. */
const GRAIN = 1 / 20;

/**
 * Waits of one length for many items with one timer: each item is due `ms` after it was last put off. As the length is the same for all, they
 * fall due in the order in which they were put off, and that order is a Map's own.
 */
export class Deadlines<T> {
  readonly ms: number;
  readonly #clock: Clock;
  readonly #due: (item: T) => void;
  readonly #moments = new Map<T, number>();
  #timer: Timer | null = null;

  constructor(clock: Clock, ms: number, due: (item: T) => void) {
    this.#clock = clock;
    this.ms = ms;
    this.#due = due;
  }

  /** How many are waiting. */
  get size(): number {
    return this.#moments.size;
  }

  items(): T[] {
    return [...this.#moments.keys()];
  }

  has(item: T): boolean {
    return this.#moments.has(item);
  }

  /** Starts to wait for an item, or puts it off: it is due `ms` from now. */
  putOff(item: T): void {
    this.#moments.delete(item);
    this.#moments.set(item, this.#clock.monotonic() + this.ms);
    this.#timer ??= this.#clock.after(this.ms, () => this.#fire());
  }

  drop(item: T): void {
    if (this.#moments.delete(item) && this.#moments.size === 0) this.#cancel();
  }

  #cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #fire(): void {
    this.#timer = null;
    const now = this.#clock.monotonic();
    for (const [item, moment] of this.#moments) {
      // `due` may put off or drop any item, this one too, and one put off during the walk comes up again at its end: not due by then.
      if (moment > now) {
        this.#cancel();
        this.#timer = this.#clock.after(Math.max(moment - now, this.ms * GRAIN), () => this.#fire());
        return;
      }
      this.#moments.delete(item);
      this.#due(item);
    }
  }
}
