import { describe, expect, test } from "bun:test";
import { MarketBook } from "../../client/book.ts";
import { changeLine, ladderLines, type Paper, type Sight } from "./ladder-text.ts";

const PAPER: Paper = { columns: 84, rows: 40, color: false };

describe("a ladder as text", () => {
  test("shows three back prices with the best nearest the middle, three lay prices, and sizes below", () => {
    expect(ladderLines(sightOf(football()), PAPER)).toEqual([
      "Arsenal v Chelsea · Match Odds · 1.1                                    OPEN IN-PLAY",
      "557,400 matched                                    connected, last message 0.2 s ago",
      "",
      "Runner                       Last                    Back      Lay",
      "Arsenal                      1.87    1.84    1.85    1.86     1.87    1.88    1.89",
      "                                     12.5     772   1,204      378       5       9",
      "Chelsea                       4.4                     4.3      4.4                ",
      "                                                     0.01        2                ",
    ]);
  });

  test("no line is wider than the terminal, colours left aside, and there are no more lines than rows", () => {
    const book = new MarketBook("1.1");
    const runners = Array.from({ length: 30 }, (_, i) => ({
      id: i,
      sortPriority: i,
      name: `A horse of a long name ${i}`,
      status: "ACTIVE",
    }));
    book.apply(
      { id: "1.1", marketDefinition: { status: "OPEN", name: "x".repeat(90), eventName: "y".repeat(90), runners } },
      1,
    );
    for (const columns of [40, 69, 70, 80, 120]) {
      for (const color of [false, true]) {
        const lines = ladderLines(sightOf(book), { columns, rows: 24, color }).map(withoutColors);
        expect(lines.length).toBeLessThan(24);
        expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
        expect(lines.at(-1)).toBe("and 21 more runners");
      }
    }
  });

  test("says suspended, closed and stale, and shows no price as one to bet on then", () => {
    const book = football();
    const best = "\x1b[1;30;48;5;117m";
    const paper = { ...PAPER, color: true };
    expect(ladderLines(sightOf(book), paper).join("\n")).toContain(best);
    book.apply({ id: "1.1", marketDefinition: { ...book.definition, status: "SUSPENDED" } }, 2);
    const lines = ladderLines(sightOf(book), paper);
    expect(withoutColors(lines[0])).toEndWith("SUSPENDED IN-PLAY");
    expect(lines.join("\n")).not.toContain(best);
    expect(ladderLines(sightOf(football({ stale: true })), PAPER)[0]).toEndWith("OPEN IN-PLAY STALE");
  });

  test("names a runner by its id where it has no name, with its handicap and its fate", () => {
    const book = new MarketBook("1.1");
    const runners = [{ id: 47972, hc: -0.5, status: "REMOVED" }];
    book.apply({ id: "1.1", marketDefinition: { status: "OPEN", runners } }, 1);
    expect(ladderLines(sightOf(book), PAPER)[4]).toStartWith("47972 -0.5 (REMOVED)");
  });

  test("an unknown market is waited for until the image is complete, and said to be missing after", () => {
    const sight = { ...sightOf(null), loaded: false };
    expect(ladderLines(sight, PAPER)[0]).toBe("Waiting for market 1.1");
    expect(ladderLines({ ...sight, loaded: true }, PAPER)[0]).toStartWith("No market 1.1 here");
  });

  test("the connection says why it waits and why it ended", () => {
    const waiting = { kind: "waiting", waitMs: 5, reason: "closed with 1006" } as const;
    expect(ladderLines({ ...sightOf(null), state: waiting }, PAPER)[1]).toStartWith("closed with 1006, trying again");
    const refused = { ...sightOf(null), refusal: "INVALID_APP_KEY: not known" };
    expect(ladderLines(refused, PAPER)[1]).toBe("INVALID_APP_KEY: not known");
  });

  test("one change is one line", () => {
    expect(changeLine(football())).toBe(
      "1970-01-01T00:00:00.001Z | OPEN IN-PLAY | 557,400 matched | Arsenal 1.86@1,204 / 1.87@378 | Chelsea 4.3@0.01 / 4.4@2",
    );
  });
});

function football(feed = { stale: false }): MarketBook {
  const book = new MarketBook("1.1", feed);
  const runners = [
    { id: 1, sortPriority: 1, status: "ACTIVE", name: "Arsenal" },
    { id: 2, sortPriority: 2, status: "ACTIVE", name: "Chelsea" },
  ];
  const definition = { status: "OPEN", inPlay: true, eventName: "Arsenal v Chelsea", name: "Match Odds", runners };
  const rc = [
    {
      id: 1,
      ltp: 1.87,
      atb: [
        [1.85, 772],
        [1.86, 1204],
        [1.84, 12.5],
        [1.5, 1],
      ],
      atl: [
        [1.87, 378],
        [1.88, 5],
        [1.89, 9],
      ],
    },
    { id: 2, ltp: 4.4, atb: [[4.3, 0.01]], atl: [[4.4, 2]] },
  ] as never;
  book.apply({ id: "1.1", tv: 557_400, marketDefinition: definition, rc }, 1);
  return book;
}

function sightOf(book: MarketBook | null): Sight {
  return { market: "1.1", book, loaded: true, state: { kind: "ready" }, messageAgeMs: 200, refusal: null };
}

function withoutColors(line: string): string {
  return Bun.stripANSI(line);
}
