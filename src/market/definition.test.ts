import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { factsOf, NO_FACTS, packDefinition, unpackDefinition } from "./definition.ts";

const word = fc.oneof(fc.string(), fc.constantFrom("OPEN", 'say "x"', "\\\\", "a,b", "{", "]", ':"'));
const facts = fc.record(
  {
    status: word,
    inPlay: fc.boolean(),
    version: fc.integer(),
    eventId: word,
    marketType: word,
    bspMarket: fc.boolean(),
  },
  { requiredKeys: [] },
);
const noise = fc
  .dictionary(fc.string(), fc.jsonValue())
  .map(({ ...rest }) => ({ ...rest, runners: [{ status: "ACTIVE", id: 1, version: 9 }], odd: { status: ["x"] } }));

describe("a market definition", () => {
  test("gives the facts that JSON.parse would, whatever else it holds", () => {
    fc.assert(
      fc.property(facts, noise, fc.boolean(), fc.constantFrom(undefined, 1), (said, rest, first, indent) => {
        const definition = first ? { ...said, ...rest } : { ...rest, ...said };
        const expected = Object.fromEntries(
          Object.keys(NO_FACTS).map((name) => [name, ofItsType(name, (definition as Record<string, unknown>)[name])]),
        );
        expect(factsOf(JSON.stringify(definition, null, indent))).toEqual(expected as unknown as typeof NO_FACTS);
      }),
      { numRuns: 500 },
    );
  });

  test("of nothing says nothing", () => {
    expect(factsOf("{}")).toEqual(NO_FACTS);
    expect(factsOf('{"status":null}')).toEqual(NO_FACTS);
    expect(factsOf('{"status":5,"version":"x"}')).toEqual(NO_FACTS);
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

function ofItsType(name: string, value: unknown): unknown {
  const types: Record<string, string> = {
    version: "number",
    inPlay: "boolean",
    bspMarket: "boolean",
    turnInPlayEnabled: "boolean",
  };
  return typeof value === (types[name] ?? "string") ? value : null;
}
