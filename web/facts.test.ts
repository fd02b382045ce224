import { describe, expect, test } from "bun:test";
import { MarketBook } from "../client/book.ts";
import type { MarketDefinition } from "../client/messages.ts";
import { byEvent, factsOf, favouriteOf } from "./facts.ts";

describe("the order of the list", () => {
  test("is in-play first, then by start, closed last; in an event the main market first", () => {
    const soon = market("1.1", { eventId: "a", eventName: "A", marketTime: "2026-01-01T10:00:00Z" });
    const later = market("1.2", { eventId: "b", eventName: "B", marketTime: "2026-01-01T11:00:00Z" });
    const live = market("1.3", { eventId: "c", eventName: "C", marketTime: "2026-01-01T12:00:00Z", inPlay: true });
    const main = market("1.4", { eventId: "c", eventName: "C", name: "Z", marketType: "MATCH_ODDS" });
    const done = market("1.5", { eventId: "d", eventName: "D", status: "CLOSED", inPlay: true });
    const ids = byEvent([done, later, live, soon, main]).map((group) => group.map(({ book }) => book.id));
    expect(ids).toEqual([["1.4", "1.3"], ["1.1"], ["1.2"], ["1.5"]]);
  });

  test("the favourite is the lowest last price of those that run; in the end, the winner", () => {
    const runners = [{ id: 1 }, { id: 2 }, { id: 3, status: "REMOVED" }];
    const book = bookOf({ runners });
    expect(favouriteOf(book)).toBeNull();
    book.apply(
      {
        id: "1.1",
        rc: [
          { id: 1, ltp: 3 },
          { id: 2, ltp: 1.5 },
          { id: 3, ltp: 1.01 },
        ],
      },
      1,
    );
    expect(favouriteOf(book)?.id).toBe(2);
    book.apply({ id: "1.1", marketDefinition: { runners: [{ id: 1, status: "WINNER" }, { id: 2 }] } }, 2);
    expect(favouriteOf(book)?.id).toBe(1);
  });
});

function bookOf(marketDefinition: MarketDefinition, id = "1.1"): MarketBook {
  const book = new MarketBook(id);
  book.apply({ id, marketDefinition }, 1);
  return book;
}

function market(id: string, definition: MarketDefinition) {
  return factsOf(bookOf({ status: "OPEN", ...definition }, id));
}
