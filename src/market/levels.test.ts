import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import { firstDifference, type LevelPriceSize, type MarketChange, NaiveBook, type RunnerChange } from "../sim/naive.ts";
import { shownState, withoutBare } from "../sim/shown.ts";
import { writeChanges } from "../wire/changes.ts";
import { decodeServerLine } from "../wire/esa.ts";
import { TextWriter } from "../wire/text.ts";
import { ChangeBatch } from "./batch.ts";
import { Cache } from "./cache.ts";
import { changesSince } from "./changes.ts";
import { FIELD } from "./types.ts";

const ID = "1.1";
const HOUR = 3_600_000;

/** A market in the cache, and the plain book that readers' levels must be the best of. */
class Pair {
  readonly cache: Cache;
  readonly naive = new NaiveBook(ID);
  readonly #batch = new ChangeBatch();

  constructor(deletionsMax = 10_000) {
    const clock = { monotonic: () => 0 };
    this.cache = new Cache({ epoch: "e", clock, retentionMs: HOUR, forgetMs: HOUR, deletionsMax });
  }

  apply(rc: RunnerChange[], img = false): void {
    const change = { id: ID, ...(img && { img }), rc };
    const line = Buffer.from(JSON.stringify({ op: "mcm", pt: 1, mc: [change] }));
    expect(decodeServerLine(line, 0, line.length, this.#batch)).toEqual({ kind: "change" });
    this.cache.apply(this.#batch);
    this.naive.apply(change);
  }

  /** What a reader at `since` who asked for EX_BEST_OFFERS is sent; null when nothing. */
  sent(since: number, ladderLevels: number): MarketChange | null {
    const batch = new ChangeBatch();
    const book = this.cache.get(ID);
    const projection = { fields: FIELD.EX_BEST_OFFERS, ladderLevels };
    if (book === undefined || !changesSince(book, since, projection, batch)) return null;
    const out = new TextWriter();
    writeChanges(batch, out);
    return JSON.parse(out.bytes.toString("latin1", 0, out.length)) as MarketChange;
  }
}

/** Somebody who was told at some moments. */
class Reader {
  readonly #pair: Pair;
  readonly #depth: number;
  readonly book = new NaiveBook(ID);
  at = 0;

  constructor(pair: Pair, depth: number) {
    this.#pair = pair;
    this.#depth = depth;
  }

  /** Asks what changed since its last time, or a little before: who resumes may have seen more than its clk says. */
  catchUp(overlap = 0): MarketChange | null {
    const change = this.#pair.sent(Math.max(0, this.at - overlap), this.#depth);
    if (change !== null) this.book.apply(change);
    this.at = this.#pair.cache.sequence;
    return change;
  }

  agree(): void {
    const right = shownState(this.#pair.naive, ["EX_BEST_OFFERS"], this.#depth);
    const difference = firstDifference(right, withoutBare(this.book.state()));
    if (difference !== null) throw new Error(difference);
  }
}

type Upstream = "offers" | "levels" | "both" | "anything";
const UPSTREAMS: readonly Upstream[] = ["offers", "levels", "both", "anything"];
const PRICES = [1.01, 1.5, 2, 2.02, 3.05, 10, 50, 110, 410, 1000, 70.1621307023403, -2.5, 12, 13, 14, 15, 16];
const SIZES = [0, 0, 0, 0.01, 2, 20.19, 1e15];

/** Messages of an exchange that sends the offers, the levels, both as they belong together, or anything at any time. */
function play(pair: Pair, random: Random, upstream: Upstream, messages: number): void {
  for (let i = 0; i < messages; i++) {
    const img = random.next() < 0.02;
    const rc = Array.from({ length: 1 + randomInt(random, 2) }, () => randomRunner(random, upstream));
    pair.apply(rc, img);
    if (upstream === "both") pair.apply(rc.flatMap(({ id }) => levelsOf(pair.naive, id)));
  }
}

function randomRunner(random: Random, upstream: Upstream): RunnerChange {
  const list = <Entry>(entry: () => Entry) => Array.from({ length: randomInt(random, 5) }, entry);
  const price = () => [pick(random, PRICES), pick(random, SIZES)] as const;
  const level = () => [randomInt(random, 10), pick(random, PRICES), pick(random, SIZES)] as const;
  const offers = upstream === "levels" ? {} : { atb: list(price), atl: list(price) };
  const hasLevels = upstream === "levels" || (upstream === "anything" && random.next() < 0.3);
  const emptied = Array.from({ length: 10 }, (_, at) => [at, 0, 0] as const);
  const levels =
    upstream === "anything" && random.next() < 0.3 ? { batb: emptied } : { batb: list(level), batl: list(level) };
  return { id: 1 + randomInt(random, 2), ...offers, ...(hasLevels && levels) };
}

/** The levels that go with a runner's offers, all ten of each side. */
function levelsOf(book: NaiveBook, id: number): RunnerChange[] {
  const { atb = [], atl = [] } = book.state().runners.find((runner) => runner.id === id) ?? {};
  const levels = (offers: readonly (readonly [number, number])[]) =>
    Array.from({ length: 10 }, (_, at): LevelPriceSize => [at, ...(offers[at] ?? ([0, 0] as const))]);
  return [{ id, batb: levels(atb), batl: levels(atl) }];
}

describe("level ladders", () => {
  for (const upstream of UPSTREAMS) {
    test(`are the best of the book for who is told at any moments, where the exchange sends ${upstream}`, () => {
      fc.assert(
        fc.property(fc.integer(), fc.integer({ min: 1, max: 10 }), (seed, depth) => {
          const random = seededRandom(seed);
          const pair = new Pair(pick(random, [4, 64, 10_000]));
          const [inStep, behind] = [new Reader(pair, depth), new Reader(pair, depth)];
          for (let i = 0; i < 40; i++) {
            play(pair, random, upstream, 1);
            inStep.catchUp(randomInt(random, 3));
            inStep.agree();
            if (random.next() < 0.7) continue;
            behind.catchUp();
            behind.agree();
          }
          const late = new Reader(pair, depth);
          expect(JSON.stringify(late.catchUp() ?? {})).not.toContain(",0,0]");
          for (const reader of [late, inStep, behind]) {
            reader.catchUp();
            reader.agree();
          }
        }),
        { numRuns: 100, includeErrorInReport: true },
      );
    });
  }

  test("cost no message when nothing within the depth changed", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 4 }), (seed, depth) => {
        const random = seededRandom(seed);
        const pair = new Pair();
        pair.apply([{ id: 1, atb: PRICES.map((price) => [price, 5]) }], true);
        const since = pair.cache.sequence;
        const shown = JSON.stringify(shownState(pair.naive, ["EX_BEST_OFFERS"], depth));
        const deep = [...PRICES].sort((a, b) => b - a).slice(depth);
        for (let i = 0; i < 10; i++) pair.apply([{ id: 1, atb: [[pick(random, deep), pick(random, SIZES)]] }]);
        expect(JSON.stringify(shownState(pair.naive, ["EX_BEST_OFFERS"], depth))).toBe(shown);
        expect(pair.sent(since, depth)).toBeNull();
      }),
    );
  });

  test("come best first, each side by itself, with exact sizes", () => {
    const pair = new Pair();
    const atb = [2, 1.9, 1.8, 1.7].map((price) => [price, 0.37] as const);
    const atl = [2.2, 2.1].map((price) => [price, price * 10] as const);
    pair.apply([{ id: 5, atb, atl }], true);
    const runner = pair.sent(0, 3)?.rc?.[0];
    expect(runner).toEqual({
      id: 5,
      batb: [
        [0, 2, 0.37],
        [1, 1.9, 0.37],
        [2, 1.8, 0.37],
      ],
      batl: [
        [0, 2.1, 21],
        [1, 2.2, 22],
      ],
    });
  });

  test("say [level, 0, 0] for the ones that emptied, and for no more than can have been there", () => {
    const pair = new Pair();
    pair.apply(
      [
        {
          id: 5,
          atb: [
            [2, 1],
            [1.9, 1],
            [1.8, 1],
          ],
        },
      ],
      true,
    );
    const since = pair.cache.sequence;
    pair.apply([{ id: 5, atb: [[1.9, 0]] }]);
    expect(pair.sent(since, 10)?.rc).toEqual([
      {
        id: 5,
        batb: [
          [0, 2, 1],
          [1, 1.8, 1],
          [2, 0, 0],
        ],
      },
    ]);
    expect(pair.sent(since, 2)?.rc).toEqual([
      {
        id: 5,
        batb: [
          [0, 2, 1],
          [1, 1.8, 1],
        ],
      },
    ]);
    expect(pair.sent(since, 1)).toBeNull();
  });

  test("give way to the exchange's own at the first of them, and come back when it shows none any more", () => {
    const pair = new Pair();
    pair.apply(
      [
        {
          id: 5,
          atb: [
            [2, 1],
            [1.9, 1],
            [1.8, 1],
          ],
        },
      ],
      true,
    );
    const computed = pair.cache.sequence;
    pair.apply([{ id: 5, batb: [[0, 1.95, 7]] }]);
    const own = pair.cache.sequence;
    expect(pair.sent(computed, 10)?.rc).toEqual([
      {
        id: 5,
        batb: [
          [0, 1.95, 7],
          [1, 0, 0],
          [2, 0, 0],
        ],
      },
    ]);
    pair.apply([{ id: 5, atb: [[2, 3]] }]);
    expect(pair.sent(own, 10)).toBeNull();
    pair.apply([{ id: 5, batb: [[0, 0, 0]] }]);
    expect(pair.sent(own, 10)?.rc).toEqual([
      {
        id: 5,
        batb: [
          [0, 2, 3],
          [1, 1.9, 1],
          [2, 1.8, 1],
        ],
      },
    ]);
  });

  test("never make up virtual prices", () => {
    const pair = new Pair();
    pair.apply([{ id: 5, atb: [[2, 1]], atl: [[3, 1]] }], true);
    const batch = new ChangeBatch();
    const book = pair.cache.get(ID);
    const fields = FIELD.EX_BEST_OFFERS_DISP | FIELD.EX_ALL_OFFERS;
    if (book === undefined || !changesSince(book, 0, { fields, ladderLevels: 10 }, batch)) throw new Error("nothing");
    const out = new TextWriter();
    writeChanges(batch, out);
    expect(JSON.parse(out.bytes.toString("latin1", 0, out.length)).rc).toEqual([
      { id: 5, atb: [[2, 1]], atl: [[3, 1]] },
    ]);
  });
});
