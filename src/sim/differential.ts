import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import { CLOCKS, type Criteria, Pair, Truth } from "./differential-pair.ts";
import type { Tamper } from "./differential-reading.ts";
import { FIELD_FLAGS } from "./exchange-fields.ts";
import type { MarketFilter } from "./exchange-filter.ts";
import type { MarketChange } from "./naive.ts";
import { OddMarkets } from "./odd-markets.ts";
import { APP_KEY, SESSION, TwoDoors } from "./two-doors.ts";

/** What may differ between the exchange's answer and ours, and why. All else is compared. */
export const MAY_DIFFER: readonly string[] = [
  "ids of connections, `clk`, `initialClk`, the words of errors, and `pt` of what nobody published: each server's own",
  "heartbeats, and where segments are cut, within a market too: a matter of timing and of size; they are glued, and checked for what must and must not be in them",
  "a change that changes nothing one sees (a value once more, an empty list of levels): told or not",
  "several changes of one market in one message: with us one, as it is a book that is told of, and it says `con` if one of them does",
  "in a RESUB_DELTA, which markets come with `img`: whoever remembers less sends a market whole",
  "the message by which a market that was there before comes into the filter: with us a catch-up, which says `con` and may tell of others",
  "a market that leaves the filter: the exchange falls silent on it, we send an image without it (decision 5), also to whoever resumes from before",
  "levels of EX_BEST_OFFERS, asked for by name, where the exchange publishes none: we compute them, so books are compared and not messages; and who names all fields asks for another thing than who names none",
];

export interface DifferentialVerdict {
  readonly seed: number;
  /** Empty: both doors said the same. */
  readonly differences: readonly string[];
  readonly figures: Readonly<Record<"requests" | "published" | "cuts" | "images" | "resumes", number>>;
}

const STEPS = 150;
const REST_MS = 40;
const PAIRS = 2;
/** Told of one seed; what follows the first is mostly its consequence. */
const DIFFERENCES_MAX = 3;

/** Drives the same script of requests against the exchange directly and through an Oddswire fed by it. `tamper`: a mistake planted on our side. */
export function differential(seed: number, tamper?: Tamper): Promise<DifferentialVerdict> {
  return new Differential(seed).run(tamper);
}

class Differential {
  readonly #seed: number;
  readonly #random: Random;
  readonly #markets: OddMarkets;
  readonly #truth = new Truth();
  readonly #differences: string[] = [];
  readonly #figures = { requests: 0, published: 0, cuts: 0, images: 0, resumes: 0 };
  #pairs: Pair[] = [];
  #step = "";

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
    const own = seededRandom(randomInt(this.#random, 2 ** 32));
    const markets = 3 + randomInt(own, 6);
    this.#markets = new OddMarkets(own, { markets, marketsMax: 12, churning: randomInt(own, 2) });
  }

  async run(tamper?: Tamper): Promise<DifferentialVerdict> {
    const first = this.#markets.first();
    this.#learn(first);
    const segmentBytesMax = pick(this.#random, [300, 4_000, 64 * 1024]);
    const doors = await TwoDoors.open({ seed: this.#seed, segmentBytesMax, connectionsMax: PAIRS + 1 }, first);
    this.#pairs = Array.from({ length: PAIRS }, (_, i) => new Pair(doors, `client-${i}`, tamper));
    for (let step = 0; step < STEPS && this.#differences.length === 0; step++) {
      this.#step = `step ${step}:`;
      this.#act(doors, pick(this.#random, this.#pairs));
      doors.pass(REST_MS);
      this.#compare();
    }
    this.#figures.images = doors.gateway.hub.images;
    this.#figures.resumes = doors.gateway.hub.resumes;
    doors.stop();
    return { seed: this.#seed, differences: this.#differences, figures: this.#figures };
  }

  #act(doors: TwoDoors, pair: Pair): void {
    const chance = this.#random.next();
    if (chance < 0.4) return this.#publish(doors);
    if (!pair.isHere || chance < 0.42) return this.#enter(doors, pair);
    if (chance < 0.48) return this.#cut(doors, pair);
    if (chance < 0.52) return this.#ask(pair, pick(this.#random, WRONG));
    if (chance < 0.56) return this.#ask(pair, { op: "heartbeat" });
    if (chance < 0.6) return this.#wait(doors);
    this.#subscribe(pair);
  }

  #publish(doors: TwoDoors): void {
    const messages = pick(this.#random, [1, 1, 1, 2, 5]);
    this.#note(`${messages} messages are published`);
    for (let i = 0; i < messages; i++) {
      const changes = this.#markets.next();
      if (changes.length === 0) continue;
      this.#figures.published++;
      this.#learn(changes);
      doors.publish(changes);
    }
  }

  /** Connects and authenticates, mostly as it should be. */
  #enter(doors: TwoDoors, pair: Pair): void {
    pair.connect();
    doors.pass(REST_MS);
    const isRight = this.#random.next() < 0.9;
    const wrong = isRight
      ? {}
      : pick(this.#random, [{ appKey: "x" }, { session: "x" }, { session: null }, { appKey: 5 }]);
    this.#ask(pair, { op: "authentication", appKey: APP_KEY, session: SESSION, ...wrong });
  }

  /** Half of the time while something is on its way, of which a part may arrive. */
  #cut(doors: TwoDoors, pair: Pair): void {
    if (this.#random.next() < 0.5) this.#publish(doors);
    doors.pass(pick(this.#random, [0, 1, 2]));
    this.#note(`${pair.name} is cut off`);
    this.#figures.cuts++;
    pair.cut();
  }

  #wait(doors: TwoDoors): void {
    const ms = pick(this.#random, [600, 2_000, 6_000, 16_000]);
    this.#note(`${ms} ms pass`);
    doors.pass(ms);
  }

  #ask(pair: Pair, request: Record<string, unknown>): void {
    this.#note(`${pair.name} asks ${JSON.stringify(request)}`);
    this.#figures.requests++;
    pair.ask(request);
  }

  #subscribe(pair: Pair): void {
    const random = this.#random;
    const criteria = pair.criteria !== null && random.next() < 0.6 ? pair.criteria : randomCriteria(random);
    const clocks = pick(random, CLOCKS);
    const terms = randomTerms(random);
    this.#note(`${pair.name} subscribes to ${JSON.stringify({ ...criteria, ...terms, clocks })}`);
    this.#figures.requests++;
    pair.subscribe(random, criteria, terms, clocks);
  }

  #learn(changes: readonly MarketChange[]): void {
    const known = new Set(this.#truth.markets.keys());
    const before = this.#pairs.map((pair) => pair.members(this.#truth));
    this.#truth.publish(changes);
    for (const [i, pair] of this.#pairs.entries())
      pair.published(changes, this.#truth, before[i] as Set<string>, known);
  }

  #compare(): void {
    for (const pair of this.#pairs)
      for (const words of pair.compare(this.#truth))
        if (this.#differences.length < DIFFERENCES_MAX)
          this.#differences.push(`${this.#step}\n      ${pair.name}: ${words}`);
  }

  #note(words: string): void {
    this.#step += ` ${words};`;
  }
}

const FILTERS: readonly MarketFilter[] = [
  {},
  {},
  { eventTypeIds: ["1"] },
  { eventIds: ["31", "32"] },
  { marketTypes: ["WIN"] },
  { bspMarket: true },
  { bspMarket: false },
  { turnInPlayEnabled: false },
  { eventTypeIds: ["1", "2"], marketTypes: ["MATCH_ODDS"] },
  { raceTypes: ["NO_VALUE"] },
  { venues: ["Ascot"], countryCodes: [] },
  { marketIds: ["1.1", "1.3", "1.9", "1.404"] },
  { marketIds: ["1.1", "1.2", "1.10"], eventIds: ["31", "33"] },
];

function randomCriteria(random: Random): Criteria {
  const fields = random.next() < 0.3 ? undefined : FIELD_FLAGS.filter(() => random.next() < 0.4);
  const ladderLevels = pick(random, [undefined, 1, 2, 3, 10, 0, 11]);
  return { marketFilter: pick(random, FILTERS), marketDataFilter: { fields, ladderLevels } };
}

/** Terms that are in force as they were asked for, clamps included. */
function randomTerms(random: Random): Record<string, unknown> {
  return {
    conflateMs: pick(random, [null, 0, undefined, -1]),
    heartbeatMs: pick(random, [null, 500, 1_000, 5_000, 0, 99_999]),
    segmentationEnabled: pick(random, [null, true, true, false]),
  };
}

/** Requests that fail, one way or another. */
const WRONG: readonly Record<string, unknown>[] = [
  { op: "dance" },
  { op: null },
  {},
  { op: "authentication", appKey: APP_KEY, session: SESSION },
  { op: "marketSubscription", id: null },
  { op: "marketSubscription", id: "7" },
  { op: "marketSubscription", conflateMs: "0" },
  { op: "marketSubscription", marketFilter: { marketIds: "1.1" } },
  { op: "marketSubscription", marketFilter: [] },
  { op: "marketSubscription", marketDataFilter: { fields: ["EX_LPT"] } },
  { op: "marketSubscription", marketFilter: { marketIds: Array(20_001).fill("1.1") } },
  { op: "orderSubscription" },
  { op: "raceSubscription" },
  { op: "unsubscribe", subscription: 2 },
];
