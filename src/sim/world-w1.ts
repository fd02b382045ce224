import { ZipfDraw } from "../base/zipf.ts";
import type { MarketChange } from "./naive.ts";
import type { WorldStage } from "./world.ts";
import { CYCLE_MS, Cycle } from "./world-cycle.ts";
import { type Fixture, type Game, type MarketSpec, runnersNamed } from "./world-game.ts";
import { WorldMarket } from "./world-market.ts";
import type { Depth } from "./world-runner.ts";

export interface EventDayOptions {
  readonly markets: number;
  readonly runners: number;
  readonly depth: Depth;
  readonly changesPerSecond: number;
  /** What changed within so long comes in one message: all markets together have one publishing cycle. */
  readonly cycleMs: number;
  /** So many come in one message, at the least. */
  readonly changesAtOnce: number;
  /** The exponent of Zipf's law over markets. */
  readonly zipf: number;
  readonly burst: { readonly everyMs: number; readonly forMs: number; readonly times: number };
  /** So often a market, drawn like one that trades, is suspended, and for so long. */
  readonly suspensionEveryMs: number;
  readonly suspendedMs: number;
}

/** Workload W1, "event day" (performance.md): the numbers are fixed, so that results can be compared. */
export const W1: EventDayOptions = {
  markets: 20_000,
  runners: 8,
  depth: { levels: 10, tradedLevels: 15, pence: 5_000, spread: 2 },
  changesPerSecond: 2_000,
  cycleMs: CYCLE_MS,
  changesAtOnce: 1,
  zipf: 1,
  burst: { everyMs: 60_000, forMs: 10_000, times: 5 },
  suspensionEveryMs: 1_000,
  suspendedMs: 5_000,
};

/**
 * Workload W2, "spread": 10,000 users with 5 markets each and about 100 users a market make 500 markets; 10,000 deliveries a second make 100 changes. Each comes by
 * itself: at the exchange each market has a publishing cycle of its own, and with one for all a change would wait for the others of its cycle to be written first.
 */
export const W2: EventDayOptions = {
  ...W1,
  markets: 500,
  runners: 3,
  changesPerSecond: 100,
  cycleMs: 5,
  zipf: 0,
  burst: { everyMs: 60_000, forMs: 0, times: 1 },
};

/** Nothing but what is asked for: no suspensions. */
const STEADY: EventDayOptions = { ...W2, suspensionEveryMs: Number.POSITIVE_INFINITY };

/** The feeds of the workloads of performance.md: W3 one hot market, W4 half a change a second for each of its users, W7 nothing, W8 one or ten changes a message. */
export const EVENT_DAYS: Readonly<Record<string, EventDayOptions>> = {
  W1,
  W2,
  W3: { ...STEADY, markets: 1, changesPerSecond: 2 },
  W4: { ...W2, markets: 2_000, changesPerSecond: 200 },
  W5: W2,
  W6: W2,
  W7: { ...STEADY, changesPerSecond: 0 },
  W8a: { ...STEADY, markets: 1, changesPerSecond: 5 },
  W8b: { ...STEADY, markets: 10, changesPerSecond: 20, changesAtOnce: 10 },
};

const IMAGES_PER_MESSAGE = 200;
/** Draws for a market that trades and has not yet, before a cycle's share is given up. */
const DRAWS_MAX = 32;

/** Markets that never end: as many changes as asked for, books of one shape throughout, so that a measurement measures the same all along. */
export class EventDay {
  readonly markets: readonly WorldMarket[];
  readonly #options: EventDayOptions;
  readonly #stage: WorldStage;
  readonly #cycle: Cycle;
  readonly #draw: ZipfDraw;
  readonly #touched = new Set<WorldMarket>();
  readonly #suspended: { readonly market: WorldMarket; readonly until: number }[] = [];
  readonly #beganAt: number;
  #suspendsAt: number;
  #versions = 0;
  #owed = 0;

  constructor(options: EventDayOptions, stage: WorldStage) {
    this.#options = options;
    this.#stage = stage;
    this.#draw = new ZipfDraw(options.markets, options.zipf, stage.random);
    this.#cycle = new Cycle(stage.clock, (elapsedMs) => this.#step(elapsedMs), options.cycleMs);
    this.#beganAt = stage.clock.monotonic();
    this.#suspendsAt = this.#beganAt + options.suspensionEveryMs;
    this.markets = Array.from({ length: options.markets }, (_, n) => this.#market(n));
  }

  /** Publishes every market's image and goes on from there. */
  start(): void {
    const wall = Math.trunc(this.#stage.clock.wall());
    for (let from = 0; from < this.markets.length; from += IMAGES_PER_MESSAGE)
      this.#stage.publish(
        wall,
        this.markets.slice(from, from + IMAGES_PER_MESSAGE).map((market) => market.image()),
      );
    this.#cycle.start();
  }

  stop(): void {
    this.#cycle.stop();
  }

  #step(elapsedMs: number): void {
    const now = this.#stage.clock.monotonic();
    const changes = [...this.#suspensions(now), ...this.#trades(now, elapsedMs)];
    if (changes.length > 0) this.#stage.publish(Math.trunc(this.#stage.clock.wall()), changes);
  }

  #suspensions(now: number): MarketChange[] {
    const changes: MarketChange[] = [];
    while (this.#suspended[0] !== undefined && this.#suspended[0].until <= now)
      changes.push((this.#suspended.shift() as { market: WorldMarket }).market.open(false));
    for (; this.#suspendsAt <= now; this.#suspendsAt += this.#options.suspensionEveryMs) {
      const market = this.#anyMarket();
      if (market === null) continue;
      this.#suspended.push({ market, until: now + this.#options.suspendedMs });
      changes.push(market.suspend(null, false));
    }
    return changes;
  }

  /** A cycle has a market once, as the exchange sums it up. */
  #trades(now: number, elapsedMs: number): MarketChange[] {
    const { burst, changesPerSecond, changesAtOnce } = this.#options;
    const intoMinute = (now - this.#beganAt) % burst.everyMs;
    const times = intoMinute >= burst.everyMs - burst.forMs ? burst.times : 1;
    this.#owed += (changesPerSecond * times * elapsedMs) / 1_000;
    if (this.#owed < changesAtOnce) return [];
    const changes: MarketChange[] = [];
    this.#touched.clear();
    for (; this.#owed >= 1; this.#owed--) {
      const change = this.#change();
      if (change !== null) changes.push(change);
    }
    return changes;
  }

  #change(): MarketChange | null {
    const market = this.#anyMarket();
    if (market === null) return null;
    this.#touched.add(market);
    // A trade may find nothing to take; then somebody else does something.
    for (let tries = 0; tries < DRAWS_MAX; tries++) {
      const change = market.trade();
      if (change !== null) return change;
    }
    return null;
  }

  #anyMarket(): WorldMarket | null {
    for (let draws = 0; draws < DRAWS_MAX; draws++) {
      const market = this.markets[this.#draw.next()] as WorldMarket;
      if (market.status === "OPEN" && !this.#touched.has(market)) return market;
    }
    return null;
  }

  #market(n: number): WorldMarket {
    const { clock, random } = this.#stage;
    const fixture = steadyFixture(n, this.#options.runners);
    return new WorldMarket(fixture.markets[0] as MarketSpec, {
      id: `1.${260_000_000 + n}`,
      eventId: String(35_000_000 + n),
      fixture,
      startsAt: clock.wall() + 3_600_000,
      depth: this.#options.depth,
      names: false,
      random,
      nextVersion: () => 7_000_000_000 + ++this.#versions,
    });
  }
}

function steadyFixture(n: number, runners: number): Fixture {
  const names = Array.from({ length: runners }, (_, i) => `Runner ${n}.${i}`);
  return {
    name: `Event ${n}`,
    eventTypeId: "7",
    countryCode: "GB",
    timezone: "Europe/London",
    markets: [
      { type: "WIN", name: "To Win", runners: runnersNamed(...names), winners: 1, turnInPlay: true, bsp: false },
    ],
    game: steadyGame,
  };
}

/** Nothing ever happens: all chances are alike, and stay so. */
const steadyGame: Game = {
  betDelay: 0,
  over: false,
  lastsMs: Number.POSITIVE_INFINITY,
  stage: 0,
  chances: ({ runners }) => runners.map(() => 1 / runners.length),
  play: () => null,
  force: () => ({ reason: null }),
  decided: () => false,
  results: ({ runners }) => runners.map(() => false),
};
