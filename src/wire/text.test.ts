import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { asciiJson, TextWriter } from "./text.ts";

function written(value: number): string {
  const out = new TextWriter();
  out.number(value);
  return out.bytes.toString("latin1", 0, out.length);
}

describe("text", () => {
  test("numbers come back exactly as they were, whatever they are", () => {
    const odd = fc.constantFrom(
      0.07,
      4.35,
      1.005,
      1e-7,
      1e21,
      1e15,
      70.1621307023403,
      42_949_672.96,
      9e12,
      9_007_199_254_740_991,
      -0.5,
      1.1,
      0.1,
    );
    const cents = fc.integer({ min: 0, max: 2_000_000_000 }).map((n) => n / 100);
    fc.assert(
      fc.property(fc.oneof(odd, cents, fc.double({ noNaN: true, noDefaultInfinity: true })), (value) =>
        expect(JSON.parse(written(value))).toBe(value === 0 ? 0 : value),
      ),
      {
        numRuns: 2000,
      },
    );
  });

  test("hundredths are written as the exchange writes them", () => {
    expect([1, 1.5, 1.01, 20.1, 339.6, 1000, 0, 0.05].map(written)).toEqual([
      "1",
      "1.5",
      "1.01",
      "20.1",
      "339.6",
      "1000",
      "0",
      "0.05",
    ]);
    expect([Number.NaN, Number.POSITIVE_INFINITY].map(written)).toEqual(['"NaN"', '"Infinity"']);
  });

  test("any text comes through in ASCII", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const json = asciiJson(text);
        expect(/^[ -~]*$/.test(json)).toBe(true);
        expect(JSON.parse(json)).toBe(text);
      }),
    );
  });

  test("a writer grows as it is written to, and begins anew when cleared", () => {
    const out = new TextWriter();
    const long = "x".repeat(100_000);
    out.ascii(long);
    out.byte(65);
    out.copy(Buffer.from("abc"), 1, 3);
    expect(out.bytes.toString("latin1", 0, out.length)).toBe(`${long}Abc`);
    out.clear();
    expect(out.length).toBe(0);
  });
});
