import { describe, expect, test } from "bun:test";
import type { MarketChange } from "./naive.ts";
import { Oracle, type Wish, Witness } from "./oracle.ts";

const ALL: Wish = { filter: {}, fields: [], ladderLevels: 10 };

/** An oracle, somebody watched by it, and a clock moved by hand. */
class Court {
  now = 0;
  readonly oracle = new Oracle(() => this.now, 60_000);
  readonly witness: Witness;

  constructor(wish: Partial<Wish> = {}, manners: "library" | "plain" = "library") {
    this.witness = new Witness(this.oracle, "ann", { ...ALL, ...wish }, manners);
  }

  publish(...changes: object[]): void {
    this.oracle.published(changes as MarketChange[]);
    this.now += 100;
  }

  tell(mc: object[], head: object = {}): void {
    this.witness.receive(JSON.stringify({ op: "mcm", id: 1, pt: 1, ...head, mc }));
  }

  get verdict(): string[] {
    return this.oracle.violations.map(({ guarantee, words }) => `${guarantee}: ${words}`);
  }
}

const image = (status = "OPEN") => ({ id: "1.1", img: true, marketDefinition: { status }, rc: [{ id: 5, ltp: 2 }] });
const ltp = (value: number, more: object = {}) => ({ id: "1.1", ...more, rc: [{ id: 5, ltp: value }] });
const START = { ct: "SUB_IMAGE", initialClk: "i", clk: "1" };

/** An image and three changes were published; the first two messages were told. */
function court(): Court {
  const court = new Court();
  court.publish(image());
  for (const value of [3, 4, 5]) court.publish(ltp(value));
  court.tell([image()], START);
  court.tell([ltp(3)]);
  return court;
}

describe("the oracle", () => {
  test("has nothing against who shows every state in order", () => {
    const it = court();
    for (const value of [4, 5]) it.tell([ltp(value)]);
    it.witness.compare();
    it.witness.keepsUp(it.now, it.now);
    expect([it.verdict, it.witness.isAnswered]).toEqual([[], true]);
  });

  test("knows a state that never was, by the one it is nearest to", () => {
    const it = court();
    it.tell([ltp(4.5)]);
    expect(it.verdict[0]).toStartWith("G1 same book: ann: 1.1 shows no state that ever was");
  });

  test("knows a state from before the last one shown, also in another life of the client", () => {
    const it = court();
    it.witness.startAnew();
    it.tell([image()], START);
    expect(it.verdict[0]).toBe("G2 never back in time: ann: 1.1 goes back from state 1 to 0");
  });

  test("wants merged changes to say con, unless they answer a subscription", () => {
    const it = court();
    it.tell([ltp(5)]);
    expect(it.verdict[0]).toBe("G3 no silent gap: ann: 1.1 comes 2 changes further, and no con says so");
    const says = court();
    says.tell([ltp(5, { con: true })]);
    const resumed = court();
    resumed.tell([ltp(5)], { ct: "RESUB_DELTA", initialClk: "i", clk: "2" });
    expect([says.verdict, resumed.verdict]).toEqual([[], []]);
  });

  test("wants who looks live to keep up, and to hear of a stop at once", () => {
    const it = court();
    it.witness.keepsUp(it.now - 300, it.now);
    expect(it.verdict).toEqual([]);
    it.witness.keepsUp(it.now - 100, it.now);
    expect(it.verdict[0]).toBe("G3 no silent gap: ann: looks live, and is at state 1 of 1.1, 3 is due");
    const stopped = court();
    stopped.publish({ id: "1.1", marketDefinition: { status: "SUSPENDED" } });
    stopped.witness.keepsUp(stopped.now - 1_000, stopped.now);
    expect(stopped.verdict).toEqual([]);
    stopped.witness.keepsUp(stopped.now - 400, stopped.now);
    expect(stopped.verdict[0]).toBe("G5 suspends win: ann: is at state 1 of 1.1, which stopped in state 4");
  });

  test("lets prices be later where somebody is told no faster, but no stop that lasts", () => {
    const it = court();
    it.witness.keepsUp(it.now - 100, it.now, 300);
    expect(it.verdict).toEqual([]);
    it.publish({ id: "1.1", marketDefinition: { status: "SUSPENDED" } });
    it.witness.keepsUp(it.now - 100, it.now, 60_000);
    expect(it.verdict[0]).toBe("G5 suspends win: ann: is at state 1 of 1.1, which stopped in state 4");
    const over = court();
    over.publish({ id: "1.1", marketDefinition: { status: "SUSPENDED" } });
    over.publish({ id: "1.1", marketDefinition: { status: "OPEN" } });
    over.witness.keepsUp(over.now - 100, over.now, 60_000);
    expect(over.verdict).toEqual([]);
  });

  test("judges who altered its subscription by what it is since: other fields from their image on, and nothing of what was taken out", () => {
    const it = court();
    const wish = { filter: { marketIds: ["1.2"] }, fields: [], ladderLevels: 10 };
    it.witness.altered(wish, ["1.1"]);
    expect([...it.witness.books.keys()]).toEqual([]);
    it.witness.compare();
    it.witness.keepsUp(it.now, it.now);
    expect(it.verdict).toEqual([]);
    it.tell([ltp(5)]);
    expect(it.verdict[0]).toBe("G1 same book: ann: is told of 1.1, which was taken out");
  });

  test("wants the same book in the end, in the fields and depth asked for: no more and no less", () => {
    const levels = (depth: number) => Array.from({ length: depth }, (_, level) => [level, 2, 10]);
    const full = { id: "1.1", img: true, tv: 9, rc: [{ id: 5, ltp: 2, batb: levels(5) }] };
    for (const [depth, more, fine] of [
      [2, {}, true],
      [3, {}, false],
      [1, {}, false],
      [2, { tv: 9 }, false],
    ] as const) {
      const it = new Court({ fields: ["EX_BEST_OFFERS"], ladderLevels: 2 });
      it.publish(full);
      it.tell([{ id: "1.1", img: true, ...more, rc: [{ id: 5, batb: levels(depth) }] }], START);
      expect([depth, more, it.verdict.length === 0]).toEqual([depth, more, fine]);
    }
    const lacks = new Court();
    lacks.publish(image());
    lacks.witness.compare();
    expect(lacks.verdict).toEqual(["G1 same book: ann: lacks 1.1"]);
  });

  test("knows that an image empties the library's cache, and a plain client's market by market", () => {
    const change = { id: "1.1", rc: [{ id: 5, ltp: 2 }] };
    for (const [manners, fine] of [
      ["library", true],
      ["plain", false],
    ] as const) {
      const it = new Court({ fields: ["EX_LTP", "EX_TRADED"] }, manners);
      it.publish({ id: "1.1", img: true, rc: [{ id: 5, trd: [[2, 1]] }] });
      it.publish({ ...change, img: true });
      it.tell([{ id: "1.1", img: true, rc: [{ id: 5, trd: [[2, 1]] }] }], START);
      it.tell([change], START);
      expect([manners, it.verdict.length === 0]).toEqual([manners, fine]);
    }
  });

  test("takes the clk of segments at their end only", () => {
    const it = court();
    it.tell([ltp(4)], { segmentType: "SEG_START", clk: "8" });
    expect(it.witness.clk).toBe("1");
    it.tell([], { segmentType: "SEG_END", clk: "9" });
    expect(it.witness.clk).toBe("9");
  });
});
