import type { Hundredths, Order, Pence, Side } from "./order-life.ts";
import { runnerKey } from "./order-market.ts";

/** Orders an account may have, complete ones that are still remembered included. */
export const ORDERS_MAX = 5_000;

/** Markets that began anew and are remembered for having done so. */
const BEGUN_ANEW_MAX = 1_000;

/** Sizes matched at each price, each with the change that set it last; a size of 0 stays as what tells that the price is gone. */
export class Matched {
  readonly mb = new Map<Hundredths, { size: Pence; changedAt: number }>();
  readonly ml = new Map<Hundredths, { size: Pence; changedAt: number }>();
  readonly bornAt: number;

  constructor(bornAt: number) {
    this.bornAt = bornAt;
  }

  add(side: Side, price: Hundredths, size: Pence, at: number): void {
    const ladder = side === "BACK" ? this.mb : this.ml;
    ladder.set(price, { size: (ladder.get(price)?.size ?? 0) + size, changedAt: at });
  }

  clear(at: number): void {
    for (const ladder of [this.mb, this.ml])
      for (const price of ladder.keys()) ladder.set(price, { size: 0, changedAt: at });
  }
}

/** An account's orders and position on one runner. */
export class AccountRunner {
  readonly selectionId: number;
  readonly handicap: number;
  readonly orders = new Map<Order, { changedAt: number }>();
  /** The first change of each strategy reference here. */
  readonly bornAt = new Map<string, number>();
  /** Over all orders, and by strategy reference; null or absent until something is matched. */
  overall: Matched | null = null;
  readonly byStrategy = new Map<string, Matched>();

  constructor(selectionId: number, handicap: number) {
    this.selectionId = selectionId;
    this.handicap = handicap;
  }
}

export class AccountMarket {
  readonly id: string;
  readonly runners = new Map<string, AccountRunner>();
  changedAt = 0;
  /** The change that told of the market's end; null: it is not over. */
  closedAt: number | null = null;

  constructor(id: string) {
    this.id = id;
  }

  *orders(): Generator<Order> {
    for (const runner of this.runners.values()) yield* [...runner.orders.keys()];
  }
}

/**
 * Everything an account has at the exchange. Each commit is one change with a number; orders, positions and markets remember the change that
 * touched them last, so what changed since any of them can be told without a log.
 */
export class OrderAccount {
  readonly name: string;
  /** The exchange's number for it. */
  readonly accountId: number;
  readonly orders = new Map<string, Order>();
  readonly markets = new Map<string, AccountMarket>();
  /** Markets that began anew, and what stood before is gone: the change that told so. */
  readonly begunAnew = new Map<string, number>();
  /** The last change. */
  position = 0;
  /** What came after this change can be told. */
  logStart = 0;
  /** Told of each change. */
  readonly listeners = new Set<() => void>();
  #touched = false;

  constructor(name: string, accountId: number) {
    this.name = name;
    this.accountId = accountId;
  }

  /** Whether there is room for one more order. Complete ones make room, the oldest first; who has not heard of their end needs an image then. */
  hasRoom(): boolean {
    if (this.orders.size < ORDERS_MAX) return true;
    for (const order of this.orders.values()) {
      if (order.executable) continue;
      this.#remove(order);
      return true;
    }
    return false;
  }

  add(order: Order): void {
    this.orders.set(order.betId, order);
    this.touch(order);
  }

  /** The order is not as it was. */
  touch(order: Order): void {
    const { market, runner } = this.#place(order);
    market.changedAt = this.#next();
    runner.orders.set(order, { changedAt: market.changedAt });
    if (!runner.bornAt.has(order.terms.strategyRef)) runner.bornAt.set(order.terms.strategyRef, market.changedAt);
  }

  /** Matches a part of an order, in it and in the account's position. */
  match(order: Order, price: Hundredths, size: Pence, now: number): void {
    order.match(price, size, now);
    this.matched(order, price, size);
  }

  /** The order was matched for so much. */
  matched(order: Order, price: Hundredths, size: Pence): void {
    this.touch(order);
    const { runner } = this.#place(order);
    const { side, strategyRef } = order.terms;
    const at = this.#next();
    runner.overall ??= new Matched(at);
    runner.overall.add(side, price, size, at);
    let mine = runner.byStrategy.get(strategyRef);
    if (mine === undefined) runner.byStrategy.set(strategyRef, (mine = new Matched(at)));
    mine.add(side, price, size, at);
  }

  /** A runner is out: nobody has a position on it any more. */
  voidRunner(market: AccountMarket, runner: AccountRunner): void {
    for (const order of [...runner.orders.keys()]) {
      if (order.matched === 0 && !order.executable) continue;
      order.void();
      this.touch(order);
    }
    const at = this.#next();
    runner.overall?.clear(at);
    for (const matched of runner.byStrategy.values()) matched.clear(at);
    market.changedAt = at;
  }

  close(market: AccountMarket): void {
    market.closedAt = market.changedAt = this.#next();
  }

  /** Lets go of a market and its orders; who has not heard of its last change needs an image then. */
  forget(id: string): void {
    const market = this.markets.get(id);
    if (market === undefined) return;
    for (const order of market.orders()) this.orders.delete(order.betId);
    this.markets.delete(id);
    this.logStart = Math.max(this.logStart, market.changedAt);
  }

  /** A market begins anew, as one does when a recording is played again: whoever knew of orders and positions in it is to forget them. */
  beginAnew(id: string): void {
    if (!this.markets.has(id)) return;
    this.forget(id);
    this.begunAnew.delete(id);
    this.begunAnew.set(id, this.#next());
    const [oldest] = this.begunAnew;
    if (this.begunAnew.size <= BEGUN_ANEW_MAX || oldest === undefined) return;
    this.begunAnew.delete(oldest[0]);
    this.logStart = Math.max(this.logStart, oldest[1]);
  }

  /** Ends a change: everything touched since the last one is told at once. */
  commit(): void {
    if (!this.#touched) return;
    this.#touched = false;
    this.position++;
    for (const listener of [...this.listeners]) listener();
  }

  #next(): number {
    this.#touched = true;
    return this.position + 1;
  }

  #place({ terms }: Order): { readonly market: AccountMarket; readonly runner: AccountRunner } {
    let market = this.markets.get(terms.marketId);
    if (market === undefined) this.markets.set(terms.marketId, (market = new AccountMarket(terms.marketId)));
    const key = runnerKey(terms.selectionId, terms.handicap);
    let runner = market.runners.get(key);
    if (runner === undefined) market.runners.set(key, (runner = new AccountRunner(terms.selectionId, terms.handicap)));
    return { market, runner };
  }

  #remove(order: Order): void {
    const { runner } = this.#place(order);
    this.logStart = Math.max(this.logStart, runner.orders.get(order)?.changedAt ?? 0);
    runner.orders.delete(order);
    this.orders.delete(order.betId);
  }
}
