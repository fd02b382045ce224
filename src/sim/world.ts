import type { Clock } from "../base/clock.ts";
import { pick, type Random } from "../base/random.ts";
import { ZipfDraw } from "../base/zipf.ts";
import { cricketFixture } from "./cricket.ts";
import { footballFixture } from "./football.ts";
import type { MarketChange } from "./naive.ts";
import { racingFixture } from "./racing.ts";
import { tennisFixture } from "./tennis.ts";
import { Cycle } from "./world-cycle.ts";
import { WorldEvent } from "./world-event.ts";
import type { Fixture } from "./world-game.ts";
import { type MarketPlace, WorldMarket } from "./world-market.ts";
import type { Depth } from "./world-runner.ts";

export interface WorldOptions {
  /** 10 to 20,000. */
  readonly markets: number;
  /** Market changes a second besides what events bring; by default as many as keep a small world lively and a large one bearable. */
  readonly changesPerSecond?: number;
  /** Whether definitions carry names, as historic files do. Default: they do. */
  readonly names?: boolean;
  readonly depth?: Depth;
}

/** Where a world happens. */
export interface WorldStage {
  readonly clock: Clock;
  readonly random: Random;
  /** `SimExchange.publish`. */
  publish(pt: number, changes: readonly MarketChange[]): void;
}

export const WORLD_DEPTH: Depth = { levels: 12, tradedLevels: 60, pence: 5_000, spread: 3 };

const CHANGES_PER_SECOND_MIN = 20;
const CHANGES_PER_SECOND_MAX = 2_000;
const CHANGES_PER_MARKET = 2;
/** Somewhere something is suspended at least this often. */
const QUIET_MS_MAX = 15_000;
const POPULARITY = 1;
/** Events start so far around the world's beginning: half of them are on already. */
const EARLIEST_START_MS = -180_000;
const LATEST_START_MS = 180_000;
const NEW_EVENT_START_MS = 45_000;
/** So many places of closed markets wait for a new event, at most. */
const CLOSED_MAX = 4;
/** Draws for a market that trades and has not yet, before a cycle's share is given up. */
const DRAWS_MAX = 16;
const IMAGES_PER_MESSAGE = 200;

const SPORTS: readonly ((random: Random) => Fixture)[] = [
  footballFixture,
  racingFixture,
  tennisFixture,
  footballFixture,
  cricketFixture,
];

/**
 * A generated world of football, tennis, racing and cricket that publishes into an exchange: markets that trade, events that begin, are interrupted, end
 * and are settled, and others that come in their place. The same seed on the same clock gives the same world, to the byte.
 */
export class World {
  readonly #options: Required<WorldOptions>;
  readonly #stage: WorldStage;
  readonly #cycle: Cycle;
  readonly #draw: ZipfDraw;
  readonly #events = new Set<WorldEvent>();
  /** By popularity, the most popular first; a market that ends gives its place to a new one. */
  readonly #places: (WorldMarket | null)[];
  readonly #touched = new Set<WorldMarket>();
  #fixtures = 0;
  #ids = 0;
  #versions = 0;
  #owed = 0;
  #suspendedAt: number;
  #pt = 0;

  constructor(options: WorldOptions, stage: WorldStage) {
    const { markets, changesPerSecond = usualRate(markets), names = true, depth = WORLD_DEPTH } = options;
    this.#options = { markets, changesPerSecond, names, depth };
    this.#stage = stage;
    this.#places = Array.from({ length: markets }, () => null);
    this.#draw = new ZipfDraw(markets, POPULARITY, stage.random);
    this.#cycle = new Cycle(stage.clock, (elapsedMs) => this.#step(elapsedMs));
    this.#suspendedAt = stage.clock.monotonic();
    this.#populate(EARLIEST_START_MS, LATEST_START_MS);
  }

  get markets(): readonly WorldMarket[] {
    return this.#places.filter((market) => market !== null);
  }

  /** Publishes every market's image and goes on from there. */
  start(): void {
    const { markets } = this;
    for (let from = 0; from < markets.length; from += IMAGES_PER_MESSAGE)
      this.#publish(markets.slice(from, from + IMAGES_PER_MESSAGE).map((market) => market.image()));
    this.#cycle.start();
  }

  stop(): void {
    this.#cycle.stop();
  }

  #step(elapsedMs: number): void {
    const happened = this.#happenings(this.#stage.clock.monotonic());
    const born = happened.some(closes) ? this.#replacements() : [];
    this.#publish([...happened, ...born.map((market) => market.image()), ...this.#trades(elapsedMs)]);
  }

  /** What events bring. */
  #happenings(now: number): MarketChange[] {
    const wall = this.#stage.clock.wall();
    const changes: MarketChange[] = [];
    for (const event of this.#events) for (const change of event.step(now, wall)) changes.push(change);
    if (changes.some(suspends)) this.#suspendedAt = now;
    if (now - this.#suspendedAt < QUIET_MS_MAX) return changes;
    this.#suspendedAt = now;
    return [...changes, ...this.#interruption(now)];
  }

  #interruption(now: number): MarketChange[] {
    const events = [...this.#events];
    for (let tries = 0; tries < events.length; tries++) {
      const changes = pick(this.#stage.random, events).interrupt(now);
      if (changes.length > 0) return changes;
    }
    return [];
  }

  /** New events in the places of markets that are closed, once there are enough for an event. */
  #replacements(): WorldMarket[] {
    for (const event of this.#events) if (event.settled) this.#events.delete(event);
    const closed = this.#places.flatMap((market, place) => (market?.status === "CLOSED" ? [place] : []));
    if (closed.length < Math.min(CLOSED_MAX, this.#places.length / 5)) return [];
    for (const place of closed) this.#places[place] = null;
    return this.#populate(NEW_EVENT_START_MS, LATEST_START_MS);
  }

  /** Changes by people, each of another market, as the exchange sums up a cycle. */
  #trades(elapsedMs: number): MarketChange[] {
    this.#owed += (this.#options.changesPerSecond * elapsedMs) / 1_000;
    const changes: MarketChange[] = [];
    this.#touched.clear();
    for (; this.#owed >= 1; this.#owed--) {
      const change = this.#anyMarket()?.trade() ?? null;
      if (change !== null) changes.push(change);
    }
    return changes;
  }

  /** A popular one rather than another, one in play rather than one that is not. */
  #anyMarket(): WorldMarket | null {
    for (let draws = 0; draws < DRAWS_MAX; draws++) {
      const market = this.#places[this.#draw.next()] as WorldMarket | null;
      if (market === null || market.status !== "OPEN" || this.#touched.has(market)) continue;
      if (!market.inPlay && draws === 0 && this.#stage.random.next() < 0.5) continue;
      this.#touched.add(market);
      return market;
    }
    return null;
  }

  /** Fills the empty places with events that start in so many milliseconds. */
  #populate(earliestMs: number, latestMs: number): WorldMarket[] {
    const free = this.#places.flatMap((market, place) => (market === null ? [place] : []));
    const born: WorldMarket[] = [];
    while (born.length < free.length) {
      const event = this.#event(earliestMs, latestMs, free.length - born.length);
      for (const market of event.markets) {
        this.#places[free[born.length] as number] = market;
        born.push(market);
      }
    }
    return born;
  }

  #event(earliestMs: number, latestMs: number, marketsMax: number): WorldEvent {
    const { clock, random } = this.#stage;
    const fixture = (SPORTS[this.#fixtures++ % SPORTS.length] as (typeof SPORTS)[number])(random);
    const startsIn = earliestMs + random.next() * (latestMs - earliestMs);
    const eventId = String(34_000_000 + this.#fixtures);
    const markets = fixture.markets
      .slice(0, marketsMax)
      .map((spec) => new WorldMarket(spec, this.#place(eventId, fixture, startsIn)));
    const event = new WorldEvent(fixture, markets, clock.monotonic() + startsIn, random);
    if (startsIn < 0) event.playFor(-startsIn, clock.monotonic(), clock.wall());
    this.#events.add(event);
    return event;
  }

  #place(eventId: string, fixture: Fixture, startsIn: number): MarketPlace {
    const { names, depth } = this.#options;
    const { clock, random } = this.#stage;
    return {
      id: `1.${250_000_000 + ++this.#ids}`,
      eventId,
      fixture,
      startsAt: clock.wall() + startsIn,
      depth,
      names,
      random,
      nextVersion: () => 6_000_000_000 + ++this.#versions,
    };
  }

  #publish(changes: readonly MarketChange[]): void {
    if (changes.length === 0) return;
    this.#pt = Math.max(this.#pt, Math.trunc(this.#stage.clock.wall()));
    this.#stage.publish(this.#pt, changes);
  }
}

function usualRate(markets: number): number {
  return Math.min(CHANGES_PER_SECOND_MAX, Math.max(CHANGES_PER_SECOND_MIN, markets * CHANGES_PER_MARKET));
}

function closes(change: MarketChange): boolean {
  return change.marketDefinition?.status === "CLOSED";
}

function suspends(change: MarketChange): boolean {
  return change.marketDefinition?.status === "SUSPENDED";
}
