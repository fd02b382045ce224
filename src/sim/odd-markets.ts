import { pick, type Random, randomInt } from "../base/random.ts";
import {
  LEVEL_LADDERS,
  type LevelPriceSize,
  type MarketChange,
  type MarketDefinition,
  NaiveBook,
  PRICE_LADDERS,
  type PriceSize,
  type RunnerChange,
} from "./naive.ts";

/** How many markets begin, and how many there may ever be. */
export interface OddMarketsOptions {
  readonly markets: number;
  readonly marketsMax: number;
  /** Markets, of those that begin, whose ladders see so many prices come and go that tombstones get lost. */
  readonly churning: number;
}

const EVENT_TYPES = ["1", "2", "7"] as const;
const EVENTS = ["31", "32", "33"] as const;
const MARKET_TYPES = ["MATCH_ODDS", "WIN", "OVER_UNDER_25"] as const;
/** Few prices, so that they meet often; some that no exchange ladder has, as starting prices are. */
const PRICES = [1.01, 2, 2.02, 400, 410, 1000, 70.1621307023403, 0.005];
const LEVELS = [0, 1, 2, 3, 9];
const RUNNERS_MAX = 4;
const SIZES = [0, 0, 0, 0.01, 2, 13.37, 123_456.78, 42_949_672.95, 42_949_672.96, 1e-3];
const STARTING = [2.5, 3.0000000001, "NaN", "Infinity"] as const;
const NAMES = ["Zoë & Søn", 'O\'Neil "Ace"', "भारत", "\u{1f3cf}"] as const;
const CHURN_PRICES = 120;

/**
 * Markets that nobody would bet on: every shape of change that the protocol has, at odd moments and with odd values. Images in mid-stream, a runner
 * or a market twice in one message, levels and prices that were never there deleted, empty lists, starting prices of NaN, handicaps, a market
 * born without a definition or moved to another event. A realistic world reaches these corners once a year, this one in every seed.
 */
export class OddMarkets {
  readonly #random: Random;
  readonly #options: OddMarketsOptions;
  readonly #markets: OddMarket[] = [];
  #born = 0;

  constructor(random: Random, options: OddMarketsOptions) {
    this.#random = random;
    this.#options = options;
  }

  /** What there is at the start, as images. */
  first(): MarketChange[] {
    return Array.from({ length: this.#options.markets }, (_, i) => this.#birth(i < this.#options.churning));
  }

  /** One message of the exchange: mostly a market or two. */
  next(): MarketChange[] {
    const random = this.#random;
    const changes: MarketChange[] = [];
    if (this.#born < this.#options.marketsMax && random.next() < 0.01) changes.push(this.#birth(false));
    for (let n = 1 + randomInt(random, 3); n > 0; n--) {
      const open = this.#markets.filter((market) => !market.closed);
      if (open.length === 0) break;
      const market = random.next() < 0.2 ? (open[0] as OddMarket) : pick(random, open);
      changes.push(market.next());
      if (random.next() < 0.08 && !market.closed) changes.push(market.next());
    }
    return changes;
  }

  /** A small change of every open market, so that who is not in step shows it. */
  roll(): MarketChange[] {
    return this.#markets.filter((market) => !market.closed).map((market) => market.small());
  }

  #birth(churns: boolean): MarketChange {
    const market = new OddMarket(`1.${++this.#born}`, this.#random, churns);
    this.#markets.push(market);
    return market.birth();
  }
}

class OddMarket {
  readonly #id: string;
  readonly #random: Random;
  readonly #churns: boolean;
  readonly #runners: { id: number; hc: number }[];
  readonly #book: NaiveBook;
  #definition: MarketDefinition;
  #version = 0;

  constructor(id: string, random: Random, churns: boolean) {
    this.#id = id;
    this.#random = random;
    this.#churns = churns;
    this.#runners = [
      { id: 5, hc: 0 },
      pick(random, [
        { id: 5, hc: -0.5 },
        { id: 6, hc: 1.25 },
        { id: 6, hc: 0 },
      ]),
    ];
    this.#book = new NaiveBook(id);
    this.#definition = { status: "OPEN", inPlay: false, bspMarket: random.next() < 0.5, turnInPlayEnabled: true };
  }

  get closed(): boolean {
    return this.#book.definition?.status === "CLOSED";
  }

  birth(): MarketChange {
    const random = this.#random;
    const rc = this.#runners.map((runner) => this.#runner(runner));
    // Seen in the wild: a first image without a definition.
    if (random.next() < 0.1) return this.#said({ id: this.#id, img: true, rc });
    const facts = {
      eventTypeId: pick(random, EVENT_TYPES),
      marketType: pick(random, MARKET_TYPES),
      eventId: pick(random, EVENTS),
      name: pick(random, NAMES),
    };
    return this.#said({ id: this.#id, img: true, marketDefinition: this.#define(facts), rc });
  }

  next(): MarketChange {
    const random = this.#random;
    const chance = random.next();
    if (chance < 0.03) return this.#image();
    if (chance < 0.15) return this.#redefinition();
    const rc = this.#churns ? [this.#churn()] : this.#runnerChanges();
    return this.#said({
      id: this.#id,
      ...(random.next() < 0.1 && { con: true }),
      ...(random.next() < 0.3 && { tv: randomInt(random, 100_000) / 100 }),
      rc,
    });
  }

  small(): MarketChange {
    return this.#said({ id: this.#id, rc: [{ id: 5, ltp: 1 + randomInt(this.#random, 90_000) / 100 }] });
  }

  #said(change: MarketChange): MarketChange {
    this.#book.apply(change);
    return change;
  }

  /** The same book again, as the exchange sends it now and then; or another one, of which nothing of the old is left. */
  #image(): MarketChange {
    const random = this.#random;
    if (random.next() < 0.5) return this.#said({ ...this.#book.image(), marketDefinition: this.#define({}) });
    const runners = random.next() < 0.3 ? this.#runners.slice(0, 1) : this.#runners;
    return this.#said({
      id: this.#id,
      img: true,
      marketDefinition: this.#define({}),
      rc: runners.map((runner) => this.#runner(runner)),
    });
  }

  #redefinition(): MarketChange {
    const random = this.#random;
    const chance = random.next();
    const rc = random.next() < 0.3 ? this.#runnerChanges() : undefined;
    const status = this.#definition.status === "SUSPENDED" ? "OPEN" : "SUSPENDED";
    if (chance < 0.5) return this.#said({ id: this.#id, marketDefinition: this.#define({ status }), rc });
    if (chance < 0.6) return this.#said({ id: this.#id, marketDefinition: this.#define(this.#elsewhere()), rc });
    if (chance < 0.64) return this.#said({ id: this.#id, marketDefinition: this.#define({ status: "CLOSED" }), rc });
    if (chance < 0.75 && this.#runners.length < RUNNERS_MAX)
      this.#runners.push({ id: 7 + randomInt(random, 3), hc: 0 });
    return this.#said({ id: this.#id, marketDefinition: this.#define({ inPlay: random.next() < 0.5 }), rc });
  }

  #elsewhere(): MarketDefinition {
    const random = this.#random;
    if (random.next() < 0.5) return { eventId: pick(random, EVENTS) };
    return { eventTypeId: pick(random, EVENT_TYPES), marketType: pick(random, MARKET_TYPES) };
  }

  #define(rest: MarketDefinition): MarketDefinition {
    const runners = this.#runners.map(({ id, hc }, i) => ({ id, hc, sortPriority: i + 1, status: "ACTIVE" }));
    this.#definition = { ...this.#definition, ...rest, version: ++this.#version, runners };
    return this.#definition;
  }

  #runnerChanges(): RunnerChange[] {
    const random = this.#random;
    return Array.from({ length: 1 + randomInt(random, 3) }, () => this.#runner(pick(random, this.#runners)));
  }

  /** A few values of a runner, any of them. */
  #runner({ id, hc }: { id: number; hc: number }): RunnerChange {
    const random = this.#random;
    const change: Record<string, unknown> & { id: number } = { id };
    if (hc !== 0 || random.next() < 0.1) change.hc = hc;
    for (let n = 1 + randomInt(random, 3); n > 0; n--) {
      const kind = randomInt(random, 10);
      if (kind < 4) change[pick(random, PRICE_LADDERS)] = this.#prices();
      else if (kind < 6) change[pick(random, LEVEL_LADDERS)] = this.#levels();
      else if (kind < 8) change.ltp = pick(random, PRICES);
      else if (kind < 9) change.tv = pick(random, SIZES);
      else change[pick(random, ["spn", "spf"])] = pick(random, STARTING);
    }
    return change;
  }

  #prices(): PriceSize[] {
    const random = this.#random;
    return Array.from({ length: randomInt(random, 4) }, () => [pick(random, PRICES), pick(random, SIZES)] as const);
  }

  #levels(): LevelPriceSize[] {
    const random = this.#random;
    return Array.from({ length: randomInt(random, 4) }, () => {
      const size = pick(random, SIZES);
      return [pick(random, LEVELS), size === 0 ? 0 : pick(random, PRICES), size] as const;
    });
  }

  /** Prices come and go by the dozen. */
  #churn(): RunnerChange {
    const random = this.#random;
    const atb = Array.from({ length: 24 }, () => {
      const price = (101 + randomInt(random, CHURN_PRICES)) / 100;
      return [price, random.next() < 0.7 ? 0 : 1 + randomInt(random, 99)] as const;
    });
    return { id: 5, ltp: pick(random, PRICES), atb };
  }
}
