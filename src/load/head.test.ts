import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Head, marketNumber, text } from "./head.ts";

const head = new Head();
const read = (message: string) => {
  const bytes = Buffer.from(`xx${message}yy`);
  const isRead = head.read(bytes, 2, bytes.length - 2);
  const { op, ct, segment, pt, status, changes } = head;
  const clk = text(bytes, head.clkFrom, head.clkTo);
  const initialClk = text(bytes, head.initialFrom, head.initialTo);
  const entries = changes === -1 ? null : bytes.toString("latin1", changes, bytes.length - 2);
  return { isRead, op, ct, segment, pt, status, clk, initialClk, entries };
};

describe("a head", () => {
  test("is read in any order of keys, as JSON.parse would, whatever else stands in it", () => {
    const word = fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/);
    const known = fc.record(
      {
        id: fc.nat(),
        ct: fc.constantFrom("SUB_IMAGE", "RESUB_DELTA", "HEARTBEAT"),
        segmentType: fc.constantFrom("SEG_START", "SEG", "SEG_END"),
        clk: word,
        initialClk: fc.option(word),
        pt: fc.integer({ min: 0, max: 2 ** 45 }),
        status: fc.constantFrom(503, null),
        conflateMs: fc.nat(),
        heartbeatMs: fc.nat(),
        other: fc.oneof(word, fc.boolean(), fc.nat()),
      },
      { requiredKeys: [] },
    );
    const mc = fc.option(fc.array(fc.record({ id: word, tv: fc.nat() })), { nil: undefined });
    fc.assert(
      fc.property(known, fc.array(fc.nat()), mc, (keys, order, mc) => {
        const entries = Object.entries({ op: "mcm", ...keys });
        for (const n of order) entries.push(...entries.splice(n % entries.length, 1));
        const message = Object.fromEntries(entries) as Record<string, string | number | null>;
        const found = read(JSON.stringify({ ...message, ...(mc && { mc }) }));
        expect(found).toEqual({
          isRead: true,
          op: "mcm",
          ct: (message.ct as string) ?? "",
          segment: (message.segmentType as string) ?? "",
          pt: (message.pt as number) ?? 0,
          status: (message.status as number) ?? 0,
          clk: (message.clk as string) ?? "",
          initialClk: (message.initialClk as string) ?? "",
          entries: mc ? `${JSON.stringify(mc).slice(1)}}` : null,
        });
      }),
    );
  });

  test("that is not flat, not whole or none is left to who looks more closely", () => {
    for (const message of [
      "",
      "[]",
      '{"op":"mcm"',
      '{"op":{"a":1}}',
      '{"op":"m\\u0063m"}',
      '{"mc":[]',
      '{"xx":[1]}',
      '{"op" :1}',
    ])
      expect(read(message).isRead, message).toBe(false);
  });
});

test("a market's number tells ids of digits apart", () => {
  const id = fc.integer({ min: 1, max: 9_999_999_999 }).map((n) => `1.${n}`);
  const number = (id: string) => marketNumber(Buffer.from(`${id}","img":true`), 0);
  fc.assert(fc.property(id, id, (a, b) => (number(a) === number(b)) === (a === b)));
});
