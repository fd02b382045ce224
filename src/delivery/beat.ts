import type { Clock, Timer } from "../base/clock.ts";
import { untilTurn } from "./cadence.ts";
import type { View } from "./view.ts";

/** The moments of one (cadence, slot), and the views that have something to tell at the next of them. Cadence 0 has no moments: the hub flushes it with each batch. */
export class Beat {
  readonly cadence: number;
  readonly slot: number;
  touched: View[] = [];
  #spare: View[] = [];
  #timer: Timer | null = null;
  readonly #clock: Clock;
  readonly #turn: (beat: Beat) => void;

  constructor(cadence: number, slot: number, clock: Clock, turn: (beat: Beat) => void) {
    this.cadence = cadence;
    this.slot = slot;
    this.#clock = clock;
    this.#turn = turn;
  }

  touch(view: View): void {
    if (view.touches++ > 0) return;
    this.touched.push(view);
    if (this.cadence > 0 && this.#timer === null) this.wait();
  }

  /** Calls for the next turn; nothing waits while nothing moves. */
  wait(): void {
    const ms = untilTurn(this.#clock.monotonic(), this.cadence, this.slot);
    this.#timer = this.#clock.after(ms, () => {
      this.#timer = null;
      this.#turn(this);
    });
  }

  /** Hands over what was touched and begins anew; the list is good until the next call. */
  take(): readonly View[] {
    const taken = this.touched;
    this.touched = this.#spare;
    this.touched.length = 0;
    this.#spare = taken;
    return taken;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
