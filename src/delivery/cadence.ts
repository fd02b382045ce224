/** The intervals at which users can be told, milliseconds. Fewer different ones mean that more users share a view. */
export const CADENCES = [
  0, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 180_000,
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
