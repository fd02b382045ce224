import { pick } from "../base/random.ts";
import { BestOffers } from "./best-offers.ts";
import { footballFixture } from "./football.ts";
import type { MarketChange } from "./naive.ts";
import { WORLD_DEPTH, type WorldStage } from "./world.ts";
import { Cycle } from "./world-cycle.ts";
import { WorldEvent } from "./world-event.ts";
import { WorldMarket } from "./world-market.ts";

/** From the first bet of a match to its kick-off. */
const KICK_OFF_MS = 60_000;
/** The world's ids begin elsewhere. */
const FIRST_ID = 241_000_000;
const DRAWS_MAX = 8;

/** One football match after the other, with all its markets: bets, kick-off, goals, settlement. Ten minutes each. */
export class Derby {
  /** The markets of the match that is on, the most popular first. */
  markets: readonly WorldMarket[] = [];
  readonly #stage: WorldStage;
  readonly #changesPerSecond: number;
  readonly #cycle: Cycle;
  #best = new BestOffers();
  #event: WorldEvent | null = null;
  #owed = 0;
  #matches = 0;
  #ids = 0;
  #versions = 0;

  constructor(changesPerSecond: number, stage: WorldStage) {
    this.#stage = stage;
    this.#changesPerSecond = changesPerSecond;
    this.#cycle = new Cycle(stage.clock, (elapsedMs) => this.#step(elapsedMs));
  }

  start(): void {
    this.#publish(this.#next());
    this.#cycle.start();
  }

  stop(): void {
    this.#cycle.stop();
  }

  #step(elapsedMs: number): void {
    const { clock } = this.#stage;
    const happened = this.#event?.step(clock.monotonic(), clock.wall()) ?? [];
    if (this.#event?.settled) this.#publish([...happened, ...this.#next()]);
    else this.#publish([...happened, ...this.#trades(elapsedMs)]);
  }

  /** The next match, as images of its markets. */
  #next(): MarketChange[] {
    const { clock, random } = this.#stage;
    const fixture = footballFixture(random);
    const place = {
      eventId: String(33_000_000 + ++this.#matches),
      fixture,
      startsAt: clock.wall() + KICK_OFF_MS,
      depth: WORLD_DEPTH,
      names: false,
      random,
      nextVersion: () => 5_000_000_000 + ++this.#versions,
    };
    this.markets = fixture.markets.map(
      (spec) => new WorldMarket(spec, { ...place, id: `1.${FIRST_ID + ++this.#ids}` }),
    );
    this.#event = new WorldEvent(fixture, this.markets, clock.monotonic() + KICK_OFF_MS, random);
    return this.markets.map((market) => market.image());
  }

  /** At most one of each market in a cycle, as the exchange sums up what happened in it. */
  #trades(elapsedMs: number): MarketChange[] {
    this.#owed += (this.#changesPerSecond * elapsedMs) / 1_000;
    const traded = new Set<WorldMarket>();
    for (let draws = 0; this.#owed >= 1 && draws < DRAWS_MAX; draws++) {
      const market = pick(this.#stage.random, this.markets);
      if (market.status === "OPEN") traded.add(market);
      this.#owed--;
    }
    return [...traded].flatMap((market) => market.trade() ?? []);
  }

  #publish(changes: readonly MarketChange[]): void {
    if (changes.length === 0) return;
    const pt = Math.trunc(this.#stage.clock.wall());
    this.#stage.publish(
      pt,
      changes.map((change) => this.#best.add(change)),
    );
  }
}
