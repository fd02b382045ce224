/**
 * The book that judges the book. It keeps a market the plainest way there is, objects and Maps, and shares no code with
 * `market/`, `wire/` or `delivery/`: a mistake in both would otherwise pass unseen. Written to be read, not to be quick.
 */

/** [price, size]; size 0 deletes the price. */
export type PriceSize = readonly [price: number, size: number];
/** [level, price, size]; size 0 deletes the level. */
export type LevelPriceSize = readonly [level: number, price: number, size: number];
/** A number, or the strings "NaN" and "Infinity" that the exchange sends for starting prices. */
export type StartingPrice = number | string;

export const PRICE_LADDERS = ["atb", "atl", "trd", "spb", "spl"] as const;
export const LEVEL_LADDERS = ["batb", "batl", "bdatb", "bdatl"] as const;
export const RUNNER_SCALARS = ["tv", "ltp", "spn", "spf"] as const;
type PriceLadderName = (typeof PRICE_LADDERS)[number];
type LevelLadderName = (typeof LEVEL_LADDERS)[number];

/** An `rc` entry as JSON.parse gives it. Null means absent, everywhere. */
export interface RunnerChange {
  readonly id: number;
  readonly hc?: number | null;
  readonly tv?: number | null;
  readonly ltp?: number | null;
  readonly spn?: StartingPrice | null;
  readonly spf?: StartingPrice | null;
  readonly atb?: readonly PriceSize[] | null;
  readonly atl?: readonly PriceSize[] | null;
  readonly trd?: readonly PriceSize[] | null;
  readonly spb?: readonly PriceSize[] | null;
  readonly spl?: readonly PriceSize[] | null;
  readonly batb?: readonly LevelPriceSize[] | null;
  readonly batl?: readonly LevelPriceSize[] | null;
  readonly bdatb?: readonly LevelPriceSize[] | null;
  readonly bdatl?: readonly LevelPriceSize[] | null;
  readonly [unknownKey: string]: unknown;
}

/** A runner inside a definition. */
export interface RunnerDefinition {
  readonly id: number;
  readonly hc?: number | null;
  readonly sortPriority?: number | null;
  readonly status?: string | null;
  readonly adjustmentFactor?: number | null;
  readonly bsp?: StartingPrice | null;
  readonly removalDate?: string | null;
  readonly name?: string | null;
  readonly [unknownKey: string]: unknown;
}

/** A `marketDefinition`; the keys that somebody here looks at, and whatever else the exchange sends. */
export interface MarketDefinition {
  readonly status?: string | null;
  readonly inPlay?: boolean | null;
  readonly version?: number | null;
  readonly eventId?: string | null;
  readonly eventTypeId?: string | null;
  readonly marketType?: string | null;
  readonly bettingType?: string | null;
  readonly countryCode?: string | null;
  readonly venue?: string | null;
  readonly raceType?: string | null;
  readonly marketTime?: string | null;
  readonly bspMarket?: boolean | null;
  readonly turnInPlayEnabled?: boolean | null;
  readonly runners?: readonly RunnerDefinition[] | null;
  readonly [unknownKey: string]: unknown;
}

/** An `mc` entry as JSON.parse gives it. */
export interface MarketChange {
  readonly id: string;
  readonly img?: boolean | null;
  readonly con?: boolean | null;
  readonly tv?: number | null;
  readonly marketDefinition?: MarketDefinition | null;
  readonly rc?: readonly RunnerChange[] | null;
  readonly [unknownKey: string]: unknown;
}

/** One runner of a `BookState`. Unknown scalars are null; the optional keys are there only when not empty, or known. */
export interface RunnerState {
  readonly id: number;
  readonly hc: number;
  readonly status: string | null;
  readonly ltp: number | null;
  readonly tv: number | null;
  /** Dearest first. */
  readonly atb: readonly PriceSize[];
  readonly atl: readonly PriceSize[];
  readonly trd: readonly PriceSize[];
  readonly batb?: readonly LevelPriceSize[];
  readonly batl?: readonly LevelPriceSize[];
  readonly bdatb?: readonly LevelPriceSize[];
  readonly bdatl?: readonly LevelPriceSize[];
  readonly spb?: readonly PriceSize[];
  readonly spl?: readonly PriceSize[];
  readonly spn?: StartingPrice;
  readonly spf?: StartingPrice;
  readonly bsp?: StartingPrice;
  readonly adjustmentFactor?: number;
  readonly removalDate?: string;
}

/** A market's book as plain JSON, in one order and spelling, so that two of them can be compared value by value. */
export interface BookState {
  readonly market: string;
  readonly status: string | null;
  readonly inPlay: boolean | null;
  readonly version: number | null;
  readonly totalMatched: number | null;
  /** Sorted by id, then by hc: those of the definition and those of any `rc`. */
  readonly runners: readonly RunnerState[];
}

/** Everything known about one market, change by change. */
export class NaiveBook {
  readonly market: string;
  /** Market changes applied so far. */
  n = 0;
  #totalMatched: number | null = null;
  #definition: MarketDefinition | null = null;
  #runners = new Map<string, NaiveRunner>();

  constructor(market: string) {
    this.market = market;
  }

  get definition(): MarketDefinition | null {
    return this.#definition;
  }

  apply(change: MarketChange): void {
    if (change.id !== this.market) throw new Error(`a change of ${change.id} reached the book of ${this.market}`);
    this.n++;
    if (change.img === true) this.#forget();
    if (change.tv != null) this.#totalMatched = change.tv;
    if (change.marketDefinition != null) this.#definition = change.marketDefinition;
    for (const runner of change.rc ?? []) this.#runner(runner.id, runner.hc ?? 0).apply(runner);
  }

  /** The image that says it all: who applies only this holds the same book. */
  image(): MarketChange {
    return {
      id: this.market,
      img: true,
      ...(this.#totalMatched !== null && { tv: this.#totalMatched }),
      ...(this.#definition !== null && { marketDefinition: this.#definition }),
      rc: [...this.#runners.values()].map((runner) => runner.image()),
    };
  }

  state(): BookState {
    const definition = this.#definition;
    return {
      market: this.market,
      status: definition?.status ?? null,
      inPlay: definition?.inPlay ?? null,
      version: definition?.version ?? null,
      totalMatched: this.#totalMatched,
      runners: this.#runnerStates(),
    };
  }

  #forget(): void {
    this.#totalMatched = null;
    this.#definition = null;
    this.#runners.clear();
  }

  #runner(id: number, hc: number): NaiveRunner {
    const key = `${id}/${hc}`;
    const known = this.#runners.get(key);
    if (known !== undefined) return known;
    const fresh = new NaiveRunner(id, hc);
    this.#runners.set(key, fresh);
    return fresh;
  }

  #runnerStates(): RunnerState[] {
    const states = new Map<string, RunnerState>();
    for (const [key, runner] of this.#runners) states.set(key, runner.state(null));
    for (const defined of this.#definition?.runners ?? []) {
      const hc = defined.hc ?? 0;
      const key = `${defined.id}/${hc}`;
      const runner = this.#runners.get(key) ?? new NaiveRunner(defined.id, hc);
      states.set(key, runner.state(defined));
    }
    return [...states.values()].sort((a, b) => a.id - b.id || a.hc - b.hc);
  }
}

/** One runner's values: scalars by name, ladders by name and then by price or level. */
class NaiveRunner {
  readonly id: number;
  readonly hc: number;
  #scalars: Record<string, StartingPrice> = {};
  #prices = new Map<PriceLadderName, Map<number, PriceSize>>();
  #levels = new Map<LevelLadderName, Map<number, LevelPriceSize>>();

  constructor(id: number, hc: number) {
    this.id = id;
    this.hc = hc;
  }

  apply(change: RunnerChange): void {
    for (const name of RUNNER_SCALARS) {
      const value = change[name];
      if (value != null) this.#scalars[name] = value;
    }
    // The exchange clears `trd` with an empty list; an empty list of any other ladder says nothing.
    if (change.trd?.length === 0) this.#prices.delete("trd");
    for (const name of PRICE_LADDERS) {
      for (const entry of change[name] ?? []) put(ladder(this.#prices, name), entry[0], entry[1], entry);
    }
    for (const name of LEVEL_LADDERS) {
      for (const entry of change[name] ?? []) put(ladder(this.#levels, name), entry[0], entry[2], entry);
    }
  }

  image(): RunnerChange {
    const image: Record<string, unknown> & { id: number } = { id: this.id };
    if (this.hc !== 0) image.hc = this.hc;
    Object.assign(image, this.#scalars);
    for (const [name, prices] of this.#prices) if (prices.size > 0) image[name] = this.#ascending(name);
    for (const [name, levels] of this.#levels) if (levels.size > 0) image[name] = this.#byLevel(name);
    return image;
  }

  state(defined: RunnerDefinition | null): RunnerState {
    const state: Record<string, unknown> = {
      id: this.id,
      hc: this.hc,
      status: defined?.status ?? null,
      ltp: this.#scalars.ltp ?? null,
      tv: this.#scalars.tv ?? null,
      atb: this.#ascending("atb").reverse(),
      atl: this.#ascending("atl"),
      trd: this.#ascending("trd"),
    };
    for (const name of LEVEL_LADDERS) if (this.#byLevel(name).length > 0) state[name] = this.#byLevel(name);
    for (const name of ["spb", "spl"] as const)
      if (this.#ascending(name).length > 0) state[name] = this.#ascending(name);
    for (const name of ["spn", "spf"]) if (this.#scalars[name] != null) state[name] = this.#scalars[name];
    for (const name of ["bsp", "adjustmentFactor", "removalDate"])
      if (defined?.[name] != null) state[name] = defined[name];
    return state as unknown as RunnerState;
  }

  #ascending(name: PriceLadderName): PriceSize[] {
    return [...(this.#prices.get(name)?.values() ?? [])].sort((a, b) => a[0] - b[0]);
  }

  #byLevel(name: LevelLadderName): LevelPriceSize[] {
    return [...(this.#levels.get(name)?.values() ?? [])].sort((a, b) => a[0] - b[0]);
  }
}

/** Where two states part first, as a path with both values, or null when they are the same. */
export function firstDifference(a: BookState, b: BookState): string | null {
  return difference("", a, b);
}

function difference(path: string, a: unknown, b: unknown): string | null {
  if (a === b) return null;
  if (!isNode(a) || !isNode(b) || Array.isArray(a) !== Array.isArray(b))
    return `${path}: ${show(a)} against ${show(b)}`;
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const found = difference(step(path, key, a, b), a[key], b[key]);
    if (found !== null) return found;
  }
  return null;
}

/** `runners` entries are named by who they are, since their place alone tells a reader nothing. */
function step(path: string, key: string, a: Node, b: Node): string {
  if (!Array.isArray(a)) return path === "" ? key : `${path}.${key}`;
  const [left, right] = [a[Number(key)], b[key]] as (Partial<RunnerState> | undefined)[];
  const same = left?.id !== undefined && left.id === right?.id && left.hc === right?.hc;
  return same ? `${path}[${key}: ${left.id} hc ${left.hc}]` : `${path}[${key}]`;
}

type Node = Record<string, unknown>;
function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null;
}

function show(value: unknown): string {
  return value === undefined ? "absent" : JSON.stringify(value);
}

function ladder<Name, Entry>(ladders: Map<Name, Map<number, Entry>>, name: Name): Map<number, Entry> {
  const known = ladders.get(name);
  if (known !== undefined) return known;
  const fresh = new Map<number, Entry>();
  ladders.set(name, fresh);
  return fresh;
}

function put<Entry>(entries: Map<number, Entry>, key: number, size: number, entry: Entry): void {
  if (size === 0) entries.delete(key);
  else entries.set(key, entry);
}
