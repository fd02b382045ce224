import { describe, expect, test } from "bun:test";
import { MarketBook } from "../../client/book.ts";
import type { ChangeMessage, MarketChange as ClientChange } from "../../client/messages.ts";
import { Judge, Playthrough } from "./judge.ts";
import type { MarketChange } from "./naive.ts";
import type { Asked, Onlooker } from "./onlooker.ts";

const ASKED: Asked = { fields: ["EX_LTP"], ladderLevels: 3, conflateMs: 100 };
const COUNTS = new Map([
  ["1.1", 3],
  ["1.2", 3],
]);

/** A judge, and a client that is told whatever the test says. */
class Trial {
  readonly went = new Playthrough();
  readonly judge: Judge;
  readonly #books = new Map<string, MarketBook>();

  constructor() {
    const came = () => {};
    this.judge = new Judge({ asked: ASKED, computes: true, counts: COUNTS, firstPt: 1, went: this.went, came });
    this.judge.onlooker = { book: (id: string) => this.#books.get(id) } as Onlooker;
  }

  /** The exchange publishes; returns the message's pt. */
  published(...mc: MarketChange[]): number {
    return this.judge.published(5, mc);
  }

  told(pt: number, mc: MarketChange[], head: Partial<ChangeMessage> = { clk: "c" }): readonly string[] {
    for (const change of mc) {
      const book = this.#books.get(change.id) ?? new MarketBook(change.id);
      this.#books.set(change.id, book);
      book.apply(change as ClientChange, pt);
    }
    const ids = mc.map(({ id }) => id);
    this.judge.told({ op: "mcm", pt, ...head }, ids, 0);
    return this.went.differences.map(({ market, n }) => `${market} after ${n}`);
  }
}

const ltp = (id: string, price: number): MarketChange => ({ id, rc: [{ id: 7, ltp: price }] });

describe("the judge of a conflated stream", () => {
  test("gives no two messages the same publish time, and none an earlier one", () => {
    const trial = new Trial();
    expect([trial.published(), trial.published(), trial.published()]).toEqual([5, 6, 7]);
  });

  test("takes a message for as far as its pt goes, and no further", () => {
    const trial = new Trial();
    trial.published(ltp("1.1", 2));
    const pt = trial.published(ltp("1.1", 3));
    trial.published(ltp("1.1", 4));
    expect(trial.told(pt, [ltp("1.1", 3)])).toEqual([]);
    expect(trial.told(pt + 1, [ltp("1.1", 3)])).toEqual(["1.1 after 3"]);
  });

  test("misses what a message with a clk keeps back", () => {
    const trial = new Trial();
    trial.published(ltp("1.1", 2));
    const pt = trial.published(ltp("1.2", 2));
    expect(trial.told(pt, [ltp("1.2", 2)])).toEqual(["1.1 after 1"]);
  });

  test("misses nothing but its own markets in one without, and in a segment", () => {
    const trial = new Trial();
    trial.published(ltp("1.1", 2));
    const pt = trial.published(ltp("1.2", 2));
    expect(trial.told(pt, [ltp("1.2", 2)], {})).toEqual([]);
    expect(trial.told(pt, [ltp("1.2", 2)], { clk: "c", segmentType: "SEG_END" })).toEqual([]);
    expect(trial.told(pt, [ltp("1.1", 2)])).toEqual([]);
  });

  test("finds in the end what never came", () => {
    const trial = new Trial();
    const pt = trial.published(ltp("1.1", 2));
    trial.told(pt, [ltp("1.1", 2)]);
    trial.published(ltp("1.2", 2));
    trial.judge.lookOnceMore();
    expect(trial.went.differences.map(({ market }) => market)).toEqual(["1.2"]);
  });

  test("knows more messages than the interval allows", () => {
    const went = new Playthrough();
    [went.flushes, went.flushesMs] = [20, 2_000];
    expect([went.isTooQuickFor(100), went.isTooQuickFor(500), went.isTooQuickFor(0)]).toEqual([false, true, false]);
  });
});
