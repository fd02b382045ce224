import type { Clock, Timer } from "../base/clock.ts";
import { pick, type Random, randomInt } from "../base/random.ts";
import type { OrderAccount } from "./order-account.ts";
import { isOnLadder } from "./order-instructions.ts";
import type { Hundredths, Order, Side } from "./order-life.ts";
import type { Offer, OrderMarket } from "./order-market.ts";
import type { Methods } from "./order-methods.ts";
import { ladderOf, type OrderBooks } from "./orders.ts";

export interface PuntersOptions {
  /** How many; each acts as often as `actsPerSecond` says. */
  readonly punters: number;
  readonly actsPerSecond: number;
  readonly account: string;
  /** Whom they bet for; "" is nobody in particular. */
  readonly strategyRefs: readonly string[];
  /** Markets that each plays in at a time. */
  readonly marketsEach?: number;
}

export interface PuntersStage {
  readonly clock: Clock;
  readonly random: Random;
  readonly books: OrderBooks;
  /** What they call, as any client would. */
  readonly methods: Methods;
  /** Ids of the markets there are. */
  markets(): readonly string[];
}

export const STRATEGY_REFS = ["alpha-1", "alpha-2", "beta-1", ""] as const;
const MARKETS_EACH = 3;
/** Orders a punter lets wait before it cancels rather than places. */
const WAITING_MAX = 12;
/** How far from the best price they ask, in ticks. */
const TICKS_MAX = 4;

/** People who bet, so that orders have a life to be looked at: they place, cancel, replace and change orders around the best prices, by seeded chance. */
export class Punters {
  readonly #options: PuntersOptions;
  readonly #stage: PuntersStage;
  readonly #timers = new Map<number, Timer>();
  /** The markets each of them plays in. */
  readonly #playing = new Map<number, string[]>();

  constructor(options: PuntersOptions, stage: PuntersStage) {
    this.#options = options;
    this.#stage = stage;
  }

  start(): void {
    for (let who = 0; who < this.#options.punters; who++) this.#wait(who);
  }

  stop(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #wait(who: number): void {
    const { clock, random } = this.#stage;
    const ms = (1_000 / this.#options.actsPerSecond) * (0.5 + random.next());
    const timer = clock.after(ms, () => {
      this.#act(who);
      this.#wait(who);
    });
    this.#timers.set(who, timer);
  }

  #act(who: number): void {
    const { random, books } = this.#stage;
    const market = this.#market(who);
    if (market === null) return;
    const account = books.account(this.#options.account);
    const waiting = waitingIn(account, market);
    const chance = waiting.length >= WAITING_MAX ? 0.75 + random.next() / 4 : random.next();
    if (chance < 0.75 || waiting.length === 0) return this.#place(who, market);
    const order = pick(random, waiting);
    if (chance < 0.9) return this.#cancel(market, order);
    if (chance < 0.97) return this.#replace(market, order);
    const newPersistenceType = order.persistence === "LAPSE" ? "PERSIST" : "LAPSE";
    this.#call("updateOrders", market, { instructions: [{ betId: order.betId, newPersistenceType }] });
  }

  /** One of those it plays in that is open; another one where it has too few. */
  #market(who: number): OrderMarket | null {
    const { random, books } = this.#stage;
    const open = (this.#playing.get(who) ?? []).filter((id) => isLive(books.market(id)));
    if (open.length < (this.#options.marketsEach ?? MARKETS_EACH)) {
      const ids = this.#stage.markets();
      const market = ids.length === 0 ? null : books.market(pick(random, ids));
      if (market !== null && isLive(market) && !open.includes(market.id)) open.push(market.id);
    }
    this.#playing.set(who, open);
    const market = open.length === 0 ? null : books.market(pick(random, open));
    return market?.status === "OPEN" ? market : null;
  }

  #place(who: number, market: OrderMarket): void {
    const { random } = this.#stage;
    const runners = (market.definition.runners ?? []).filter(({ status }) => status === "ACTIVE");
    if (runners.length === 0) return;
    const runner = pick(random, runners);
    const handicap = runner.hc ?? 0;
    const side = random.next() < 0.5 ? "BACK" : "LAY";
    const price = this.#price(market, runner.id, handicap, side);
    if (price === null) return;
    const size = (100 + randomInt(random, 2_000)) / 100;
    const persistenceType = random.next() < 0.7 ? "LAPSE" : "PERSIST";
    const { strategyRefs } = this.#options;
    this.#call("placeOrders", market, {
      customerStrategyRef: strategyRefs[who % strategyRefs.length] || null,
      instructions: [
        {
          selectionId: runner.id,
          handicap,
          side,
          orderType: "LIMIT",
          limitOrder: { price: price / 100, size, persistenceType },
          customerOrderRef: `p${who}-${randomInt(random, 1e9).toString(36)}`,
        },
      ],
    });
  }

  #cancel(market: OrderMarket, order: Order): void {
    const part = this.#stage.random.next() < 0.3 && order.remaining >= 200;
    const sizeReduction = part ? Math.floor(order.remaining / 2) / 100 : null;
    this.#call("cancelOrders", market, { instructions: [{ betId: order.betId, sizeReduction }] });
  }

  #replace(market: OrderMarket, order: Order): void {
    const { selectionId, handicap, side } = order.terms;
    const price = this.#price(market, selectionId, handicap, side);
    if (price === null) return;
    this.#call("replaceOrders", market, { instructions: [{ betId: order.betId, newPrice: price / 100 }] });
  }

  /** A few ticks on either side of what is shown, mostly where it has to wait. */
  #price(market: OrderMarket, selectionId: number, handicap: number, side: Side): Hundredths | null {
    const limit = side === "BACK" ? 0 : Number.POSITIVE_INFINITY;
    const [best] = market.offers(selectionId, handicap, side, limit) as [Offer?];
    if (best === undefined) return null;
    const ticks = randomInt(this.#stage.random, TICKS_MAX + 2) - 1;
    return ticksFrom(best.price, side === "BACK" ? ticks : -ticks, ladderOf(market.definition));
  }

  #call(method: string, market: OrderMarket, params: Readonly<Record<string, unknown>>): void {
    this.#stage.methods(method, { marketId: market.id, ...params }, this.#options.account);
  }
}

function isLive(market: OrderMarket | null): boolean {
  return market !== null && market.status !== "CLOSED";
}

function waitingIn(account: OrderAccount, market: OrderMarket): Order[] {
  return [...(account.markets.get(market.id)?.orders() ?? [])].filter(({ remaining }) => remaining > 0);
}

/** Null beyond the end of the ladder. */
function ticksFrom(price: Hundredths, ticks: number, ladder: string): Hundredths | null {
  const step = Math.sign(ticks);
  let at = price;
  for (let left = Math.abs(ticks); left > 0; left--) {
    do at += step;
    while (at > 100 && at <= 100_000 && !isOnLadder(at, ladder));
  }
  return isOnLadder(at, ladder) ? at : null;
}
