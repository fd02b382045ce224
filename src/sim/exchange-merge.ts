import {
  LEVEL_LADDERS,
  type MarketChange,
  type MarketDefinition,
  PRICE_LADDERS,
  RUNNER_SCALARS,
  type RunnerChange,
} from "./naive.ts";

/**
 * Several changes of one market as one, as the exchange merges for a conflated or slow reader: the last word on each value, `con: true`.
 * Null where one change cannot say it (an image or an emptied `trd` in the middle): then the market's image must do.
 */
export function mergeChanges(changes: readonly MarketChange[]): MarketChange | null {
  if (changes.length === 1) return changes[0] as MarketChange;
  if (changes.some(startsAfresh)) return null;
  let tv: number | null = null;
  let definition: MarketDefinition | null = null;
  const runners = new Map<string, MergedRunner>();
  for (const change of changes) {
    tv = change.tv ?? tv;
    definition = change.marketDefinition ?? definition;
    for (const runner of change.rc ?? []) mergedRunner(runners, runner).apply(runner);
  }
  return {
    id: (changes[0] as MarketChange).id,
    ...(tv !== null && { tv }),
    ...(definition !== null && { marketDefinition: definition }),
    ...(runners.size > 0 && { rc: [...runners.values()].map((runner) => runner.change()) }),
    con: true,
  };
}

function startsAfresh(change: MarketChange): boolean {
  return change.img === true || (change.rc ?? []).some((runner) => runner.trd?.length === 0);
}

const LADDERS = [...PRICE_LADDERS, ...LEVEL_LADDERS];
type Entry = readonly number[];

class MergedRunner {
  readonly #id: number;
  readonly #hc: number;
  readonly #scalars: Record<string, unknown> = {};
  /** By ladder, then by price or level. */
  readonly #ladders = new Map<string, Map<number, Entry>>();

  constructor(id: number, hc: number) {
    this.#id = id;
    this.#hc = hc;
  }

  apply(change: RunnerChange): void {
    for (const name of RUNNER_SCALARS) if (change[name] != null) this.#scalars[name] = change[name];
    for (const name of LADDERS) {
      const entries = change[name] as readonly Entry[] | null | undefined;
      if (entries == null) continue;
      let ladder = this.#ladders.get(name);
      if (ladder === undefined) this.#ladders.set(name, (ladder = new Map()));
      for (const entry of entries) ladder.set(entry[0] as number, entry);
    }
  }

  change(): RunnerChange {
    const change: Record<string, unknown> & { id: number } = { id: this.#id, ...this.#scalars };
    if (this.#hc !== 0) change.hc = this.#hc;
    for (const [name, ladder] of this.#ladders) change[name] = [...ladder.values()];
    return change;
  }
}

function mergedRunner(runners: Map<string, MergedRunner>, change: RunnerChange): MergedRunner {
  const key = `${change.id}/${change.hc ?? 0}`;
  let runner = runners.get(key);
  if (runner === undefined) runners.set(key, (runner = new MergedRunner(change.id, change.hc ?? 0)));
  return runner;
}
