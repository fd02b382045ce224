import type { MarketChange } from "./naive.ts";

/** How many states of a market are looked at, the last included. */
const STATES_MAX = 20;

/** A market is to be looked at now: `n` of its `of` changes are in. */
export interface Sample {
  readonly market: string;
  readonly n: number;
  readonly of: number;
  readonly final: boolean;
}

/** After which changes a market of `of` changes is looked at, ascending, without repeats; the last is `of`. */
export function samplePoints(of: number): number[] {
  const points = new Set<number>();
  for (let i = 1; i < STATES_MAX; i++) points.add(Math.max(1, Math.floor((of * i) / STATES_MAX + 0.5)));
  return [...points.add(of)].sort((a, b) => a - b);
}

/**
 * When to look at which market, from how many changes each has in the whole recording. A message is taken whole: where it holds
 * a market twice and passes one point or more with it, there is one sample, after the message.
 */
export class SamplePlan {
  readonly #markets = new Map<string, { n: number; readonly of: number; readonly points: number[] }>();

  constructor(counts: ReadonlyMap<string, number>) {
    for (const [market, of] of counts) this.#markets.set(market, { n: 0, of, points: samplePoints(of) });
  }

  /** Counts a message in; gives what is to be looked at after it. */
  take(changes: readonly MarketChange[]): Sample[] {
    const touched = new Set(changes.map((change) => change.id));
    for (const change of changes) this.#market(change.id).n++;
    return [...touched].flatMap((market) => this.#due(market) ?? []);
  }

  #due(id: string): Sample | null {
    const market = this.#market(id);
    if (market.points.length === 0 || market.n < (market.points[0] as number)) return null;
    while (market.points.length > 0 && (market.points[0] as number) <= market.n) market.points.shift();
    return { market: id, n: market.n, of: market.of, final: market.n === market.of };
  }

  #market(id: string) {
    const market = this.#markets.get(id);
    if (market === undefined) throw new Error(`market ${id} was not counted`);
    return market;
  }
}
