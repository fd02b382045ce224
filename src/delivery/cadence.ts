/**
 * The intervals at which users can be told, milliseconds. Fewer different ones mean that more users share a view; from 100 on, each is at most half as much
 * again as the one before, so that nobody waits longer than that for what they asked. PROTOCOL.md names them.
 */
export const CADENCES = [
  0, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500, 10_000, 15_000, 20_000,
  30_000, 45_000, 60_000, 90_000, 120_000, 180_000,
] as const;

/** Users of one cadence are spread over this many slots of its interval, so that no tick is a stampede. */
export const SLOTS_MAX = 8;

/** The cadence for a wished conflation: the next one up. */
export function cadenceFor(conflateMs: number): number {
  return CADENCES.find((cadence) => cadence >= conflateMs) ?? (CADENCES[CADENCES.length - 1] as number);
}

/** Milliseconds from `now` to the slot's next turn, more than 0. */
export function untilTurn(now: number, cadence: number, slot: number): number {
  const phase = (cadence * slot) / SLOTS_MAX;
  return cadence - ((((now - phase) % cadence) + cadence) % cadence);
}
