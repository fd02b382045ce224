import { expect, test } from "bun:test";
import fc from "fast-check";
import { firstDifference, type MarketChange, NaiveBook, type RunnerChange } from "./naive.ts";

const ID = "1.1";

function bookOf(...changes: Partial<MarketChange>[]): NaiveBook {
  const book = new NaiveBook(ID);
  for (const change of changes) book.apply({ id: ID, ...change });
  return book;
}
const runner = (...rc: RunnerChange[]) => bookOf({ rc }).state().runners[0]!;

test("a price of size 0 is deleted, others are replaced, and the best price comes first", () => {
  const state = runner(
    {
      id: 1,
      atb: [
        [2, 10],
        [3, 5],
        [2.5, 1],
      ],
      atl: [
        [4, 1],
        [3.5, 2],
      ],
    },
    {
      id: 1,
      atb: [
        [2, 11],
        [2.5, 0],
        [9, 0],
      ],
    },
  );
  expect(state.atb).toEqual([
    [3, 5],
    [2, 11],
  ]);
  expect(state.atl).toEqual([
    [3.5, 2],
    [4, 1],
  ]);
});

test("levels are keyed by level, and [k,0,0] empties one", () => {
  const state = runner(
    {
      id: 1,
      batb: [
        [1, 2, 5],
        [0, 3, 5],
      ],
    },
    {
      id: 1,
      batb: [
        [1, 0, 0],
        [2, 1.5, 9],
      ],
    },
  );
  expect(state.batb).toEqual([
    [0, 3, 5],
    [2, 1.5, 9],
  ]);
  expect("batl" in state).toBe(false);
});

test("an empty trd clears the ladder, any other empty list says nothing", () => {
  const state = runner(
    { id: 1, trd: [[2, 1]], atb: [[2, 1]], bdatb: [[0, 2, 1]] },
    { id: 1, trd: [], atb: [], bdatb: [] },
  );
  expect([state.trd, state.atb, state.bdatb]).toEqual([[], [[2, 1]], [[0, 2, 1]]]);
});

test("null is absent: nothing is forgotten by it", () => {
  const change = { id: 1, ltp: null, tv: null, spn: null, atb: null, trd: null, hc: null };
  const state = runner({ id: 1, ltp: 2, tv: 0, spn: "NaN", trd: [[2, 1]] }, change);
  expect([state.ltp, state.tv, state.spn, state.trd, state.hc]).toEqual([2, 0, "NaN", [[2, 1]], 0]);
});

test("an image forgets everything, the definition too", () => {
  const definition = { status: "OPEN", inPlay: false, version: 7, runners: [{ id: 1, status: "ACTIVE" }] };
  const book = bookOf(
    { tv: 5, marketDefinition: definition, rc: [{ id: 1, ltp: 2 }] },
    { img: true, rc: [{ id: 2, ltp: 3 }] },
  );
  expect(book.n).toBe(2);
  expect(book.state()).toMatchObject({ status: null, inPlay: null, version: null, totalMatched: null });
  expect(book.state().runners.map((r) => r.id)).toEqual([2]);
});

test("runners are those of the definition and of any rc, told apart by handicap and sorted", () => {
  const marketDefinition = {
    runners: [
      { id: 9, hc: -0.5, status: "ACTIVE" },
      { id: 2, status: "REMOVED", bsp: "NaN", removalDate: "d", adjustmentFactor: 1 },
    ],
  };
  const { runners } = bookOf({
    marketDefinition,
    rc: [
      { id: 9, hc: 0.5, ltp: 2 },
      { id: 9, hc: -0.5, ltp: 3 },
      { id: 9, hc: -1.5 },
    ],
  }).state();
  expect(runners.map((r) => [r.id, r.hc, r.status, r.ltp])).toEqual([
    [2, 0, "REMOVED", null],
    [9, -1.5, null, null],
    [9, -0.5, "ACTIVE", 3],
    [9, 0.5, null, 2],
  ]);
  expect(runners[0]).toMatchObject({ bsp: "NaN", removalDate: "d", adjustmentFactor: 1, atb: [], atl: [], trd: [] });
});

test("the first difference is named with its path and both values", () => {
  const one = bookOf({ rc: [{ id: 1, atb: [[2, 10]] }] }).state();
  const two = bookOf({ rc: [{ id: 1, atb: [[2, 11]], spn: 3 }] }).state();
  expect(firstDifference(one, one)).toBeNull();
  expect(firstDifference(one, two)).toBe("runners[0: 1 hc 0].atb[0][1]: 10 against 11");
  expect(firstDifference(bookOf({ tv: 1 }).state(), bookOf({}).state())).toBe("totalMatched: 1 against null");
  expect(firstDifference(one, { ...one, runners: [] })).toStartWith("runners[0]: {");
});

const size = fc.constantFrom(0, 1, 2.5);
const prices = fc.array(fc.tuple(fc.constantFrom(1.01, 2, 70.1621307023403), size), { maxLength: 4 });
const levels = fc.array(fc.tuple(fc.nat(2), fc.constantFrom(2, 3), size), { maxLength: 4 });
const runnerChange = fc.record(
  {
    id: fc.nat(2),
    hc: fc.constantFrom(0, -0.5, null),
    tv: size,
    ltp: size,
    spn: fc.constantFrom<number | string>("NaN", 2),
    atb: prices,
    atl: prices,
    trd: prices,
    spb: prices,
    batb: levels,
    bdatl: levels,
  },
  { requiredKeys: ["id"] },
);
const marketChange = fc.record(
  {
    img: fc.boolean(),
    tv: size,
    marketDefinition: fc.constant({ status: "OPEN", version: 1, runners: [{ id: 1, status: "ACTIVE" }] }),
    rc: fc.array(runnerChange, { maxLength: 4 }),
  },
  { requiredKeys: [] },
);

test("whoever applies only the image holds the same book", () => {
  fc.assert(
    fc.property(fc.array(marketChange, { maxLength: 6 }), (changes) => {
      const book = bookOf(...(changes as Partial<MarketChange>[]));
      const copy = bookOf(JSON.parse(JSON.stringify(book.image())));
      expect(firstDifference(book.state(), copy.state())).toBeNull();
    }),
  );
});
