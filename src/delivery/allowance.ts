/** How much may be saved up for a burst: so long a time's worth. */
export const BURST_MS = 1000;
/** The lowest limit there is: below it one market's changes would be minutes apart. */
export const BYTES_PER_SECOND_MIN = 1024;
/** What markets that stop may borrow until a user's allowance is back. */
export const OVERDRAFT_BYTES_MAX = 256 * 1024;

/**
 * One user's bytes a second, as a bucket of tokens. A message is never cut for it: what is sent is taken out even where less is there, and until time has
 * paid for it no more prices are sent. So the mean is kept whatever the size of messages, and what comes meanwhile is merged.
 */
export class Allowance {
  #bytesPerSecond: number;
  #balance: number;
  #borrowed = 0;
  /** When the balance was right, monotonic milliseconds. */
  #at: number;

  constructor(bytesPerSecond: number, now: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#balance = this.#burst;
    this.#at = now;
  }

  /** Another limit from now on; what was spent stays spent. */
  change(bytesPerSecond: number, now: number): void {
    this.#fill(now);
    this.#bytesPerSecond = bytesPerSecond;
    this.#balance = Math.min(this.#balance, this.#burst);
  }

  /** Takes out what is sent. False: nothing is left. */
  spend(bytes: number, now: number): boolean {
    this.#fill(now);
    this.#balance -= bytes;
    return this.#balance > 0;
  }

  /** The same for what cannot wait. False: the overdraft is used up, and nothing was taken. */
  borrow(bytes: number, now: number): boolean {
    if (this.#borrowed + bytes > OVERDRAFT_BYTES_MAX) return false;
    this.#borrowed += bytes;
    this.spend(bytes, now);
    return true;
  }

  /** In how many milliseconds something is left again; 0: it is. */
  waitMs(now: number): number {
    this.#fill(now);
    if (this.#balance <= 0) return Math.ceil(((1 - this.#balance) * 1000) / this.#bytesPerSecond);
    this.#borrowed = 0;
    return 0;
  }

  #fill(now: number): void {
    const earned = ((now - this.#at) * this.#bytesPerSecond) / 1000;
    this.#balance = Math.min(this.#burst, this.#balance + earned);
    this.#at = now;
  }

  get #burst(): number {
    return (this.#bytesPerSecond * BURST_MS) / 1000;
  }
}
