import { describe, expect, test } from "bun:test";
import { MarketBook } from "../client/book.ts";
import type { MarketDefinition } from "../client/messages.ts";
import { age, amount, eventName, marketName, price, runnerName, sportName, startTime } from "./words.ts";

describe("words", () => {
  test("names come from the definition, and where it has none from what it does have", () => {
    const named = bookOf({ name: "Match Odds", eventName: "Arsenal v Chelsea" });
    expect([eventName(named), marketName(named)]).toEqual(["Arsenal v Chelsea", "Match Odds"]);
    const bare = bookOf({ marketType: "OVER_UNDER_25", eventId: "34" });
    expect([eventName(bare), marketName(bare)]).toEqual(["Event 34", "Over Under 25"]);
    expect([eventName(bookOf({ venue: "Ascot" })), marketName(new MarketBook("1.9"))]).toEqual(["Ascot", "Market 1.9"]);
  });

  test("a race is named with its time, for an event holds a day of them", () => {
    const marketTime = new Date(2026, 0, 2, 14, 5).toISOString();
    expect(marketName(bookOf({ name: "1m Hcap", eventTypeId: "7", marketTime }))).toBe("14:05 1m Hcap");
  });

  test("a runner without a name is its id; its handicap belongs to it", () => {
    const book = bookOf({
      runners: [
        { id: 7, hc: -0.5 },
        { id: 8, hc: 1, name: "Hull" },
      ],
    });
    expect(book.inOrder().map(runnerName)).toEqual(["Runner 7 −0.5", "Hull +1"]);
  });

  test("prices are as exact as anybody bets, amounts as exact as anybody reads", () => {
    expect([2, 1.01, 70.1621307023403, null, Number.NaN].map(price)).toEqual(["2", "1.01", "70.1621", "–", "–"]);
    expect([0, 2.5, 13.37, 1234.5, 99999, 557400, 1_234_567, null].map(amount)).toEqual([
      "0",
      "2.5",
      "13",
      "1,235",
      "99,999",
      "557k",
      "1.23m",
      "–",
    ]);
  });

  test("ages and times are short", () => {
    expect([0, 430, 9_940, 9_960, 61_000, 600_000].map(age)).toEqual([
      "0.0 s",
      "0.4 s",
      "9.9 s",
      "10 s",
      "61 s",
      "10 min",
    ]);
    const now = new Date(2026, 0, 2, 12).getTime();
    const at = (day: number) => startTime(new Date(2026, 0, day, 14, 5).toISOString(), now);
    expect([at(2), at(4), at(20), startTime(undefined, now), startTime("soon", now)]).toEqual([
      "14:05",
      "Sun 14:05",
      "20 Jan 14:05",
      "",
      "",
    ]);
    expect([sportName("4"), sportName("77"), sportName(undefined)]).toEqual(["Cricket", "Sport 77", "Other"]);
  });
});

function bookOf(marketDefinition: MarketDefinition, id = "1.1"): MarketBook {
  const book = new MarketBook(id);
  book.apply({ id, marketDefinition }, 1);
  return book;
}
