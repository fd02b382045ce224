import { expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { BestOffers } from "./best-offers.ts";
import { VirtualClock } from "./clock.ts";
import { type LevelPriceSize, type MarketChange, NaiveBook, type PriceSize } from "./naive.ts";
import { World } from "./world.ts";

test("the levels are the best ten offers of each side, after every change of a world", () => {
  const books = new Map<string, NaiveBook>();
  const best = new BestOffers();
  let judged = 0;
  for (const change of world(1, 120_000).map((published) => best.add(published))) {
    const book = books.get(change.id) ?? new NaiveBook(change.id);
    books.set(change.id, book);
    book.apply(change);
    for (const { atb, atl, batb, batl, bdatb, bdatl } of book.state().runners) {
      expect([batb ?? [], batl ?? []]).toEqual([byLevel(atb, -1), byLevel(atl, 1)]);
      expect([bdatb, bdatl]).toEqual([batb, batl]);
      judged++;
    }
  }
  expect(judged).toBeGreaterThan(5_000);
});

test("only levels that are others now are said, and those that are no more with size 0", () => {
  const best = new BestOffers();
  const add = (atb: [number, number][], img = false) =>
    best.add({ id: "1.1", img, rc: [{ id: 7, atb }] }).rc?.[0]?.batb;
  expect(
    add([
      [2, 10],
      [1.9, 5],
    ]),
  ).toEqual([
    [0, 2, 10],
    [1, 1.9, 5],
  ]);
  expect(add([[1.9, 6]])).toEqual([[1, 1.9, 6]]);
  expect(add([[2, 0]])).toEqual([
    [0, 1.9, 6],
    [1, 0, 0],
  ]);
  expect(add([[1.9, 6]])).toBeUndefined();
  expect(add([[1.5, 1]], true)).toEqual([[0, 1.5, 1]]);
});

function world(seed: number, ms: number): MarketChange[] {
  const clock = new VirtualClock();
  const changes: MarketChange[] = [];
  const publish = (_: number, said: readonly MarketChange[]) => void changes.push(...structuredClone(said));
  const world = new World({ markets: 20 }, { clock, random: seededRandom(seed), publish });
  world.start();
  clock.advance(ms);
  world.stop();
  return changes;
}

function byLevel(ladder: readonly PriceSize[], better: 1 | -1): LevelPriceSize[] {
  const sorted = [...ladder].sort(([a], [b]) => better * (a - b));
  return sorted.slice(0, 10).map(([price, size], level) => [level, price, size]);
}
