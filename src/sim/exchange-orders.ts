import type { StreamSource } from "./exchange-follower.ts";
import type { AccountMarket, AccountRunner, Matched, OrderAccount } from "./order-account.ts";
import type { StreamOrder } from "./order-life.ts";

/** An orderFilter as it came over the wire, checked (exchange-protocol.md §2). */
export interface OrderFilter {
  readonly includeOverallPosition: boolean;
  /** Only orders and strategy positions of these; empty: of all. The overall position is the account's, whatever stands here. */
  readonly customerStrategyRefs: readonly string[];
  readonly partitionMatchedByStrategyRef: boolean;
}

type PriceSize = readonly [price: number, size: number];

interface StreamMatched {
  readonly mb?: readonly PriceSize[];
  readonly ml?: readonly PriceSize[];
}

/** An `orc` entry. */
export interface OrderRunnerChange extends StreamMatched {
  readonly id: number;
  readonly hc?: number;
  readonly fullImage?: true;
  readonly uo?: readonly StreamOrder[];
  readonly smc?: Readonly<Record<string, StreamMatched>>;
}

/** An `oc` entry. */
export interface OrderMarketChange {
  readonly id: string;
  readonly accountId?: number;
  readonly fullImage?: true;
  readonly closed?: true;
  readonly orc?: readonly OrderRunnerChange[];
}

/** The client has seen nothing yet: an image. */
const NOTHING = -1;

/**
 * An account's orders as one subscription sees them. Images hold what is executable and the position; changes hold orders whole as they became,
 * complete ones once, and the position at the prices that changed. A market or runner that is new to this filter comes with `fullImage`.
 */
export class OrderView implements StreamSource {
  readonly name = { op: "ocm", key: "oc" } as const;
  readonly #account: OrderAccount;
  readonly #filter: OrderFilter;
  readonly #strategies: ReadonlySet<string> | null;

  constructor(account: OrderAccount, filter: OrderFilter) {
    this.#account = account;
    this.#filter = filter;
    this.#strategies = filter.customerStrategyRefs.length > 0 ? new Set(filter.customerStrategyRefs) : null;
  }

  get position(): number {
    return this.#account.position;
  }

  get logStart(): number {
    return this.#account.logStart;
  }

  get listeners(): Set<() => void> {
    return this.#account.listeners;
  }

  image(): string[] {
    return this.#entries(NOTHING);
  }

  since(position: number): string[] {
    return this.#entries(position);
  }

  #entries(position: number): string[] {
    const entries: string[] = [];
    if (position !== NOTHING) entries.push(...this.#begunAnew(position));
    for (const market of this.#account.markets.values()) {
      const change = market.changedAt > position ? this.#market(market, position) : null;
      if (change !== null) entries.push(JSON.stringify(change));
    }
    return entries;
  }

  /** An empty full image is the exchange's way to say that all is gone. */
  #begunAnew(position: number): string[] {
    const { accountId, begunAnew } = this.#account;
    const due = [...begunAnew].filter(([, changedAt]) => changedAt > position);
    return due.map(([id]) => JSON.stringify({ id, accountId, fullImage: true } satisfies OrderMarketChange));
  }

  #market(market: AccountMarket, position: number): OrderMarketChange | null {
    const bornAt = Math.min(...[...market.runners.values()].map((runner) => this.#bornAt(runner)));
    if (bornAt === Number.POSITIVE_INFINITY) return null;
    const orc = [...market.runners.values()].flatMap((runner) => this.#runner(runner, position) ?? []);
    const closes = market.closedAt !== null && market.closedAt > position;
    if (orc.length === 0 && (position === NOTHING || !closes)) return null;
    return {
      id: market.id,
      ...(bornAt > position && { accountId: this.#account.accountId, fullImage: true }),
      ...(closes && { closed: true }),
      ...(orc.length > 0 && { orc }),
    };
  }

  #runner(runner: AccountRunner, position: number): OrderRunnerChange | null {
    const uo = this.#orders(runner, position);
    const overall = this.#filter.includeOverallPosition ? matchedSince(runner.overall, position) : {};
    const smc = this.#filter.partitionMatchedByStrategyRef ? this.#byStrategy(runner, position) : {};
    const hasStrategies = Object.keys(smc).length > 0;
    if (uo.length === 0 && Object.keys(overall).length === 0 && !hasStrategies) return null;
    return {
      id: runner.selectionId,
      ...(runner.handicap !== 0 && { hc: runner.handicap }),
      ...(this.#bornAt(runner) > position && { fullImage: true }),
      ...(uo.length > 0 && { uo }),
      ...overall,
      ...(hasStrategies && { smc }),
    };
  }

  #orders(runner: AccountRunner, position: number): StreamOrder[] {
    const orders: StreamOrder[] = [];
    for (const [order, { changedAt }] of runner.orders) {
      const isDue = position === NOTHING ? order.executable : changedAt > position;
      if (isDue && this.#isMine(order.terms.strategyRef)) orders.push(order.streamed());
    }
    return orders;
  }

  /** Orders without a reference belong to no strategy. */
  #byStrategy(runner: AccountRunner, position: number): Record<string, StreamMatched> {
    const changes = new Map<string, StreamMatched>();
    for (const [strategy, matched] of runner.byStrategy) {
      if (strategy === "" || !this.#isMine(strategy)) continue;
      const change = matchedSince(matched, position);
      if (Object.keys(change).length > 0) changes.set(strategy, change);
    }
    // Also a strategy called "__proto__" is one.
    return Object.fromEntries(changes);
  }

  /** The change that first showed something of the runner to this filter. */
  #bornAt(runner: AccountRunner): number {
    let bornAt = Number.POSITIVE_INFINITY;
    for (const [strategy, at] of runner.bornAt) if (this.#isMine(strategy)) bornAt = Math.min(bornAt, at);
    if (this.#filter.includeOverallPosition) bornAt = Math.min(bornAt, runner.overall?.bornAt ?? bornAt);
    return bornAt;
  }

  #isMine(strategy: string): boolean {
    return this.#strategies === null || this.#strategies.has(strategy);
  }
}

function matchedSince(matched: Matched | null, position: number): StreamMatched {
  const change: Record<string, PriceSize[]> = {};
  for (const name of ["mb", "ml"] as const) {
    const entries: PriceSize[] = [];
    for (const [price, { size, changedAt }] of matched?.[name] ?? []) {
      const isDue = position === NOTHING ? size > 0 : changedAt > position;
      if (isDue) entries.push([price / 100, size / 100]);
    }
    if (entries.length > 0) change[name] = entries;
  }
  return change;
}
