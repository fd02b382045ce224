/** A timer that was set; cancelling one that has fired or was cancelled does nothing. */
export interface Timer {
  cancel(): void;
}

/** Time as an argument, so that tests and simulators can run the library on a clock of their own. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  wall(): number;
  /** Milliseconds since some fixed moment; never goes back. */
  monotonic(): number;
  /** Calls `fire` once, `ms` milliseconds from now, never within this call. */
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

/** Chance as an argument: `next` gives numbers in [0, 1). */
export interface Random {
  next(): number;
}

export const systemRandom: Random = { next: () => Math.random() };
