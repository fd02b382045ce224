import type { Random } from "./clock.ts";

/** The longest first wait and the longest wait ever before connecting again, milliseconds. */
export const RETRY_FIRST_MS_MAX = 1_000;
export const RETRY_MS_MAX = 30_000;

/**
 * How long to wait before connection attempt `attempt` (from 0 for the first after a loss): chosen evenly up to a cap that doubles.
 * The first is spread as well, or all the users of a server that stopped would come back in the same instant.
 */
export function retryMs(attempt: number, random: Random): number {
  const cap = Math.min(RETRY_MS_MAX, RETRY_FIRST_MS_MAX * 2 ** Math.min(attempt, 20));
  const floor = RETRY_FIRST_MS_MAX / 10;
  return floor + random.next() * (cap - floor);
}
