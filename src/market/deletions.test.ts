import { expect, test } from "bun:test";
import fc from "fast-check";
import { Deletions } from "./deletions.ts";
import { LADDER } from "./types.ts";

test("a chain tells all that was deleted since, or that it cannot", () => {
  const steps = fc.array(
    fc.record({ runner: fc.nat(3), price: fc.integer({ min: 1, max: 50 }), pause: fc.boolean() }),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(steps, fc.constantFrom(2, 8, 64, 1000), (all, max) => {
      const deletions = new Deletions(max);
      const heads = [0, 0, 0, 0];
      const plain: { runner: number; price: number; sequence: number }[] = [];
      let sequence = 1;
      for (const { runner, price, pause } of all) {
        if (pause) sequence++;
        heads[runner] = deletions.add(LADDER.atb, price, sequence, heads[runner] as number);
        plain.push({ runner, price, sequence });
      }
      for (let since = 0; since <= sequence; since++) {
        for (const [runner, head] of heads.entries()) {
          const expected = plain
            .filter((each) => each.runner === runner && each.sequence > since)
            .map(({ price }) => price);
          const told: number[] = [];
          for (let at = head; ; ) {
            const deletion = deletions.next(at, since);
            if (deletion === null) break;
            told.unshift(deletion.price);
            at = deletion.previous;
          }
          if (!deletions.lostSince(head, since)) expect(told).toEqual(expected);
          // it is never said to be lost while the ring still holds everything
          else expect(plain.length).toBeGreaterThanOrEqual(max);
        }
      }
    }),
  );
});
