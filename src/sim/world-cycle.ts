import type { Clock, Timer } from "../base/clock.ts";

/** The exchange's publishing cycle. */
export const CYCLE_MS = 50;
/** Who was stopped for long does not make good more than this. */
const ELAPSED_MS_MAX = 1_000;

/** Calls `step` every cycle with the time that went by, until stopped. Late calls are made good by the time they say. */
export class Cycle {
  readonly #clock: Clock;
  readonly #step: (elapsedMs: number) => void;
  readonly #ms: number;
  #timer: Timer | null = null;
  #steppedAt = 0;
  #dueAt = 0;

  constructor(clock: Clock, step: (elapsedMs: number) => void, ms = CYCLE_MS) {
    this.#clock = clock;
    this.#step = step;
    this.#ms = ms;
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
    this.#dueAt = Math.max(this.#dueAt + this.#ms, now);
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
