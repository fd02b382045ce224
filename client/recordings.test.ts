import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { MarketBook } from "./book.ts";
import type { ChangeMessage } from "./messages.ts";
import { PlainBook, stateOf } from "./testing/plain.ts";

const FOLDER = process.env.ODDSWIRE_RECORDINGS ?? new URL("../../shared/recordings", import.meta.url).pathname;

describe.skipIf(!existsSync(FOLDER))("a recording", () => {
  test.each(["kelvinvail-betfair/MarketStream.txt", "flumine/1.197931750", "flumine/BASIC-1.132153978"])(
    "%s gives the plain book after every hundredth message",
    (file) => {
      const [books, plain] = [new Map<string, MarketBook>(), new Map<string, PlainBook>()];
      let n = 0;
      for (const line of readFileSync(`${FOLDER}/${file}`, "utf8").split("\n")) {
        if (line.trim() === "") continue;
        const message: ChangeMessage = JSON.parse(line);
        for (const change of message.mc ?? []) {
          if (!books.has(change.id)) books.set(change.id, new MarketBook(change.id));
          if (!plain.has(change.id)) plain.set(change.id, new PlainBook(change.id));
          books.get(change.id)?.apply(change, message.pt);
          plain.get(change.id)?.apply(change);
          if (++n % 100 === 0) expect(stateOf(books.get(change.id)!)).toEqual(plain.get(change.id)?.state());
        }
      }
      expect(n).toBeGreaterThan(100);
      for (const [id, book] of books) expect(stateOf(book)).toEqual(plain.get(id)?.state());
    },
  );
});
