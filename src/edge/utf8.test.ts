import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { Utf8Checker } from "./utf8.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const isUtf8 = (bytes: Uint8Array) => {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
};
/** Some bytes after which all of it is UTF-8: the shortest of every kind of end that a character may have. */
const ENDS = [
  [],
  [0x80],
  [0x80, 0x80],
  [0x80, 0x80, 0x80],
  [0xa0],
  [0xa0, 0x80],
  [0x90],
  [0x90, 0x80],
  [0x90, 0x80, 0x80],
];
const canBecomeUtf8 = (bytes: Uint8Array) => ENDS.some((end) => isUtf8(Uint8Array.from([...bytes, ...end])));

test("says of one, two and three bytes whether they can become UTF-8, whatever they are", () => {
  const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xec, 0xed, 0xee, 0xef];
  const bytes = [...edges, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xfc, 0xff];
  const all = bytes.flatMap((a) => [[a], ...bytes.flatMap((b) => [[a, b], ...bytes.map((c) => [a, b, c])])]);
  const wrong = all.filter(
    (few) => new Utf8Checker().push(Uint8Array.from(few)) !== canBecomeUtf8(Uint8Array.from(few)),
  );
  expect(wrong).toEqual([]);
});

test("says the same of text and of mutated text, cut anywhere, and byte by byte up to the first wrong one", () => {
  const mutated = fc.tuple(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 2 }),
  );
  fc.assert(
    fc.property(mutated, fc.nat(), ([text, mutations], cut) => {
      const bytes = new TextEncoder().encode(text);
      for (const [at, byte] of mutations) if (at < bytes.length) bytes[at] = byte;
      const inTwo = new Utf8Checker();
      const place = bytes.length === 0 ? 0 : cut % bytes.length;
      expect(inTwo.push(bytes.subarray(0, place)) && inTwo.push(bytes.subarray(place))).toBe(canBecomeUtf8(bytes));
      const single = new Utf8Checker();
      for (let at = 0; at < bytes.length; at++) {
        const good = single.push(bytes.subarray(at, at + 1));
        expect(good).toBe(canBecomeUtf8(bytes.subarray(0, at + 1)));
        if (!good) break;
      }
    }),
    { numRuns: 500 },
  );
});

test("begins anew after a reset", () => {
  const checker = new Utf8Checker();
  checker.push(Uint8Array.of(0xe0));
  checker.reset();
  expect(checker.push(Uint8Array.of(0x41, 0xc3, 0xa4))).toBe(true);
});
