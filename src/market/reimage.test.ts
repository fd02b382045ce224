import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type MarketChange, NaiveBook, type RunnerChange } from "../sim/naive.ts";
import { writeChanges } from "../wire/changes.ts";
import { decodeServerLine } from "../wire/esa.ts";
import { TextWriter } from "../wire/text.ts";
import { ChangeBatch } from "./batch.ts";
import { Cache } from "./cache.ts";
import { changesSince } from "./changes.ts";
import { ALL_FIELDS } from "./types.ts";

const ID = "1.1";
const HOUR = 3_600_000;
const WHOLE = { fields: ALL_FIELDS, ladderLevels: 10 };

const size = fc.integer({ min: 0, max: 3 });
const prices = fc.array(fc.tuple(fc.constantFrom(1.5, 2, 2.5, 70.1621307623403), size), { maxLength: 4 });
const levels = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.constantFrom(1.5, 2), size), { maxLength: 4 });
const runner: fc.Arbitrary<RunnerChange> = fc.record(
  {
    id: fc.constantFrom(1, 2, 3),
    hc: fc.constantFrom(0, -1.5),
    ltp: fc.constantFrom(1.5, 2),
    tv: size,
    spn: fc.constantFrom<number | string>(2, "NaN"),
    atb: prices,
    trd: prices.filter((rows) => rows.length > 0),
    spl: prices,
    batb: levels,
  },
  { requiredKeys: ["id"] },
);
const market: fc.Arbitrary<MarketChange> = fc.record(
  {
    id: fc.constant(ID),
    tv: size,
    marketDefinition: fc.record({ status: fc.constantFrom("OPEN", "SUSPENDED"), version: size }),
    rc: fc.array(runner, { maxLength: 4 }),
  },
  { requiredKeys: ["id"] },
);

class Exchange {
  readonly cache = new Cache({ epoch: "e", clock: { monotonic: () => 0 }, retentionMs: HOUR, forgetMs: HOUR });
  readonly #batch = new ChangeBatch();

  says(ct: string | undefined, ...mc: readonly MarketChange[]): void {
    const line = Buffer.from(JSON.stringify({ op: "mcm", ct, pt: 1, clk: "c", mc }));
    expect(decodeServerLine(line, 0, line.length, this.#batch)).toEqual({ kind: "change" });
    this.cache.apply(this.#batch);
  }

  /** What somebody at `since` is sent; null when nothing. */
  since(since: number): MarketChange | null {
    const [batch, out] = [new ChangeBatch(), new TextWriter()];
    const book = this.cache.get(ID);
    if (book === undefined || !changesSince(book, since, WHOLE, batch)) return null;
    writeChanges(batch, out);
    return JSON.parse(out.bytes.toString("latin1", 0, out.length)) as MarketChange;
  }
}

/** A runner without values is no difference between books: an image may name one. */
function stateOf(changes: readonly MarketChange[]): unknown {
  const book = new NaiveBook(ID);
  for (const change of changes) book.apply(change);
  const state = book.state();
  return { ...state, runners: state.runners.filter((runner) => Object.keys(runner).length > 2) };
}

describe("an image of what is held", () => {
  test("makes the book what it says, for newcomers and for those in step", () => {
    fc.assert(
      fc.property(fc.array(market, { minLength: 1, maxLength: 4 }), market, (before, after) => {
        const exchange = new Exchange();
        exchange.says("SUB_IMAGE", { ...(before[0] as MarketChange), img: true });
        exchange.says(undefined, ...before.slice(1));
        const told = exchange.cache.sequence;
        const held = exchange.since(0) as MarketChange;
        exchange.says("SUB_IMAGE", { ...after, img: true });
        const wanted = stateOf([{ ...after, img: true }]);
        expect(stateOf([exchange.since(0) as MarketChange])).toEqual(wanted);
        const news = exchange.since(told);
        expect(stateOf(news === null ? [held] : [held, news])).toEqual(wanted);
      }),
      { numRuns: 1_000 },
    );
  });

  const image: MarketChange = {
    id: ID,
    img: true,
    tv: 5,
    marketDefinition: { status: "OPEN", version: 1 },
    rc: [
      {
        id: 1,
        ltp: 2,
        atb: [
          [1.5, 2],
          [2, 3],
        ],
        batb: [
          [0, 2, 3],
          [1, 1.5, 2],
        ],
      },
    ],
  };

  test("costs those in step what changed, and says that it was merged", () => {
    const exchange = new Exchange();
    exchange.says("SUB_IMAGE", image);
    exchange.says("SUB_IMAGE", image);
    expect(exchange.since(1)).toBeNull();
    exchange.says("SUB_IMAGE", { ...image, rc: [{ id: 1, ltp: 2, atb: [[2, 4]], batb: [[0, 2, 4]] }] });
    expect(exchange.since(1)).toEqual({
      id: ID,
      rc: [
        {
          id: 1,
          atb: [
            [2, 4],
            [1.5, 0],
          ],
          batb: [
            [0, 2, 4],
            [1, 0, 0],
          ],
        },
      ],
    });
    expect(exchange.cache.get(ID)?.conflated).toBe(exchange.cache.sequence);
  });

  test("comes as an image where a value is no more, as no change could say that", () => {
    for (const gone of [
      { ...image, rc: [] },
      { ...image, tv: null },
      { ...image, rc: [{ id: 1, atb: [[2, 4] as const] }] },
    ]) {
      const exchange = new Exchange();
      exchange.says("SUB_IMAGE", image);
      exchange.says("SUB_IMAGE", gone);
      expect(exchange.since(1)?.img).toBe(true);
    }
  });

  test("of one market in mid-stream is passed on as one", () => {
    const exchange = new Exchange();
    exchange.says("SUB_IMAGE", image);
    exchange.says(undefined, image);
    expect(exchange.since(1)?.img).toBe(true);
  });
});

describe("several streams of one source", () => {
  const market = (id: string, ltp: number, img = true): MarketChange => ({
    id,
    ...(img && { img }),
    rc: [{ id: 1, ltp }],
  });

  function twoStreams() {
    const cache = new Cache({ epoch: "e", clock: { monotonic: () => 0 }, retentionMs: HOUR, forgetMs: HOUR });
    const batch = new ChangeBatch();
    const say = (shard: number, pt: number, ct: string | undefined, mc: MarketChange[], segmentType?: string) => {
      const line = Buffer.from(JSON.stringify({ op: "mcm", ct, pt, segmentType, clk: "c", mc }));
      decodeServerLine(line, 0, line.length, batch);
      batch.shard = shard;
      cache.apply(batch);
      return [...cache.books()].map((book) => `${book.id}=${book.scalar(book.firstRunner, 1)}`).sort();
    };
    return { cache, say };
  }

  test("have images of their own: one does not take the other's markets away", () => {
    const { say } = twoStreams();
    say(0, 1, "SUB_IMAGE", [market("1.1", 2), market("1.2", 2)]);
    say(1, 1, "SUB_IMAGE", [market("1.3", 2)]);
    expect(say(0, 2, "SUB_IMAGE", [market("1.1", 2)])).toEqual(["1.1=2", "1.3=2"]);
  });

  test("speak for a market one at a time: another takes it over with an image that is not older", () => {
    const { say } = twoStreams();
    say(0, 5, "SUB_IMAGE", [market("1.1", 2)]);
    expect(say(1, 6, undefined, [market("1.1", 3, false), market("1.2", 9)])).toEqual(["1.1=2", "1.2=9"]);
    expect(say(1, 4, undefined, [market("1.1", 3)])).toEqual(["1.1=2", "1.2=9"]);
    expect(say(1, 5, undefined, [market("1.1", 4)])).toEqual(["1.1=4", "1.2=9"]);
    expect(say(0, 7, undefined, [market("1.1", 5, false)])).toEqual(["1.1=4", "1.2=9"]);
    expect(say(0, 8, "SUB_IMAGE", [])).toEqual(["1.1=4", "1.2=9"]);
  });

  test("have groups of their own, and nothing is complete while one is open", () => {
    const { cache, say } = twoStreams();
    say(0, 1, "SUB_IMAGE", [market("1.1", 2)], "SEG_START");
    say(1, 1, "SUB_IMAGE", [market("1.2", 2)]);
    expect(cache.midGroup).toBe(true);
    expect(say(0, 2, "SUB_IMAGE", [market("1.3", 2)], "SEG_END")).toEqual(["1.1=2", "1.2=2", "1.3=2"]);
    expect(cache.midGroup).toBe(false);
  });
});
