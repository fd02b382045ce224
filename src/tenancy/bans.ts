import type { Clock } from "../base/clock.ts";

const WINDOW_MS = 60_000;
/** Keys counted at a time; beyond it the one that began longest ago is let go. */
export const COUNTED_MAX = 10_000;

export interface BanOptions {
  /** So many in a minute are fine; the next one bans. */
  readonly perMinuteMax: number;
  readonly banMs: number;
}

interface Count {
  since: number;
  events: number;
  bannedUntil: number;
}

/** Who does something too often within a minute may not do it for a while. */
export class Bans {
  readonly #options: BanOptions;
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #counts = new Map<string, Count>();

  constructor(options: BanOptions, clock: Pick<Clock, "monotonic">) {
    this.#options = options;
    this.#clock = clock;
  }

  isBanned(key: string): boolean {
    return (this.#counts.get(key)?.bannedUntil ?? 0) > this.#clock.monotonic();
  }

  /** Counts one more; false where that was one too many. */
  allows(key: string): boolean {
    const now = this.#clock.monotonic();
    const count = this.#current(key, now);
    if (count.bannedUntil > now) return false;
    if (++count.events <= this.#options.perMinuteMax) return true;
    count.bannedUntil = now + this.#options.banMs;
    return false;
  }

  #current(key: string, now: number): Count {
    const count = this.#counts.get(key);
    const stands = count?.bannedUntil === 0 ? now - count.since < WINDOW_MS : (count?.bannedUntil ?? 0) > now;
    if (count !== undefined && stands) return count;
    this.#counts.delete(key);
    const fresh = { since: now, events: 0, bannedUntil: 0 };
    const [oldest] = this.#counts.keys();
    if (this.#counts.size >= COUNTED_MAX && oldest !== undefined) this.#counts.delete(oldest);
    this.#counts.set(key, fresh);
    return fresh;
  }
}
