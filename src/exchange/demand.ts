import type { Clock, Timer } from "../base/clock.ts";
import { FILTER_FLAGS, FILTER_LISTS, looksAtFacts, type MarketFilter } from "../market/filter.ts";
import type { MarketId } from "../market/types.ts";

export interface DemandOptions {
  /** What may be carried at all. */
  readonly base: MarketFilter;
  /** Connections to spread markets over. */
  readonly connections: number;
  /** As many markets as the exchange lets one subscription have: 200, unless the account was granted more. */
  readonly marketsPerConnectionMax: number;
  /** How long a market is carried on after the last who wanted it has gone. */
  readonly graceMs: number;
}

/** So long are wishes collected before the upstream is asked: users come in crowds. */
const SETTLE_MS = 100;
/** A market that is on the exchange's list of none: what a connection with nothing to carry subscribes to, so that it is there when somebody comes. */
const NOTHING: MarketFilter = { marketIds: ["0"] };

interface Wish {
  readonly filter: MarketFilter;
  count: number;
}

/**
 * What users want, as filters for upstream connections.
 *
 * Wishes for markets by their ids are carried exactly. A filter that looks at anything else cannot be joined with ids (the exchange ANDs): such wishes are joined to one that
 * lets through what any of them wants, and maybe more, and have the first connection. With one connection and wishes of both kinds, that is all that may be carried.
 */
export class Demand {
  /** Ids that found no room on any connection. */
  unserved = 0;
  readonly #options: DemandOptions;
  readonly #clock: Clock;
  readonly #changed: () => void;
  /** By its text. */
  readonly #wishes = new Map<string, Wish>();
  /** Those that nobody has any more, oldest first, until they are forgotten; and how many markets they name together. */
  readonly #resting = new Map<string, Timer>();
  #restingMarkets = 0;
  readonly #seats = new Map<MarketId, number>();
  #timer: Timer | null = null;

  /** `changed`: `plan` may give something else now. */
  constructor(options: DemandOptions, clock: Clock, changed: () => void) {
    this.#options = options;
    this.#clock = clock;
    this.#changed = changed;
  }

  /** Somebody wants these markets, until the function that comes back is called. */
  want(filter: MarketFilter): () => void {
    const key = JSON.stringify(filter);
    let wish = this.#wishes.get(key);
    if (wish === undefined) this.#wishes.set(key, (wish = { filter, count: 0 }));
    if (wish.count === 0) this.#settle();
    wish.count++;
    this.#wake(key, wish);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      wish.count--;
      if (wish.count === 0) this.#rest(key, wish);
    };
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const timer of this.#resting.values()) timer.cancel();
    this.#resting.clear();
  }

  /** A filter for each connection; null: nothing for that one. Ids keep their connection, so that a change concerns as few as can be. */
  plan(): (MarketFilter | null)[] {
    const { base, connections } = this.#options;
    const wishes = [...this.#wishes.values()];
    const roving = wishes.filter((wish) => !isByIds(wish)).flatMap(({ filter }) => both(base, filter) ?? []);
    const first = roving.length > 0 ? 1 : 0;
    const ids = this.#ids(wishes.filter(isByIds), connections - first);
    const plan: (MarketFilter | null)[] = new Array(connections).fill(null);
    if (roving.length > 0 && ids.size > 0 && connections === 1) return [base];
    if (roving.length > 0) plan[0] = roving.reduce(either);
    this.#seat(ids, first, plan);
    return plan.map((filter, n) => (n === 0 ? (filter ?? NOTHING) : filter));
  }

  /** What is wanted, and of what nobody wants any more as much as there is room for beside it, the latest first. */
  #ids(wishes: readonly Wish[], connections: number): Set<MarketId> {
    const ids = new Set(wishes.flatMap(({ filter, count }) => (count > 0 ? (filter.marketIds ?? []) : [])));
    const resting = [...this.#resting.keys()].reverse().flatMap((key) => this.#wishes.get(key) ?? []);
    for (const { filter } of resting.filter(isByIds)) {
      for (const id of filter.marketIds ?? [])
        if (connections === 0 || ids.size < connections * this.#options.marketsPerConnectionMax) ids.add(id);
    }
    return ids;
  }

  #seat(ids: ReadonlySet<MarketId>, first: number, plan: (MarketFilter | null)[]): void {
    const { base, connections, marketsPerConnectionMax } = this.#options;
    const seated: MarketId[][] = Array.from({ length: connections }, () => []);
    for (const [id, n] of this.#seats) {
      if (ids.has(id) && n >= first) (seated[n] as MarketId[]).push(id);
      else this.#seats.delete(id);
    }
    this.unserved = 0;
    for (const id of ids) {
      if (this.#seats.has(id)) continue;
      const n = emptiest(seated, first);
      if ((seated[n] as MarketId[]).length >= marketsPerConnectionMax) this.unserved++;
      else {
        (seated[n] as MarketId[]).push(id);
        this.#seats.set(id, n);
      }
    }
    for (let n = first; n < connections; n++) {
      const marketIds = (seated[n] as MarketId[]).sort();
      if (marketIds.length > 0) plan[n] = both(base, { marketIds });
    }
  }

  /** Carried on for a grace, but never more than there is room for: who comes and goes with long lists must not fill it. */
  #rest(key: string, wish: Wish): void {
    const { connections, marketsPerConnectionMax, graceMs } = this.#options;
    this.#restingMarkets += marketsIn(wish);
    this.#resting.set(
      key,
      this.#clock.after(graceMs, () => this.#forget(key)),
    );
    for (const oldest of this.#resting.keys()) {
      if (this.#restingMarkets <= connections * marketsPerConnectionMax) return;
      this.#forget(oldest);
    }
  }

  #wake(key: string, wish: Wish): void {
    if (!this.#resting.has(key)) return;
    this.#resting.get(key)?.cancel();
    this.#resting.delete(key);
    this.#restingMarkets -= marketsIn(wish);
  }

  #forget(key: string): void {
    const wish = this.#wishes.get(key);
    if (wish === undefined) return;
    this.#wake(key, wish);
    this.#wishes.delete(key);
    this.#settle();
  }

  #settle(): void {
    this.#timer ??= this.#clock.after(SETTLE_MS, () => {
      this.#timer = null;
      this.#changed();
    });
  }
}

function isByIds({ filter }: Pick<Wish, "filter">): boolean {
  return filter.marketIds !== undefined && !looksAtFacts(filter);
}

function marketsIn({ filter }: Wish): number {
  return filter.marketIds?.length ?? 1;
}

function emptiest(seated: readonly MarketId[][], first: number): number {
  let best = first;
  for (let n = first + 1; n < seated.length; n++) {
    if ((seated[n] as MarketId[]).length < (seated[best] as MarketId[]).length) best = n;
  }
  return best;
}

/** What passes both; null when nothing can. */
export function both(a: MarketFilter, b: MarketFilter): MarketFilter | null {
  const joined: Record<string, unknown> = { ...a, ...b };
  for (const name of FILTER_LISTS) {
    const [of, or] = [a[name] ?? [], b[name] ?? []];
    if (of.length === 0 || or.length === 0) joined[name] = of.length > 0 ? of : or;
    else joined[name] = of.filter((value) => or.includes(value));
    if ((joined[name] as unknown[]).length > 0) continue;
    if (of.length > 0 && or.length > 0) return null;
    delete joined[name];
  }
  for (const name of FILTER_FLAGS)
    if (a[name] !== undefined && b[name] !== undefined && a[name] !== b[name]) return null;
  return joined;
}

/** What lets through all that passes one of them; what they do not both look at, it does not look at. */
export function either(a: MarketFilter, b: MarketFilter): MarketFilter {
  const joined: Record<string, unknown> = {};
  for (const name of FILTER_LISTS) {
    const [of, or] = [a[name] ?? [], b[name] ?? []];
    if (of.length > 0 && or.length > 0) joined[name] = [...new Set([...of, ...or])];
  }
  for (const name of FILTER_FLAGS) if (a[name] !== undefined && a[name] === b[name]) joined[name] = a[name];
  return joined;
}

/** Whether no market can pass both. */
export function apart(a: MarketFilter, b: MarketFilter): boolean {
  return both(a, b) === null;
}
