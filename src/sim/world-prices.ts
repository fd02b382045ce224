/** The exchange's price increments: from a price on, each step is so many hundredths, up to the next. */
const STEPS: readonly (readonly [from: number, step: number])[] = [
  [101, 1],
  [200, 2],
  [300, 5],
  [400, 10],
  [600, 20],
  [1000, 50],
  [2000, 100],
  [3000, 200],
  [5000, 500],
  [10_000, 1000],
  [100_000, 1000],
];

/** Every price that can be offered, 1.01 to 1000; a place in this list is called a tick. */
export const PRICES: readonly number[] = STEPS.slice(0, -1)
  .flatMap(([from, step], i) => {
    const to = (STEPS[i + 1] as (typeof STEPS)[number])[0];
    return Array.from({ length: (to - from) / step }, (_, n) => (from + n * step) / 100);
  })
  .concat(1000);

export const LAST_TICK = PRICES.length - 1;

/** Where a chance stands among the ticks, as a fraction: 12.5 is halfway between ticks 12 and 13. Beyond the ends: -1 and one more than the last. */
export function tickOf(chance: number): number {
  const price = 1 / chance;
  if (price < PRICES[0]!) return -1;
  if (price >= PRICES[LAST_TICK]!) return LAST_TICK + 1;
  let [low, high] = [0, LAST_TICK];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (PRICES[middle]! <= price) low = middle;
    else high = middle;
  }
  return low + (price - PRICES[low]!) / (PRICES[high]! - PRICES[low]!);
}
