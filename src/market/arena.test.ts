import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Arena } from "./arena.ts";

describe("an arena", () => {
  test("never hands out the same slot twice, and takes all back", () => {
    const steps = fc.array(
      fc.record({ slots: fc.integer({ min: 3, max: 120 }), spare: fc.constantFrom(0, 3), release: fc.boolean() }),
      { maxLength: 400 },
    );
    fc.assert(
      fc.property(steps, (all) => {
        const arena = new Arena(2 ** 24);
        const empty = arena.bytesUsed;
        const held: { at: number; slots: number; mark: number }[] = [];
        for (const [mark, { slots, spare, release }] of all.entries()) {
          if (release && held.length > 0) {
            const block = held.splice(mark % held.length, 1)[0] as (typeof held)[0];
            for (let i = 0; i < block.slots; i++) expect(arena.f64[block.at + i]).toBe(block.mark);
            arena.release(block.at, block.slots);
            continue;
          }
          const at = arena.allocate(slots, spare);
          expect(arena.allocated).toBeGreaterThanOrEqual(slots);
          held.push({ at, slots: arena.allocated, mark });
          arena.f64.fill(mark, at, at + arena.allocated);
        }
        for (const { at, slots } of held) arena.release(at, slots);
        expect(arena.bytesUsed).toBe(empty);
      }),
      { numRuns: 60 },
    );
  });

  test("uses what was given back before new ground", () => {
    const arena = new Arena(2 ** 24);
    const first = arena.allocate(40);
    arena.allocate(8);
    arena.release(first, 40);
    const held = arena.bytesHeld;
    for (let i = 0; i < 4; i++) arena.allocate(10);
    expect(arena.bytesHeld).toBe(held);
  });

  test("says which bound is reached", () => {
    const arena = new Arena(65_536 * 2);
    expect(() => {
      for (;;) arena.allocate(64);
    }).toThrow("arenaBytesMax = 131072");
  });
});
