import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { differenceWords, hashAt, isMarketChange, type MarketChange, ShadowBook } from "./shadow-book.ts";

const price = fc.constantFrom(1.5, 2, 3.2, 70.1621307023403);
const size = fc.constantFrom(0, 0.01, 2, 30);
const rows = fc.array(fc.tuple(price, size), { maxLength: 5 });
const levels = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), price, size), { maxLength: 5 });
const optional = { requiredKeys: ["id"] as ["id"] };
const runner = fc.record(
  {
    id: fc.integer({ min: 1, max: 3 }),
    hc: fc.constantFrom(0, -0.5),
    tv: size,
    spn: fc.constantFrom("NaN", 2.5),
    atb: rows,
    trd: rows,
    bdatl: levels,
  },
  optional,
);
const change: fc.Arbitrary<MarketChange> = fc.record(
  {
    id: fc.constant("1.1"),
    img: fc.constantFrom(false, false, true),
    tv: size,
    marketDefinition: fc.record({
      status: fc.constantFrom("OPEN", "SUSPENDED"),
      runners: fc.array(fc.record({ id: fc.nat(3) }), { maxLength: 2 }),
    }),
    rc: fc.array(runner, { maxLength: 3 }),
  },
  optional,
);

describe("a shadow book's hash", () => {
  test("is that of its content: the same content by other ways has the same one, another content another", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
        const [book, copied] = [played(changes), new ShadowBook("1.1")];
        copied.copy(book);
        const rebuilt = new ShadowBook("1.1");
        // What differs from an empty book is all there is, each value once.
        expect(sum([...book.differences(rebuilt)].map(({ place, here }) => hashAt(place, here)))).toBe(book.hash);
        expect(copied.hash).toBe(book.hash);
        expect([...book.differences(copied)]).toEqual([]);
      }),
    );
  });

  test("changes with any value, and comes back with it", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), change, (changes, last) => {
        const [before, after] = [played(changes), played([...changes, last])];
        expect(before.hash === after.hash).toBe(full(before) === full(after));
      }),
    );
  });

  test("does not see the order of keys, nulls, a level that is taken away again, or how a number is written", () => {
    const [a, b] = [new ShadowBook("1.1"), new ShadowBook("1.1")];
    apply(
      a,
      JSON.parse(
        `{"id":"1.1","marketDefinition":{"status":"OPEN","x":{"a":1.0,"b":[1]}},"rc":[{"id":5,"atb":[[2.0,3],[1.5,1]],"ltp":null}]}`,
      ),
    );
    apply(
      b,
      JSON.parse(
        `{"id":"1.1","marketDefinition":{"x":{"b":[1],"a":1},"venue":null,"status":"OPEN"},"rc":[{"atb":[[1.5,1]],"hc":0,"id":5}]}`,
      ),
    );
    apply(b, { id: "1.1", rc: [{ id: 5, atb: [[9, 9]], batb: [[0, 2, 2]] }] });
    apply(b, { id: "1.1", rc: [{ id: 5, atb: [[9, 0], [2, 3]], batb: [[0, 0, 0]] }] }); // biome-ignore format: one line a change
    expect(b.hash).toBe(a.hash);
    expect(b.status).toBe("OPEN");
  });
});

describe("a shadow book", () => {
  test("takes ladders as the exchange means them: absolute sizes, 0 deletes, an empty trd clears, an image forgets", () => {
    const book = new ShadowBook("1.1");
    const at = (name: string, key: number) =>
      [...book.differences(new ShadowBook("1.1"))].find((d) => differenceWords(d).includes(`${name} ${key}:`))?.here ??
      null;
    apply(book, { id: "1.1", rc: [{ id: 5, atb: [[2, 10]], trd: [[2, 7]] }] });
    apply(book, { id: "1.1", rc: [{ id: 5, atb: [[2, 4]], trd: [] }] });
    expect([at("atb", 2), at("trd", 2)]).toEqual([4, null]);
    apply(book, { id: "1.1", img: true, rc: [{ id: 5, atb: [[3, 1]] }] });
    expect([at("atb", 2), at("atb", 3)]).toEqual([null, 1]);
  });

  test("says where it differs from another, in words", () => {
    const definition = { status: "OPEN", inPlay: false };
    const direct = played([
      {
        id: "1.1",
        tv: 5,
        marketDefinition: definition,
        rc: [{ id: 7, hc: -0.5, atb: [[2, 10]], batl: [[1, 3, 2]], spn: "NaN" }],
      },
    ]);
    const through = played([{ id: "1.1", tv: 6, marketDefinition: { ...definition, status: "SUSPENDED" }, rc: [{ id: 7, hc: -0.5, batl: [[1, 3, 4]], spn: 2 }, { id: 8, ltp: 4 }] }]); // biome-ignore format: one line a side
    expect([...direct.differences(through)].map(differenceWords)).toEqual([
      'marketDefinition.status: "OPEN" direct, "SUSPENDED" through Oddswire',
      "market tv: 5 direct, 6 through Oddswire",
      "runner 7 hc -0.5 spn: NaN direct, 2 through Oddswire",
      "runner 7 hc -0.5 atb 2: 10 direct, nothing through Oddswire",
      "runner 7 hc -0.5 batl size of level 1: 2 direct, 4 through Oddswire",
      "runner 8 ltp: nothing direct, 4 through Oddswire",
    ]);
  });

  test("what is not in the protocol's shape is told from what is", () => {
    const good = {
      id: "1.1",
      tv: null,
      rc: [{ id: 5, hc: null, atb: [[1, 2]], batb: [[0, 1, 2]], other: {} }],
      more: 1,
    };
    expect(isMarketChange(good)).toBe(true);
    const bad = [
      null,
      [],
      {},
      { id: 1 },
      { ...good, tv: "5" },
      { ...good, rc: [{}] },
      { ...good, rc: [{ id: 5, atb: [[1]] }] },
    ];
    expect(bad.filter(isMarketChange)).toEqual([]);
    expect(isMarketChange({ ...good, rc: [{ id: 5, batb: [[0, 1]] }] })).toBe(false);
  });
});

function apply(book: ShadowBook, change: MarketChange): void {
  book.apply(change, change.img === true, []);
}

function played(changes: readonly MarketChange[]): ShadowBook {
  const book = new ShadowBook("1.1");
  for (const change of changes) apply(book, change);
  return book;
}

/** Everything in it, as text in one order. */
function full(book: ShadowBook): string {
  return JSON.stringify(
    [...book.differences(new ShadowBook("1.1"))].map(({ place, here }) => JSON.stringify([place, here])).sort(),
  );
}

function sum(hashes: readonly number[]): number {
  return Number(hashes.reduce((total, hash) => total + BigInt(hash), 0n) % 2n ** 52n);
}
