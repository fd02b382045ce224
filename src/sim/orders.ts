import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { MarketChange, MarketDefinition } from "./naive.ts";
import { type AccountMarket, type AccountRunner, OrderAccount } from "./order-account.ts";
import { type InstructionError, isOnLadder } from "./order-instructions.ts";
import { type LapseReason, Order, type OrderTerms, type Pence, type Persistence } from "./order-life.ts";
import { OrderMarket, runnerKey } from "./order-market.ts";

export interface OrderBooksOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** The time of what happens to orders, milliseconds since the Unix epoch. */
  now(): number;
  /** A market's whole book, or null when there is no such market. */
  image(id: string): MarketChange | null;
}

/** An order that is over, with what came of it. Money in pence. */
export interface ClearedOrder {
  readonly order: Order;
  readonly outcome: "SETTLED" | "VOIDED" | "LAPSED" | "CANCELLED";
  readonly profit: Pence;
  readonly eventId: string;
  readonly eventTypeId: string;
  readonly settledAt: number;
}

/** Cleared orders that are remembered for an account. */
const CLEARED_MAX = 2_000;
/** A customerRef said again within this time is a repetition by mistake. */
const CUSTOMER_REF_MS = 60_000;
const CUSTOMER_REFS_MAX = 1_000;
const FIRST_BET_ID = 300_000_000_000;
const FIRST_ACCOUNT_ID = 7_000_001;

/** Of the times that the market shows an order's price: how often nobody comes for it, and how often only for a part. */
const PASSED_BY = 0.25;
const TAKEN_IN_PART = 0.4;

/**
 * Everybody's orders at the simulated exchange. They live by the markets that feeds publish:
 *
 *     placed: takes what the market shows at its price or better, at the prices shown; the rest waits
 *     the market comes to its price: matched at its own price, whole or in part by seeded chance
 *     suspended for the off or in play, or turned in play: what has LAPSE lapses
 *     starting price there: on-close orders, and what has MARKET_ON_CLOSE, are matched at it
 *     runner removed: void;   market closed: the rest lapses, what was matched is settled
 *
 * Other than at the exchange, orders take no liquidity from the market that is shown, there is no bet delay in play, and a removed runner
 * does not reduce what was matched on the others.
 */
export class OrderBooks {
  readonly accounts = new Map<string, OrderAccount>();
  readonly #options: OrderBooksOptions;
  /** Those that somebody has orders in. */
  readonly #markets = new Map<string, OrderMarket>();
  readonly #cleared = new Map<OrderAccount, ClearedOrder[]>();
  readonly #customerRefs = new Map<string, number>();
  #betId = FIRST_BET_ID;

  constructor(options: OrderBooksOptions) {
    this.#options = options;
  }

  account(name: string): OrderAccount {
    let account = this.accounts.get(name);
    if (account === undefined) {
      account = new OrderAccount(name, FIRST_ACCOUNT_ID + this.accounts.size);
      this.accounts.set(name, account);
    }
    return account;
  }

  /** A market's state as orders see it, or null when there is no such market. */
  market(id: string): OrderMarket | null {
    const known = this.#markets.get(id);
    if (known !== undefined) return known;
    const image = this.#options.image(id);
    return image === null ? null : new OrderMarket(image);
  }

  cleared(account: OrderAccount): readonly ClearedOrder[] {
    return this.#cleared.get(account) ?? [];
  }

  /** Whether the account said this reference a moment ago; remembers it when not. */
  isRepeated(account: OrderAccount, customerRef: string | null): boolean {
    if (customerRef === null) return false;
    const now = this.#options.clock.monotonic();
    const key = `${account.name}/${customerRef}`;
    const repeated = now - (this.#customerRefs.get(key) ?? Number.NEGATIVE_INFINITY) < CUSTOMER_REF_MS;
    if (repeated) return true;
    this.#customerRefs.delete(key);
    this.#customerRefs.set(key, now);
    const [oldest] = this.#customerRefs.keys();
    if (this.#customerRefs.size > CUSTOMER_REFS_MAX) this.#customerRefs.delete(oldest as string);
    return false;
  }

  /** Places one order in an open market. Call `commit` of the account after the last of a call. */
  place(account: OrderAccount, market: OrderMarket, terms: OrderTerms): Order | InstructionError {
    const wrong = whyNot(market, terms);
    if (wrong !== null) return wrong;
    if (!account.hasRoom()) return "ERROR_IN_ORDER";
    this.#markets.set(market.id, market);
    const now = this.#options.now();
    const order = new Order(String(this.#betId++), terms, now);
    account.add(order);
    if (terms.orderType === "LIMIT") this.#takeAtOnce(account, market, order, now);
    return order;
  }

  /** Cancels at most `size` of an order, all that remains when that is null; returns how much it was. */
  cancel(account: OrderAccount, order: Order, size: Pence | null): Pence | InstructionError {
    if (order.remaining === 0) return "BET_TAKEN_OR_LAPSED";
    const cancelled = order.cancel(size ?? order.remaining, this.#options.now());
    account.touch(order);
    return cancelled;
  }

  update(account: OrderAccount, order: Order, persistence: Persistence): InstructionError | null {
    if (order.remaining === 0) return "BET_TAKEN_OR_LAPSED";
    if (order.persistence === persistence) return "NO_ACTION_REQUIRED";
    const market = this.#markets.get(order.terms.marketId) as OrderMarket;
    if (!mayHave(market.definition, persistence)) return "INVALID_PERSISTENCE_TYPE";
    order.persistence = persistence;
    account.touch(order);
    return null;
  }

  /** The exchange published these changes, and its books have them already. */
  publish(changes: readonly MarketChange[]): void {
    for (const change of changes) {
      const market = this.#markets.get(change.id);
      if (market !== undefined) this.#live(market, change);
    }
    for (const account of this.accounts.values()) account.commit();
  }

  /** The exchange has forgotten the market. */
  forget(id: string): void {
    this.#markets.delete(id);
    for (const account of this.accounts.values()) account.forget(id);
  }

  #live(market: OrderMarket, change: MarketChange): void {
    const before = market.definition;
    market.apply(change);
    const after = market.definition;
    // A recording that is played anew: another market in all but its id.
    if (before.status === "CLOSED" && after.status !== "CLOSED") {
      this.#markets.delete(market.id);
      for (const account of this.accounts.values()) account.beginAnew(market.id);
      return;
    }
    for (const account of this.accounts.values()) {
      const mine = account.markets.get(market.id);
      if (mine === undefined) continue;
      if (change.marketDefinition != null) this.#redefined(account, mine, market, before);
      if (after.status === "OPEN") this.#moved(account, mine, market, change);
    }
  }

  #redefined(account: OrderAccount, mine: AccountMarket, market: OrderMarket, before: MarketDefinition): void {
    const after = market.definition;
    const now = this.#options.now();
    for (const runner of mine.runners.values())
      if (isRemoved(market, runner) && isConcerned(runner)) account.voidRunner(mine, runner);
    const lapse = (reason: LapseReason | null, which: (order: Order) => boolean) => {
      for (const order of mine.orders()) {
        if (!order.executable || !which(order)) continue;
        order.lapse(now, reason);
        account.touch(order);
      }
    };
    if (after.bspReconciled === true && before.bspReconciled !== true) this.#reconcile(account, mine, market);
    if (after.inPlay === true && before.inPlay !== true) lapse("SP_IN_PLAY", isForClose);
    if (isOff(before, after, now)) lapse("MKT_SUSPENDED", ({ persistence }) => persistence === "LAPSE");
    if (after.status === "CLOSED" && mine.closedAt === null) {
      lapse(null, () => true);
      this.#settle(account, mine, market, now);
      account.close(mine);
    }
  }

  #reconcile(account: OrderAccount, mine: AccountMarket, market: OrderMarket): void {
    const now = this.#options.now();
    for (const order of mine.orders()) {
      if (!order.executable || !isForClose(order)) continue;
      const price = market.startingPrice(order.terms.selectionId, order.terms.handicap);
      const size = order.reconcile(price, now);
      if (size > 0) account.matched(order, price as number, size);
      else account.touch(order);
    }
  }

  /** Prices changed: whoever waits where the market is now may be matched. */
  #moved(account: OrderAccount, mine: AccountMarket, market: OrderMarket, change: MarketChange): void {
    const touched = new Set((change.rc ?? []).map(({ id, hc }) => runnerKey(id, hc ?? 0)));
    for (const key of touched) {
      for (const order of [...(mine.runners.get(key)?.orders.keys() ?? [])])
        if (order.remaining > 0) this.#mayMatch(account, market, order);
    }
  }

  #mayMatch(account: OrderAccount, market: OrderMarket, order: Order): void {
    const { selectionId, handicap, side, price } = order.terms;
    const shown = market.offers(selectionId, handicap, side, price).reduce((sum, { size }) => sum + size, 0);
    const most = Math.min(order.remaining, shown);
    if (most === 0) return;
    const chance = this.#options.random.next();
    if (chance < PASSED_BY) return;
    const part = chance < PASSED_BY + TAKEN_IN_PART ? Math.ceil(most * this.#options.random.next()) : most;
    account.match(order, price, Math.max(1, part), this.#options.now());
  }

  #takeAtOnce(account: OrderAccount, market: OrderMarket, order: Order, now: number): void {
    const { selectionId, handicap, side, price, fillAtLeast } = order.terms;
    const offers = market.offers(selectionId, handicap, side, price);
    const shown = offers.reduce((sum, { size }) => sum + size, 0);
    if (fillAtLeast === null || shown >= fillAtLeast) {
      for (const offer of offers) {
        const size = Math.min(order.remaining, offer.size);
        if (size > 0) account.match(order, offer.price, size, now);
      }
    }
    if (fillAtLeast === null || order.remaining === 0) return;
    order.lapse(now, "TIME_ELAPSED");
    account.touch(order);
  }

  #settle(account: OrderAccount, mine: AccountMarket, market: OrderMarket, now: number): void {
    const { eventId, eventTypeId } = market.definition;
    let cleared = this.#cleared.get(account);
    if (cleared === undefined) this.#cleared.set(account, (cleared = []));
    for (const order of mine.orders()) {
      const status = market.runner(order.terms.selectionId, order.terms.handicap)?.status;
      cleared.push({
        order,
        outcome: outcomeOf(order),
        profit: profitOf(order, status === "WINNER" || status === "PLACED"),
        eventId: eventId ?? "",
        eventTypeId: eventTypeId ?? "",
        settledAt: now,
      });
    }
    cleared.splice(0, cleared.length - CLEARED_MAX);
  }
}

function whyNot(market: OrderMarket, terms: OrderTerms): InstructionError | null {
  const { definition } = market;
  const runner = market.runner(terms.selectionId, terms.handicap);
  if (runner === null) return "INVALID_RUNNER";
  if (runner.status === "REMOVED" || runner.status === "REMOVED_VACANT") return "RUNNER_REMOVED";
  const onClose = terms.orderType !== "LIMIT";
  if (onClose && !mayHave(definition, "MARKET_ON_CLOSE")) return "MARKET_NOT_OPEN_FOR_BSP_BETTING";
  if (!mayHave(definition, terms.persistence)) return "INVALID_PERSISTENCE_TYPE";
  return terms.price === 0 || isOnLadder(terms.price, ladderOf(definition)) ? null : "INVALID_ODDS";
}

export function ladderOf(definition: MarketDefinition): string {
  const ladder = definition.priceLadderDefinition as { readonly type?: string } | null | undefined;
  return ladder?.type ?? "CLASSIC";
}

function mayHave(definition: MarketDefinition, persistence: Persistence): boolean {
  if (persistence === "PERSIST") return definition.persistenceEnabled !== false;
  if (persistence === "MARKET_ON_CLOSE")
    return definition.bspMarket === true && definition.bspReconciled !== true && definition.inPlay !== true;
  return true;
}

/** The moment from which nobody who said LAPSE wants to be matched: the off itself, the suspension before it, and any suspension in play. */
function isOff(before: MarketDefinition, after: MarketDefinition, now: number): boolean {
  if (after.inPlay === true && before.inPlay !== true) return true;
  if (after.status !== "SUSPENDED" || before.status === "SUSPENDED") return false;
  return after.inPlay === true || Date.parse(after.marketTime ?? "") <= now;
}

function isForClose(order: Order): boolean {
  return order.terms.orderType !== "LIMIT" || order.persistence === "MARKET_ON_CLOSE";
}

function isRemoved(market: OrderMarket, { selectionId, handicap }: AccountRunner): boolean {
  const status = market.runner(selectionId, handicap)?.status;
  return status === "REMOVED" || status === "REMOVED_VACANT";
}

function isConcerned(runner: AccountRunner): boolean {
  for (const order of runner.orders.keys()) if (order.executable || order.matched > 0) return true;
  return false;
}

function outcomeOf(order: Order): ClearedOrder["outcome"] {
  if (order.matched > 0) return "SETTLED";
  if (order.voided > 0) return "VOIDED";
  return order.cancelled > 0 && order.lapsed === 0 ? "CANCELLED" : "LAPSED";
}

function profitOf(order: Order, won: boolean): Pence {
  let winnings = 0;
  for (const [price, size] of order.fills) winnings += (size * (price - 100)) / 100;
  const backers = Math.round(won ? winnings : -order.matched);
  return order.terms.side === "BACK" ? backers : -backers;
}
