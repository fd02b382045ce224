import type { Clock, Timer } from "../base/clock.ts";

/** The exchange's publishing cycle. */
export const CYCLE_MS = 50;
/** Who was stopped for long does not make good more than this. */
const ELAPSED_MS_MAX = 1_000;

/** Calls `step` every 50 ms with the time that went by, until stopped. Late calls are made good by the time they say. */
export class Cycle {
  readonly #clock: Clock;
  readonly #step: (elapsedMs: number) => void;
  #timer: Timer | null = null;
  #steppedAt = 0;
  #dueAt = 0;

  constructor(clock: Clock, step: (elapsedMs: number) => void) {
    this.#clock = clock;
    this.#step = step;
  }

  start(): void {
    this.#steppedAt = this.#dueAt = this.#clock.monotonic();
    this.#next();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #next(): void {
    const now = this.#clock.monotonic();
    this.#dueAt = Math.max(this.#dueAt + CYCLE_MS, now);
    this.#timer = this.#clock.after(this.#dueAt - now, () => this.#fire());
  }

  #fire(): void {
    const now = this.#clock.monotonic();
    const elapsed = Math.min(now - this.#steppedAt, ELAPSED_MS_MAX);
    this.#steppedAt = now;
    this.#next();
    this.#step(elapsed);
  }
}
