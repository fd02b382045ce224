import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Book } from "./book.ts";
import { Books } from "./books.ts";

const id = fc.oneof(
  fc.integer({ min: 0, max: 3000 }).map((n) => `1.${n}`),
  fc.string({ maxLength: 3 }),
);
const commands = fc.array(fc.record({ id, remove: fc.boolean() }), { maxLength: 6000, size: "max" });

test("books are found by their ids and come in the order in which they came, whatever went in between", () => {
  fc.assert(
    fc.property(commands, (steps) => {
      const books = new Books();
      const plain = new Map<string, Book>();
      for (const step of steps) {
        const known = plain.get(step.id);
        if (step.remove && known !== undefined) {
          books.remove(known);
          plain.delete(step.id);
        } else if (!step.remove && known === undefined) {
          const book = { id: step.id } as Book;
          books.add(book);
          plain.set(step.id, book);
        }
        expect(books.get(step.id)).toBe(plain.get(step.id) as Book);
      }
      expect(books.size).toBe(plain.size);
      expect([...books]).toEqual([...plain.values()]);
    }),
    { numRuns: 30 },
  );
});
