import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import { firstDifference, type MarketChange, NaiveBook, type RunnerChange } from "../sim/naive.ts";
import { writeChanges } from "../wire/changes.ts";
import { decodeServerLine } from "../wire/esa.ts";
import { TextWriter } from "../wire/text.ts";
import { ChangeBatch } from "./batch.ts";
import type { Book } from "./book.ts";
import { Cache } from "./cache.ts";
import { changesSince } from "./changes.ts";
import { ALL_FIELDS, FIELD } from "./types.ts";

const ALL = { fields: ALL_FIELDS, ladderLevels: 10 };
const PRICES = [
  1.01, 1.02, 1.5, 2, 2.02, 3.05, 10, 50, 110, 400, 410, 990, 1000, 70.1621307023403, 0.5, 25_934, 25_935, -2.5,
];
const SIZES = [0, 0, 0.01, 2, 20.19, 339.6, 1e6, 42_949_672.95, 42_949_672.96, 1.005, 1e15];
const HOUR = 3_600_000;

/** A cache, and the plain book that it must equal. */
class Pair {
  now = 0;
  readonly cache: Cache;
  readonly naive = new Map<string, NaiveBook>();
  readonly batch = new ChangeBatch();

  constructor(options: { retentionMs?: number; forgetMs?: number; deletionsMax?: number } = {}) {
    const clock = { monotonic: () => this.now };
    this.cache = new Cache({ epoch: "e", clock, retentionMs: HOUR, forgetMs: HOUR, ...options });
  }

  apply(mc: MarketChange[], head: Record<string, unknown> = {}): void {
    const line = Buffer.from(JSON.stringify({ op: "mcm", pt: 1, ...head, mc }));
    expect(decodeServerLine(line, 0, line.length, this.batch)).toEqual({ kind: "change" });
    this.cache.apply(this.batch);
    this.cache.sweep();
    for (const change of mc) {
      if (!this.naive.has(change.id)) this.naive.set(change.id, new NaiveBook(change.id));
      this.naive.get(change.id)?.apply(change);
    }
  }
}

/** What a reader at `since` is sent for a market, as the exchange would write it; null when nothing changed. */
function sent(cache: Cache, id: string, since: number, projection = ALL): MarketChange | null {
  const batch = new ChangeBatch();
  const book = cache.get(id);
  if (book === undefined || !changesSince(book, since, projection, batch)) return null;
  const out = new TextWriter();
  writeChanges(batch, out);
  return JSON.parse(out.bytes.toString("latin1", 0, out.length)) as MarketChange;
}

function randomRunner(random: Random): RunnerChange {
  const list = (entry: () => number[]) => Array.from({ length: randomInt(random, 6) }, entry);
  const price = () => [pick(random, PRICES), pick(random, SIZES)];
  const level = () => [randomInt(random, 10), pick(random, PRICES), pick(random, SIZES)];
  const runner: Record<string, unknown> = { id: 1 + randomInt(random, 3) };
  if (random.next() < 0.3) runner.hc = pick(random, [0, -0.5, 1.25]);
  for (const name of ["atb", "atl", "trd", "spb", "spl"]) if (random.next() < 0.4) runner[name] = list(price);
  for (const name of ["batb", "bdatl"]) if (random.next() < 0.3) runner[name] = list(level);
  if (random.next() < 0.3) runner.ltp = pick(random, PRICES);
  if (random.next() < 0.3) runner.tv = pick(random, SIZES);
  if (random.next() < 0.2) runner.spn = pick<unknown>(random, ["NaN", "Infinity", 2.7134781902347]);
  if (random.next() < 0.2) runner.spf = null;
  return runner as unknown as RunnerChange;
}

function randomDefinition(random: Random, version: number) {
  return {
    status: pick(random, ["OPEN", "SUSPENDED", "OPEN", "OPEN"]),
    inPlay: random.next() < 0.5,
    version,
    eventName: "Kŏln – ≥ 1",
    runners: [{ id: 1, status: "ACTIVE", sortPriority: 1, bsp: pick<unknown>(random, ["NaN", 4.2]) }],
  };
}

function randomChange(random: Random, version: number): MarketChange {
  const change: Record<string, unknown> = { id: `1.${1 + randomInt(random, 2)}` };
  if (random.next() < 0.05) change.img = true;
  if (random.next() < 0.2 || change.img) change.marketDefinition = randomDefinition(random, version);
  if (random.next() < 0.2) change.tv = pick(random, SIZES);
  if (random.next() < 0.9) change.rc = Array.from({ length: 1 + randomInt(random, 3) }, () => randomRunner(random));
  return change as unknown as MarketChange;
}

function play(pair: Pair, random: Random, messages: number): void {
  for (let i = 0; i < messages; i++) {
    pair.now += 10;
    pair.apply(Array.from({ length: 1 + randomInt(random, 3) }, () => randomChange(random, i)));
  }
}

function agree(reader: NaiveBook, truth: NaiveBook): void {
  const difference = firstDifference(reader.state(), truth.state());
  if (difference !== null) throw new Error(`${truth.state().market}: ${difference}`);
}

describe("the cache holds what the exchange sent", () => {
  test("an image of any book, applied to nothing, is the naive book", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 60 }), (seed, messages) => {
        const pair = new Pair();
        play(pair, seededRandom(seed), messages);
        for (const [id, truth] of pair.naive) {
          const reader = new NaiveBook(id);
          reader.apply(sent(pair.cache, id, 0) as MarketChange);
          agree(reader, truth);
        }
      }),
      { numRuns: 200, includeErrorInReport: true },
    );
  });

  test("a reader cut after any message and told what changed since holds the same book", () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 400 }),
        (seed, before, after) => {
          const random = seededRandom(seed);
          const pair = new Pair({ retentionMs: pick(random, [50, HOUR]), deletionsMax: pick(random, [4, 64, 10_000]) });
          play(pair, random, before);
          const readers = new Map<string, NaiveBook>();
          const since = pair.cache.sequence;
          for (const id of pair.naive.keys()) {
            readers.set(id, new NaiveBook(id));
            readers.get(id)?.apply(sent(pair.cache, id, 0) as MarketChange);
          }
          play(pair, random, after);
          if (since < pair.cache.reach) return;
          for (const [id, truth] of pair.naive) {
            const change = sent(pair.cache, id, since);
            if (!readers.has(id)) readers.set(id, new NaiveBook(id));
            if (change !== null) readers.get(id)?.apply(change);
            agree(readers.get(id) as NaiveBook, truth);
          }
        },
      ),
      { numRuns: 300, includeErrorInReport: true },
    );
  });

  test("a reader told after every message, at random some twice, never differs", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = seededRandom(seed);
        const pair = new Pair();
        const readers = new Map<string, { book: NaiveBook; at: number }>();
        for (let i = 0; i < 40; i++) {
          play(pair, random, 1);
          for (const [id, truth] of pair.naive) {
            if (random.next() < 0.5) continue;
            const reader = readers.get(id) ?? { book: new NaiveBook(id), at: 0 };
            readers.set(id, reader);
            const overlap = randomInt(random, 3);
            const change = sent(pair.cache, id, Math.max(0, reader.at - overlap));
            if (change !== null) reader.book.apply(change);
            reader.at = pair.cache.sequence;
            agree(reader.book, truth);
          }
        }
      }),
      { numRuns: 100, includeErrorInReport: true },
    );
  });

  test("fields and depth give exactly their part of the book", () => {
    const pair = new Pair();
    play(pair, seededRandom(7), 200);
    for (const id of pair.naive.keys()) {
      const change = sent(pair.cache, id, 0, {
        fields: FIELD.EX_BEST_OFFERS | FIELD.EX_LTP,
        ladderLevels: 3,
      }) as MarketChange;
      const keys = new Set((change.rc ?? []).flatMap((runner) => Object.keys(runner)));
      for (const key of keys) expect(["id", "hc", "ltp", "batb", "batl"]).toContain(key);
      for (const { batb = [], batl = [] } of change.rc ?? [])
        for (const [level] of [...(batb ?? []), ...(batl ?? [])]) expect(level).toBeLessThan(3);
      expect("marketDefinition" in change || "tv" in change).toBe(false);
    }
  });

  test("an emptied level is said as [level, 0, 0], with every other level of its ladder", () => {
    const pair = new Pair();
    pair.apply([
      {
        id: "1.1",
        img: true,
        rc: [
          {
            id: 5,
            batb: [
              [0, 2, 10],
              [1, 1.9, 5],
              [2, 1.8, 1],
            ],
          },
        ],
      },
    ] as unknown as MarketChange[]);
    const since = pair.cache.sequence;
    pair.apply([{ id: "1.1", rc: [{ id: 5, batb: [[2, 0, 0]] }] }] as unknown as MarketChange[]);
    expect(sent(pair.cache, "1.1", since)?.rc?.[0]?.batb).toEqual([
      [0, 2, 10],
      [1, 1.9, 5],
      [2, 0, 0],
    ]);
    expect(sent(pair.cache, "1.1", since, { fields: ALL_FIELDS, ladderLevels: 2 })).toBeNull();
  });
});

/** A cache that follows another one: books come in pieces, between the batches that go on. */
class Joined extends Pair {
  readonly #left: string[];
  readonly #numbers: Cache;

  constructor(numbers: Cache) {
    super();
    this.#numbers = numbers;
    this.#left = [...numbers.books()].map(({ id }) => id).reverse();
    this.cache.beginSync(numbers.position);
  }

  /** One more book, or the word that all have come. True: that was all. */
  goOn(): boolean {
    const id = this.#left.pop();
    if (id === undefined) {
      this.cache.endSync();
      return true;
    }
    this.batch.clear();
    this.batch.kind = "image";
    changesSince(this.#numbers.get(id) as Book, 0, ALL, this.batch);
    this.cache.load(this.batch);
    return false;
  }
}

describe("who joined in the middle", () => {
  test("says the same as who was there from the beginning, byte for byte", () => {
    const projections = [ALL, { fields: FIELD.EX_BEST_OFFERS | FIELD.EX_ALL_OFFERS, ladderLevels: 3 }];
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 0, max: 30 }), (seed, messages) => {
        const random = seededRandom(seed);
        const first = new Pair();
        play(first, random, messages);
        const joined = new Joined(first.cache);
        const both = (): void => {
          const change = [randomChange(random, 1)];
          for (const pair of [first, joined]) pair.apply(change);
        };
        while (!joined.goOn()) for (let i = randomInt(random, 3); i > 0; i--) both();
        const { sequence } = joined.cache;
        for (let i = 0; i < 20; i++) {
          both();
          const since = sequence + randomInt(random, joined.cache.sequence - sequence);
          for (const projection of projections)
            for (const { id } of first.cache.books())
              expect(JSON.stringify(sent(joined.cache, id, since, projection))).toBe(
                JSON.stringify(sent(first.cache, id, since, projection)),
              );
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("positions", () => {
  test("sequence ages run out without a change being missed", () => {
    const pair = new Pair();
    const change = (price: number, size: number) =>
      [{ id: "1.1", rc: [{ id: 5, atb: [[price, size]] }] }] as unknown as MarketChange[];
    pair.apply([
      {
        id: "1.1",
        img: true,
        rc: [
          {
            id: 5,
            atb: [
              [2, 1],
              [3, 1],
              [4, 1],
            ],
          },
        ],
      },
    ] as unknown as MarketChange[]);
    for (let i = 0; i < 70_000; i++) pair.apply(change(2, i + 1));
    const since = pair.cache.sequence;
    pair.apply(change(3, 9));
    expect(sent(pair.cache, "1.1", since)?.rc?.[0]?.atb).toEqual([[3, 9]]);
  });

  test("lost tombstones make an image, and only for who needed them", () => {
    const pair = new Pair({ deletionsMax: 256 });
    const prices = Array.from({ length: 300 }, (_, i) => 1.01 + i / 100).map((price) => Math.round(price * 100) / 100);
    pair.apply([{ id: "1.1", img: true, rc: [{ id: 5, atb: [] }] }] as unknown as MarketChange[]);
    const start = pair.cache.sequence;
    for (const price of prices) {
      pair.apply([{ id: "1.1", rc: [{ id: 5, atb: [[price, 5]] }] }] as unknown as MarketChange[]);
      pair.apply([{ id: "1.1", rc: [{ id: 5, atb: [[price, 0]] }] }] as unknown as MarketChange[]);
    }
    expect(sent(pair.cache, "1.1", start)?.img).toBe(true);
    expect(sent(pair.cache, "1.1", pair.cache.sequence - 2)?.img).toBeUndefined();
    expect(sent(pair.cache, "1.1", start, { fields: FIELD.EX_LTP, ladderLevels: 3 })).toBeNull();
  });

  test("markets that an image does not list are gone, and remembered as lost", () => {
    const pair = new Pair();
    pair.apply(
      [
        { id: "1.1", img: true },
        { id: "1.2", img: true },
      ] as MarketChange[],
      { ct: "SUB_IMAGE" },
    );
    pair.apply([{ id: "1.1", img: true }] as MarketChange[], { ct: "SUB_IMAGE", segmentType: "SEG_START" });
    expect(pair.cache.get("1.2")).toBeDefined();
    expect(pair.cache.midGroup).toBe(true);
    pair.apply([{ id: "1.3", img: true }] as MarketChange[], { ct: "SUB_IMAGE", segmentType: "SEG_END" });
    expect([...pair.cache.books()].map((book) => book.id)).toEqual(["1.1", "1.3"]);
    expect(pair.cache.lost.map(({ id }) => id)).toEqual(["1.2"]);
  });

  test("an image broken off by a resume drops nothing", () => {
    const pair = new Pair();
    pair.apply(
      [
        { id: "1.1", img: true },
        { id: "1.2", img: true },
      ] as MarketChange[],
      { ct: "SUB_IMAGE" },
    );
    pair.apply([{ id: "1.1", img: true }] as MarketChange[], { ct: "SUB_IMAGE", segmentType: "SEG_START" });
    pair.apply([], { ct: "RESUB_DELTA" });
    expect(pair.cache.size).toBe(2);
  });

  test("positions older than the retention are out of reach", () => {
    const pair = new Pair({ retentionMs: 1000 });
    play(pair, seededRandom(3), 50);
    const since = pair.cache.sequence;
    pair.now += 900;
    expect(pair.cache.reach).toBeLessThanOrEqual(since);
    play(pair, seededRandom(4), 50);
    pair.now += 1100;
    expect(pair.cache.reach).toBeGreaterThan(since);
  });

  test("closed markets are forgotten after their time, and give their memory back", () => {
    const pair = new Pair({ retentionMs: 1000, forgetMs: 5000 });
    const before = pair.cache.bytesUsed;
    play(pair, seededRandom(5), 30);
    for (const id of pair.naive.keys())
      pair.apply([{ id, marketDefinition: { status: "CLOSED" } }] as unknown as MarketChange[]);
    pair.now += 4999;
    expect(pair.cache.sweep()).toEqual([]);
    pair.now += 1;
    expect(pair.cache.sweep().length).toBe(2);
    expect(pair.cache.bytesUsed).toBe(before);
  });
});
