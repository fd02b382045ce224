import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ShadowBook } from "./shadow-book.ts";
import { Pair } from "./shadow-pair.ts";

const TERMS = { lateMs: 1_000, staleMs: 5_000, graceMs: 3_000, conflateMs: 0 };
const MARKET = "1.1";

/** A pair whose books hold an ltp for each of a few runners: `direct([7, 2.5])` sets runner 7's. */
class Bench {
  now = 0;
  readonly found: string[] = [];
  readonly words: string[] = [];
  readonly latencies: number[] = [];
  conflated = 0;
  unjudged = 0;
  readonly pair: Pair;

  constructor(terms: Partial<typeof TERMS> = {}) {
    this.pair = new Pair(MARKET, {
      terms: { ...TERMS, ...terms },
      directPt: () => this.now,
      found: (_, kind, what) => {
        this.found.push(kind);
        this.words.push(what);
      },
      matched: (ms) => void this.latencies.push(ms),
      conflated: (states) => void (this.conflated += states),
      unjudged: (states) => void (this.unjudged += states),
    });
  }

  /** Both sides hold this, and are followed. */
  static following(terms: Partial<typeof TERMS> = {}): Bench {
    const bench = new Bench(terms);
    bench.pair.direct = new ShadowBook(MARKET);
    bench.pair.through = new ShadowBook(MARKET);
    bench.direct([1, 1]);
    bench.through([1, 1]);
    bench.pair.begin(bench.now);
    bench.pass(2_000 + 2 * (terms.conflateMs ?? 0));
    bench.found.length = 0;
    return bench;
  }

  direct(value: readonly [runner: number, ltp: number], merged = false): this {
    return this.#move(this.pair.direct as ShadowBook, value, merged, (move) => this.pair.directMoved(move));
  }

  through(value: readonly [runner: number, ltp: number], merged = false): this {
    return this.#move(this.pair.through as ShadowBook, value, merged, (move) => this.pair.throughMoved(move));
  }

  pass(ms: number): this {
    for (const end = this.now + ms; this.now < end; this.now += 50) this.pair.due(this.now);
    return this;
  }

  #move(
    book: ShadowBook,
    [id, ltp]: readonly [number, number],
    merged: boolean,
    tell: (move: Parameters<Pair["directMoved"]>[0]) => void,
  ): this {
    const { hash } = book;
    const said: number[] = [];
    book.apply({ id: MARKET, rc: [{ id, ltp }] }, false, said);
    if (book.hash !== hash) tell({ at: this.now, pt: this.now, merged, same: false, said });
    return this;
  }
}

describe("two sides that say the same", () => {
  test("are followed, whoever is ahead, and the time between is the latency", () => {
    const bench = Bench.following();
    bench.direct([1, 2]).pass(50).through([1, 2]);
    bench.through([1, 3]).pass(100).direct([1, 3]);
    expect([bench.latencies, bench.found, bench.pair.held]).toEqual([[50, -100], [], 0]);
  });

  // Few values, so that states come again and again: the case in which it is easy to take one for another.
  const step = fc.record({
    value: fc.tuple(fc.constantFrom(1, 2), fc.constantFrom(1, 2, 3)),
    waitMs: fc.constantFrom(0, 20, 50, 300),
  });
  const lagMs = fc.constantFrom(-400, -50, 0, 50, 400);

  test("have no finding, however often a state comes again, in a stream that is not merged", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), lagMs, (steps, lag) => {
        const bench = Bench.following();
        run(bench, steps, lag, 0);
        expect([bench.found, bench.unjudged, bench.conflated, bench.pair.held]).toEqual([[], 0, 0, 0]);
      }),
    );
  });

  test("nor in one that is merged and says so, or conflated as it was asked to be", () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.constantFrom(0, 50, 400),
        fc.constantFrom(100, 500),
        fc.boolean(),
        (steps, lag, every, conflated) => {
          const bench = Bench.following(conflated ? { conflateMs: every } : {});
          run(bench, steps, lag, every);
          expect([bench.found, bench.unjudged]).toEqual([[], 0]);
        },
      ),
    );
  });
});

describe("a fault is one finding", () => {
  test("a delta lost and never made good", () => {
    const bench = Bench.following();
    bench.direct([2, 5]).direct([3, 6]).pass(50).through([3, 6]).pass(8_000);
    expect(bench.found).toEqual(["dropped"]);
    expect(bench.words).toEqual([
      "a change of the direct side never came: runner 2 ltp: 5 direct, nothing through Oddswire",
    ]);
    bench.direct([3, 7]).through([3, 7]).pass(8_000);
    expect(bench.found).toEqual(["dropped"]);
  });

  test("a delta lost and overwritten by the next", () => {
    const bench = Bench.following();
    bench.direct([2, 5]).direct([2, 6]).pass(50).through([2, 6]).pass(8_000);
    expect(bench.found).toEqual(["dropped"]);
  });

  test("the last delta lost", () => {
    expect(Bench.following().direct([2, 5]).pass(8_000).found).toEqual(["dropped"]);
  });

  test("a change that comes and goes on the direct side alone", () => {
    expect(Bench.following().direct([1, 5]).direct([1, 1]).pass(8_000).found).toEqual(["dropped"]);
    expect(Bench.following({ conflateMs: 500 }).direct([1, 5]).direct([1, 1]).pass(8_000).found).toEqual([]);
  });

  test("a wrong value, made good by the next or not", () => {
    const bench = Bench.following();
    bench.direct([2, 5]).through([2, 50]).pass(100).direct([2, 6]).through([2, 6]).pass(8_000);
    expect([bench.found, bench.words]).toEqual([["wrong"], ["runner 2 ltp: 5 direct, 50 through Oddswire"]]);
    expect(Bench.following().direct([2, 5]).through([2, 50]).pass(8_000).found).toEqual(["wrong"]);
    expect(Bench.following().through([2, 50]).pass(100).through([1, 9]).pass(8_000).found).toEqual(["wrong"]);
  });

  test("a value from before", () => {
    const bench = Bench.following();
    bench.direct([2, 5]).through([2, 5]).direct([2, 6]).through([2, 6]).direct([3, 1]).through([3, 1]);
    expect(bench.through([2, 5]).pass(8_000).found).toEqual(["back in time"]);
  });

  test("late, once until one is in time again", () => {
    const bench = Bench.following();
    const late = (ltp: number) => bench.direct([2, ltp]).pass(1_500).through([2, ltp]);
    late(5);
    late(6);
    expect(bench.found).toEqual(["late"]);
    bench.direct([2, 7]).through([2, 7]);
    late(8);
    expect(bench.found).toEqual(["late", "late"]);
  });

  test("stale, and followed again when it moves on", () => {
    const bench = Bench.following();
    for (let ltp = 2; ltp < 100; ltp++) bench.direct([1, ltp]).pass(200);
    expect(bench.found).toEqual(["stale"]);
    for (let ltp = 100; ltp < 150; ltp++) bench.direct([1, ltp]).through([1, ltp]).pass(200);
    expect(bench.found).toEqual(["stale"]);
    expect(bench.latencies.length).toBeGreaterThan(30);
  });

  test("on one side alone, but for a closed market", () => {
    for (const [side, kind] of [["direct", "missing"], ["through", "extra"]] as const) // biome-ignore format: a table
      for (const status of ["OPEN", "CLOSED"]) {
        const bench = new Bench();
        const book = new ShadowBook(MARKET);
        book.apply({ id: MARKET, marketDefinition: { status } }, true, []);
        bench.pair[side] = book;
        bench.pair.begin(0);
        expect(bench.pass(10_000).found).toEqual(status === "OPEN" ? [kind] : []);
      }
  });

  test("books that differ from the beginning", () => {
    const bench = new Bench();
    bench.pair.direct = new ShadowBook(MARKET);
    bench.pair.through = new ShadowBook(MARKET);
    bench.direct([1, 1]).through([1, 2]);
    bench.pair.begin(0);
    expect(bench.pass(20_000).found).toEqual(["wrong"]);
    expect(bench.pair.compared).toBe(true);
  });
});

describe("what nobody can know is not judged", () => {
  test("a state between two that the direct side has merged", () => {
    const bench = Bench.following();
    bench.through([2, 5]).through([2, 6]).pass(50).direct([2, 6], true).pass(8_000);
    expect([bench.found, bench.unjudged]).toEqual([[], 1]);
  });

  test("a state that the direct stream has not come to yet", () => {
    const bench = Bench.following();
    (bench.pair.through as ShadowBook).apply({ id: MARKET, rc: [{ id: 1, ltp: 9 }] }, false, []);
    bench.pair.throughMoved({ at: bench.now, pt: bench.now + 60_000, merged: false, same: false, said: [] });
    expect(bench.pass(20_000).found).toEqual([]);
    bench.direct([1, 9]);
    expect([bench.found, bench.latencies, bench.pair.held]).toEqual([[], [-20_000], 0]);
  });
});

interface Step {
  readonly value: readonly [number, number];
  readonly waitMs: number;
}

/** Plays steps on the direct side, and so much later (or earlier) through; `everyMs` > 0: there merged, and flushed so often. */
function run(bench: Bench, steps: readonly Step[], lagMs: number, everyMs: number): void {
  const events: { at: number; side: "direct" | "through"; value: readonly [number, number] }[] = [];
  let at = bench.now + 1_000;
  for (const { value, waitMs } of steps) {
    events.push({ at, side: "direct", value }, { at: at + lagMs, side: "through", value });
    at += waitMs;
  }
  const end = at + 20_000;
  const pending: (readonly [number, number])[] = [];
  events.sort((a, b) => a.at - b.at);
  for (; bench.now < end; bench.now += 10) {
    while (events[0] !== undefined && events[0].at <= bench.now) {
      const { side, value } = events.shift() as (typeof events)[number];
      if (side === "direct") bench.direct(value);
      else if (everyMs === 0) bench.through(value);
      else pending.push(value);
    }
    if (everyMs > 0 && bench.now % everyMs === 0) flush(bench, pending.splice(0));
    bench.pair.due(bench.now);
  }
}

function flush(bench: Bench, values: readonly (readonly [number, number])[]): void {
  if (values.length === 0) return;
  const book = bench.pair.through as ShadowBook;
  const { hash } = book;
  const said: number[] = [];
  for (const [id, ltp] of values) book.apply({ id: MARKET, rc: [{ id, ltp }] }, false, said);
  const [same, merged] = [book.hash === hash, values.length > 1];
  if (!same || merged) bench.pair.throughMoved({ at: bench.now, pt: bench.now, merged, same, said });
}
