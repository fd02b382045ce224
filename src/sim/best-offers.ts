import type { LevelPriceSize, MarketChange, PriceSize, RunnerChange } from "./naive.ts";

/** As many levels as the exchange ever shows. */
const LEVELS = 10;

/**
 * Adds to changes that hold every offer (`atb`, `atl`) what the exchange sends beside them: the best ones by level, `batb` and `batl`,
 * and the same as `bdatb` and `bdatl`, as if no offer were virtual. Clients that ask for EX_BEST_OFFERS, and most do, would see nothing else.
 */
export class BestOffers {
  readonly #markets = new Map<string, Map<string, Runner>>();

  /** The change with its levels; markets are to be given in the order in which they are published. */
  add(change: MarketChange): MarketChange {
    if (change.img) this.#markets.delete(change.id);
    if (change.rc == null) return change;
    let runners = this.#markets.get(change.id);
    if (runners === undefined) this.#markets.set(change.id, (runners = new Map()));
    const rc = change.rc.map((said) => withLevels(runnerOf(runners, said), said));
    if (change.marketDefinition?.status === "CLOSED") this.#markets.delete(change.id);
    return { ...change, rc };
  }
}

interface Runner {
  readonly back: Side;
  readonly lay: Side;
}

function runnerOf(runners: Map<string, Runner>, { id, hc = 0 }: RunnerChange): Runner {
  const key = `${id}/${hc}`;
  let runner = runners.get(key);
  if (runner === undefined) runners.set(key, (runner = { back: new Side(-1), lay: new Side(1) }));
  return runner;
}

function withLevels({ back, lay }: Runner, said: RunnerChange): RunnerChange {
  const batb = back.apply(said.atb);
  const batl = lay.apply(said.atl);
  return {
    ...said,
    ...(batb.length > 0 && { batb, bdatb: batb }),
    ...(batl.length > 0 && { batl, bdatl: batl }),
  };
}

/** One side of one runner: all offers, and the levels that were last told. */
class Side {
  readonly #better: 1 | -1;
  readonly #sizes = new Map<number, number>();
  #told: readonly PriceSize[] = [];

  constructor(better: 1 | -1) {
    this.#better = better;
  }

  /** The levels that are others now; size 0 where there is none any more. */
  apply(entries: readonly PriceSize[] | null | undefined): LevelPriceSize[] {
    if (entries == null) return [];
    for (const [price, size] of entries)
      if (size === 0) this.#sizes.delete(price);
      else this.#sizes.set(price, size);
    const before = this.#told;
    this.#told = [...this.#sizes].sort(([a], [b]) => this.#better * (a - b)).slice(0, LEVELS);
    const changed: LevelPriceSize[] = [];
    for (let level = 0; level < Math.max(before.length, this.#told.length); level++) {
      const [price, size] = this.#told[level] ?? [0, 0];
      if (before[level]?.[0] !== price || before[level]?.[1] !== size) changed.push([level, price, size]);
    }
    return changed;
  }
}
