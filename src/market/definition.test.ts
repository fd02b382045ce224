import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeServerLine } from "../wire/esa.ts";
import { ChangeBatch } from "./batch.ts";
import { FACT_TYPES, NO_FACTS, packDefinition, unpackDefinition } from "./definition.ts";
import type { MarketFacts } from "./filter.ts";

const word = fc.oneof(fc.string(), fc.constantFrom("OPEN", 'say "x"', "\\\\", "a,b", "{", "]", ':"', "Köln"));
const odd = fc.constantFrom<unknown>(null, 5, "x", true, [], {});
const facts = fc.record(
  {
    status: word,
    inPlay: fc.boolean(),
    version: fc.integer(),
    eventId: word,
    marketType: word,
    bspMarket: fc.boolean(),
    venue: odd,
    turnInPlayEnabled: odd,
  },
  { requiredKeys: [] },
);
const noise = fc
  .dictionary(fc.string(), fc.jsonValue())
  .map((rest) => ({ ...rest, runners: [{ status: "ACTIVE", id: 1, version: 9 }], odd: { status: ["x"] } }));

/** What the decoder makes of a definition. */
function decoded(definition: unknown, indent?: number): MarketFacts {
  const text = JSON.stringify(definition, null, indent).replaceAll("\n", " ");
  const line = Buffer.from(`{"op":"mcm","mc":[{"id":"1.1","marketDefinition":${text}}]}`);
  const batch = new ChangeBatch();
  expect(decodeServerLine(line, 0, line.length, batch)).toEqual({ kind: "change" });
  expect(JSON.parse(batch.definitions[0] as string)).toEqual(JSON.parse(text));
  return batch.facts[0] as MarketFacts;
}

describe("a market definition", () => {
  test("gives the facts that JSON.parse would, whatever else it holds", () => {
    fc.assert(
      fc.property(facts, noise, fc.boolean(), fc.constantFrom(undefined, 1), (said, rest, first, indent) => {
        const definition: Record<string, unknown> = first ? { ...said, ...rest } : { ...rest, ...said };
        const expected = Object.entries(FACT_TYPES).map(([name, type]) => {
          const value = JSON.parse(JSON.stringify(definition))[name];
          return [name, typeof value === type ? value : null];
        });
        expect(decoded(definition, indent)).toEqual(Object.fromEntries(expected));
      }),
      { numRuns: 500 },
    );
  });

  test("of nothing says nothing", () => {
    expect(decoded({})).toEqual(NO_FACTS);
    expect(decoded({ status: null })).toEqual(NO_FACTS);
    expect(decoded({ status: 5, version: "x" })).toEqual(NO_FACTS);
  });

  test("comes out of its packing as it went in", () => {
    fc.assert(
      fc.property(noise, (definition) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is what a definition is kept in
        const text = JSON.stringify(definition).replace(/[^\x00-\x7f]/g, "?");
        expect(unpackDefinition(packDefinition(text))).toBe(text);
      }),
    );
  });
});
