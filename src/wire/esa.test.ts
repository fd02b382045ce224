import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { randomInt, seededRandom } from "../base/random.ts";
import { ChangeBatch } from "../market/batch.ts";
import { writeChanges } from "./changes.ts";
import { decodeServerLine, type ServerMessage } from "./esa.ts";
import { TextWriter } from "./text.ts";

const batch = new ChangeBatch();

function decode(text: string | Uint8Array): ServerMessage {
  const bytes = Buffer.from(text as string);
  return decodeServerLine(bytes, 0, bytes.length, batch);
}

/** The market changes that the batch holds, as JSON.parse would have them. */
function changes(): unknown[] {
  const out = new TextWriter();
  writeChanges(batch, out);
  return JSON.parse(`[${out.bytes.toString("latin1", 0, out.length)}]`) as unknown[];
}

const price = fc.oneof(
  fc.integer({ min: 101, max: 100_000 }).map((n) => n / 100),
  fc.double({ min: 0, max: 1e9, noNaN: true }),
  fc.constantFrom(0, 1e-7, 1e21, 12345678.9),
);
const ladder = fc.array(fc.tuple(price, price), { maxLength: 4 });
const levels = fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), price, price), { maxLength: 4 });
const word = fc.oneof(fc.string(), fc.constantFrom('"', "\\", "é", "\u2028", "a\nb"));
const optional = { requiredKeys: ["id"] as ["id"] };
const runner = fc.record(
  {
    id: fc.integer({ min: 1, max: 1e9 }),
    hc: fc.constantFrom(-0.5, 1.25),
    ltp: price,
    tv: price,
    spn: fc.constantFrom<unknown>("NaN", "Infinity", 3.5),
    atb: ladder,
    trd: ladder,
    spl: ladder,
    batb: levels,
    bdatl: levels,
  },
  optional,
);
const definition = fc.record({
  status: word,
  inPlay: fc.boolean(),
  version: fc.integer(),
  odd: fc.jsonValue(),
  runners: fc.constant([{ id: 1, status: "ACTIVE" }]),
});
const market = fc.record(
  {
    id: word,
    img: fc.constant(true),
    con: fc.constant(true),
    tv: price,
    marketDefinition: definition,
    rc: fc.array(runner, { minLength: 1, maxLength: 3 }),
  },
  optional,
);
const message = fc.record({
  op: fc.constant("mcm"),
  pt: fc.integer({ min: 0, max: 2e12 }),
  clk: word,
  mc: fc.array(market, { maxLength: 3 }),
});

/** The same value with its keys in another order, nulls and unknown keys strewn in, as JSON allows. */
function shuffled(value: unknown, seed: number): unknown {
  const random = seededRandom(seed);
  const turn = (node: unknown, inDefinition: boolean): unknown => {
    if (Array.isArray(node)) return node.map((each) => turn(each, inDefinition));
    if (typeof node !== "object" || node === null || inDefinition) return node;
    const entries = Object.entries(node).map(([key, each]) => [key, turn(each, key === "marketDefinition")] as const);
    if (random.next() < 0.3) entries.push(["unheardOf", { deep: [1, { x: "]" }] }]);
    if (random.next() < 0.3) entries.push(["status", null]);
    return Object.fromEntries(
      entries
        .map((entry) => [random.next(), entry] as const)
        .sort((a, b) => a[0] - b[0])
        .map(([, entry]) => entry),
    );
  };
  return turn(value, false);
}

/** An empty list says nothing for any ladder, and comes out as it went in. */
function expected(mc: readonly Record<string, unknown>[]): unknown[] {
  return JSON.parse(JSON.stringify(mc)) as unknown[];
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe("the decoder", () => {
  test("reads what JSON.parse reads, whatever the order of keys, white space, nulls and unknown keys", () => {
    fc.assert(
      fc.property(message, fc.integer(), fc.constantFrom(undefined, 1), (sent, seed, indent) => {
        const text = JSON.stringify(shuffled(sent, seed), null, indent);
        expect(decode(text)).toEqual({ kind: "change" });
        expect([batch.pt, batch.clk]).toEqual([sent.pt, sent.clk]);
        expect(changes()).toEqual(expected(sent.mc as unknown as Record<string, unknown>[]));
      }),
      { numRuns: 500, includeErrorInReport: true },
    );
  });

  test("calls a line invalid wherever it is cut off, and never throws", () => {
    fc.assert(
      fc.property(message, (sent) => {
        const bytes = Buffer.from(JSON.stringify(sent));
        for (let end = 0; end < bytes.length; end += 7) {
          // what stands behind the end of a line is another's, and must not be read
          expect(decodeServerLine(bytes, 0, end, batch).kind).toBe("invalid");
        }
      }),
      { numRuns: 60 },
    );
  });

  test("takes no line that JSON.parse does not take", () => {
    const random = seededRandom(11);
    const base =
      '{"op":"mcm","id":2,"clk":"AB","pt":1743511673103,"mc":[{"id":"1.24","img":true,"tv":5.5,"marketDefinition":{"status":"OPEN","version":12,"runners":[{"id":5,"bsp":"NaN"}]},"rc":[{"atb":[[5.1,112.17],[1.01,0]],"batb":[[0,5.1,2e3]],"ltp":5.10,"spn":"Infinity","id":56297029}]}]}';
    let [taken, refused] = [0, 0];
    for (let run = 0; run < 20_000; run++) {
      const bytes = Buffer.from(base);
      for (let change = randomInt(random, 3); change >= 0; change--) {
        const at = randomInt(random, bytes.length);
        bytes[at] =
          random.next() < 0.5 ? (bytes[randomInt(random, bytes.length)] as number) : 32 + randomInt(random, 95);
      }
      const { kind } = decode(bytes);
      if (kind === "invalid") refused++;
      else {
        expect(isJson(bytes.toString()), bytes.toString()).toBe(true);
        taken++;
      }
    }
    expect(taken).toBeGreaterThan(1000);
    expect(refused).toBeGreaterThan(1000);
  });

  test("tells the other messages apart", () => {
    expect(decode('{"op":"connection","connectionId":"002-1"}')).toEqual({ kind: "connection", connectionId: "002-1" });
    expect(
      decode('{"op":"status","id":1,"statusCode":"SUCCESS","connectionClosed":false,"connectionsAvailable":9}'),
    ).toMatchObject({ kind: "status", id: 1, statusCode: "SUCCESS", connectionsAvailable: 9, errorCode: null });
    expect(
      decode(
        '{"op":"status","statusCode":"FAILURE","errorCode":"TIMEOUT","errorMessage":"late","connectionClosed":true}',
      ),
    ).toMatchObject({ statusCode: "FAILURE", errorCode: "TIMEOUT", errorMessage: "late", connectionClosed: true });
    expect(decode('{"op":"ocm","id":3,"oc":[{"id":"1.1"}],"mc":[5]}')).toEqual({ kind: "other", op: "ocm" });
    for (const text of [
      "",
      "{}",
      "[]",
      "null",
      "5",
      '{"op":5}',
      '{"op":"mcm","mc":{}}',
      '{"op":"mcm","mc":[{}]}',
      '{"op":"mcm","mc":[{"id":"1","rc":[{}]}]}',
      '{"op":"mcm"} x',
      '{"op":"mcm","mc":[{"id":"1","marketDefinition":5}]}',
      '{"op":"mcm","mc":[{"id":"1","rc":[{"id":1,"batb":[[1.5,1,1]]}]}]}',
      '{"op":"mcm","mc":[{"id":"1","rc":[{"id":1,"ltp":"x"}]}]}',
      '{"op":"mcm","pt":01}',
      '{"op":"mcm","pt":1.}',
      '{"op":"mcm","pt":-}',
      '{"op":"mcm","x":tru}',
    ]) {
      expect([text, decode(text).kind]).toEqual([text, "invalid"]);
    }
  });

  test("keeps a change's head", () => {
    decode(
      '{"op":"mcm","id":7,"initialClk":"I","clk":"C","pt":9,"ct":"SUB_IMAGE","segmentType":"SEG_START","conflateMs":5,"heartbeatMs":500,"status":503,"mc":[]}',
    );
    expect({ ...batch }).toMatchObject({
      id: 7,
      initialClk: "I",
      clk: "C",
      pt: 9,
      kind: "image",
      segment: "start",
      conflateMs: 5,
      heartbeatMs: 500,
      status: 503,
      changes: 0,
    });
    decode('{"op":"mcm","ct":"HEARTBEAT","clk":"D","pt":10}');
    expect({ ...batch }).toMatchObject({
      id: null,
      initialClk: null,
      clk: "D",
      kind: "heartbeat",
      segment: "whole",
      status: null,
    });
  });

  test("refuses nesting without end", () => {
    const deep = `{"op":"mcm","x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
    expect(decode(deep)).toMatchObject({ kind: "invalid" });
  });
});
