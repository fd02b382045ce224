/** A timer that was set; cancelling one that has fired or was cancelled does nothing. */
export interface Timer {
  cancel(): void;
}

/**
 * Time as an argument, so that the same code runs on the machine's clock and on the simulator's.
 * Whoever measures how long something took, or when something is due, uses `monotonic`: `wall` may jump an hour either way.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch, as the machine believes. */
  wall(): number;
  /** Milliseconds since some fixed moment; never goes back. */
  monotonic(): number;
  /** Calls `fire` once, `ms` milliseconds from now (at once, but not within this call, when `ms` is 0 or less). */
  after(ms: number, fire: () => void): Timer;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  wall: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fire) {
    const handle = setTimeout(fire, Math.max(0, ms));
    return { cancel: () => clearTimeout(handle) };
  },
};
