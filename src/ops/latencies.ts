/** Buckets a doubling: a quantile is at most 4.5 % off. */
const PER_DOUBLING = 16;
/** What is less is as good as nothing, milliseconds. */
const LEAST_MS = 0.01;
/** 10 microseconds doubled so often: two hours. */
const DOUBLINGS = 30;
const BUCKETS = PER_DOUBLING * DOUBLINGS;

/** How long things took, by size: a fixed number of buckets, whatever comes. Negative ones count too: two ways may race. Milliseconds. */
export class Latencies {
  count = 0;
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  /** The most negative first, nothing in the middle, the longest last. */
  readonly #buckets = new Float64Array(2 * BUCKETS + 1);

  add(ms: number): void {
    this.count++;
    this.min = Math.min(this.min, ms);
    this.max = Math.max(this.max, ms);
    (this.#buckets[BUCKETS + Math.sign(ms) * bucketOf(Math.abs(ms))] as number)++;
  }

  /** Below which a share (0 to 1) of them lies; null while there are none. */
  quantile(share: number): number | null {
    if (this.count === 0) return null;
    let left = Math.max(1, Math.ceil(share * this.count));
    let i = 0;
    while (left > (this.#buckets[i] as number)) left -= this.#buckets[i++] as number;
    const middle = Math.sign(i - BUCKETS) * middleOf(Math.abs(i - BUCKETS));
    return Math.min(this.max, Math.max(this.min, middle));
  }
}

function bucketOf(ms: number): number {
  if (ms < LEAST_MS) return 0;
  return Math.min(BUCKETS, 1 + Math.floor(Math.log2(ms / LEAST_MS) * PER_DOUBLING));
}

function middleOf(bucket: number): number {
  return bucket === 0 ? 0 : LEAST_MS * 2 ** ((bucket - 0.5) / PER_DOUBLING);
}
