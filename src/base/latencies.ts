/** Buckets a doubling: a quantile is at most 1.1 % off. */
const PER_DOUBLING = 64;
/** What is less is as good as nothing, milliseconds. */
const LEAST_MS = 0.01;
/** 10 microseconds doubled so often: two hours. */
const DOUBLINGS = 30;
const BUCKETS = PER_DOUBLING * DOUBLINGS;

/** Latencies as they travel between processes: those buckets that are not empty, as pairs of place and count. */
export interface LatenciesJson {
  readonly min: number;
  readonly max: number;
  readonly sum: number;
  readonly buckets: readonly number[];
}

/** How long things took, by size: a fixed number of buckets, whatever comes. Negative ones count too: two ways may race. Milliseconds. */
export class Latencies {
  count = 0;
  sum = 0;
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  /** The most negative first, nothing in the middle, the longest last. */
  readonly #buckets = new Float64Array(2 * BUCKETS + 1);

  add(ms: number): void {
    this.count++;
    this.sum += ms;
    // A zero with a sign would not come back from JSON.
    if (ms < this.min) this.min = ms + 0;
    if (ms > this.max) this.max = ms + 0;
    (this.#buckets[BUCKETS + Math.sign(ms) * bucketOf(Math.abs(ms))] as number)++;
  }

  /** Adds what another has, be it here or as it came from another process. */
  merge(other: Latencies | LatenciesJson): void {
    const { min, max, sum, buckets } = other instanceof Latencies ? other.toJSON() : other;
    for (let i = 0; i < buckets.length; i += 2) {
      this.count += buckets[i + 1] as number;
      (this.#buckets[buckets[i] as number] as number) += buckets[i + 1] as number;
    }
    if (buckets.length === 0) return;
    this.sum += sum;
    this.min = Math.min(this.min, min);
    this.max = Math.max(this.max, max);
  }

  clear(): void {
    this.count = this.sum = 0;
    this.min = Number.POSITIVE_INFINITY;
    this.max = Number.NEGATIVE_INFINITY;
    this.#buckets.fill(0);
  }

  /** Below which a share (0 to 1) of them lies; null while there are none. */
  quantile(share: number): number | null {
    if (this.count === 0) return null;
    let left = Math.max(1, Math.ceil(share * this.count));
    let i = 0;
    while (left > (this.#buckets[i] as number)) left -= this.#buckets[i++] as number;
    return Math.min(this.max, Math.max(this.min, middle(i)));
  }

  /** Null while there are none. */
  get mean(): number | null {
    return this.count === 0 ? null : this.sum / this.count;
  }

  /** The buckets that are not empty, the least first: where their middle is, and how many lie there. */
  *filled(): Generator<readonly [ms: number, count: number]> {
    for (let i = 0; i < this.#buckets.length; i++)
      if (this.#buckets[i] !== 0) yield [middle(i), this.#buckets[i] as number];
  }

  toJSON(): LatenciesJson {
    const buckets: number[] = [];
    this.#buckets.forEach((count, i) => {
      if (count > 0) buckets.push(i, count);
    });
    const { min, max, sum, count } = this;
    return count === 0 ? { min: 0, max: 0, sum: 0, buckets } : { min, max, sum, buckets };
  }
}

function bucketOf(ms: number): number {
  if (ms < LEAST_MS) return 0;
  return Math.min(BUCKETS, 1 + Math.floor(Math.log2(ms / LEAST_MS) * PER_DOUBLING));
}

function middle(place: number): number {
  const bucket = Math.abs(place - BUCKETS);
  return bucket === 0 ? 0 : Math.sign(place - BUCKETS) * LEAST_MS * 2 ** ((bucket - 0.5) / PER_DOUBLING);
}
