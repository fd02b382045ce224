import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MarketBook } from "./book.ts";
import { marketChange } from "./testing/arbitrary.ts";
import { PlainBook, stateOf } from "./testing/plain.ts";

describe("a market book", () => {
  test("is the same as a plain one after any changes", () => {
    fc.assert(
      fc.property(fc.array(marketChange, { maxLength: 30 }), (changes) => {
        const [book, plain] = [new MarketBook("1.1"), new PlainBook("1.1")];
        for (const change of changes) {
          book.apply(change, 1);
          plain.apply(change);
        }
        expect(stateOf(book)).toEqual(plain.state());
      }),
      { numRuns: 300 },
    );
  });

  test("image then deltas equals a fresh image", () => {
    fc.assert(
      fc.property(fc.array(marketChange, { maxLength: 20 }), fc.nat(20), (changes, cut) => {
        const plain = new PlainBook("1.1");
        for (const change of changes.slice(0, cut)) plain.apply(change);
        const grown = new MarketBook("1.1");
        grown.apply(plain.image(), 1);
        for (const change of changes.slice(cut)) {
          grown.apply(change, 1);
          plain.apply(change);
        }
        const fresh = new MarketBook("1.1");
        fresh.apply(plain.image(), 1);
        expect(stateOf(grown)).toEqual(stateOf(fresh));
      }),
    );
  });

  test("reads as a trader reads it: back descending, lay ascending, traded ascending, levels by level", () => {
    const runner = bookOf({
      atb: [
        [1.9, 5],
        [2, 1],
        [1.8, 2],
      ],
      atl: [
        [2.2, 5],
        [2.1, 1],
      ],
      trd: [
        [3, 1],
        [2, 2],
      ],
      batb: [
        [1, 1.9, 5],
        [0, 2, 1],
      ],
    }).runner(7)!;
    expect(runner.atb.map(([price]) => price)).toEqual([2, 1.9, 1.8]);
    expect(runner.atl.map(([price]) => price)).toEqual([2.1, 2.2]);
    expect(runner.trd.map(([price]) => price)).toEqual([2, 3]);
    expect(runner.batb.map(([level]) => level)).toEqual([0, 1]);
  });

  test("takes the best prices from best offers, else from all offers, else from displayed ones", () => {
    expect(
      bookOf({ batb: [[0, 2, 1]], atb: [[1.9, 9]] })
        .runner(7)
        ?.best(3).back,
    ).toEqual([[2, 1]]);
    expect(
      bookOf({
        atb: [
          [1.9, 9],
          [2, 4],
          [1.8, 1],
        ],
      })
        .runner(7)
        ?.best(2).back,
    ).toEqual([
      [2, 4],
      [1.9, 9],
    ]);
    expect(
      bookOf({ bdatl: [[0, 2.1, 3]] })
        .runner(7)
        ?.best(3),
    ).toEqual({ back: [], lay: [[2.1, 3]] });
  });

  test("an empty trd clears the ladder, other empty lists say nothing", () => {
    const book = bookOf({ trd: [[2, 5]], atb: [[2, 5]], batl: [[0, 2, 5]] });
    book.apply({ id: "1.1", rc: [{ id: 7, trd: [], atb: [], batl: [] }] }, 2);
    const runner = book.runner(7)!;
    expect([runner.trd.length, runner.atb.length, runner.batl.length]).toEqual([0, 1, 1]);
  });

  test("NaN and Infinity come as strings and are numbers here; tv 0 is a value and null is none", () => {
    const book = bookOf({ spn: "NaN", spf: "Infinity", tv: 5, ltp: 2 });
    book.apply({ id: "1.1", rc: [{ id: 7, tv: 0, ltp: null }] }, 2);
    const { spn, spf, tv, ltp } = book.runner(7)!;
    expect([spn, spf, tv, ltp]).toEqual([Number.NaN, Number.POSITIVE_INFINITY, 0, 2]);
  });

  test("runners of the definition stand in its order, keyed by id and handicap", () => {
    const book = new MarketBook("1.1");
    const runners = [
      { id: 9, hc: -1.5, sortPriority: 2, name: "B" },
      { id: 9, hc: 1.5, sortPriority: 1, name: "A" },
    ];
    book.apply({ id: "1.1", marketDefinition: { status: "OPEN", runners } }, 1);
    expect(book.inOrder().map((runner) => runner.name)).toEqual(["A", "B"]);
    expect(book.runner(9, -1.5)?.name).toBe("B");
    expect(book.runner(9)).toBeUndefined();
  });

  test("is bettable only while open and not stale", () => {
    const feed = { stale: false };
    const book = new MarketBook("1.1", feed);
    expect(book.bettable).toBe(false);
    book.apply({ id: "1.1", marketDefinition: { status: "OPEN", inPlay: true, version: 3 } }, 5);
    expect([book.bettable, book.suspended, book.inPlay, book.version, book.publishTime]).toEqual([
      true,
      false,
      true,
      3,
      5,
    ]);
    feed.stale = true;
    expect([book.bettable, book.stale]).toEqual([false, true]);
    feed.stale = false;
    book.apply({ id: "1.1", marketDefinition: { status: "SUSPENDED" } }, 6);
    expect([book.bettable, book.suspended]).toEqual([false, true]);
  });

  test("an image forgets everything it does not say", () => {
    const book = bookOf({ atb: [[2, 5]], ltp: 2 });
    book.apply({ id: "1.1", img: true, rc: [{ id: 8, ltp: 3 }] }, 2);
    expect([...book.runners].map((runner) => runner.id)).toEqual([8]);
    expect([book.definition, book.totalMatched]).toEqual([null, null]);
  });
});

function bookOf(runner: object): MarketBook {
  const book = new MarketBook("1.1");
  book.apply({ id: "1.1", tv: 10, marketDefinition: { status: "OPEN" }, rc: [{ id: 7, ...runner }] }, 1);
  return book;
}
