import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { decodeOrderLine, OrderBatch } from "./orders.ts";

const RECORDINGS =
  process.env.ODDSWIRE_RECORDINGS ?? fileURLToPath(new URL("../../../shared/recordings", import.meta.url));

function decode(text: string) {
  const batch = new OrderBatch();
  const bytes = new TextEncoder().encode(`xx${text}yy`);
  return { message: decodeOrderLine(bytes, 2, bytes.length - 2, batch), batch };
}

const order = (more: object = {}) => ({
  id: "1",
  p: 2,
  s: 3,
  side: "B",
  status: "E",
  pt: "L",
  ot: "L",
  pd: 1,
  rfs: "a-1",
  ...more,
});
const line = (orc: object, more: object = {}) =>
  JSON.stringify({ op: "ocm", id: 2, pt: 5, clk: "c", oc: [{ id: "1.1", orc: [orc] }], ...more });

describe("a line of the order stream", () => {
  test("is read whole: head, markets, runners, orders, positions", () => {
    const smc = { "a-1": { mb: [[2, 3]] }, "": { ml: [[4, 5]] } };
    const { message, batch } = decode(
      line(
        { id: 7, hc: 0.5, fullImage: true, uo: [order({ rfo: "é" })], mb: [[2, 3]], smc },
        { ct: "SUB_IMAGE", initialClk: "i", segmentType: "SEG_START", status: 503, heartbeatMs: 5000 },
      ),
    );
    expect(message).toEqual({ kind: "change" });
    expect(batch).toMatchObject({
      kind: "image",
      segment: "start",
      pt: 5,
      clk: "c",
      initialClk: "i",
      status: 503,
      heartbeatMs: 5000,
      id: 2,
    });
    const [market] = batch.markets;
    expect(market).toMatchObject({ id: "1.1", accountId: null, closed: null, fullImage: false });
    expect(market?.runners).toEqual([
      {
        id: 7,
        hc: 0.5,
        fullImage: true,
        mb: [[2, 3]],
        ml: [],
        orders: [
          { id: "1", ref: "a-1", isComplete: false, text: JSON.stringify(order({ rfo: "é" })).replace("é", "\\u00e9") },
        ],
        strategies: [
          { ref: "a-1", mb: [[2, 3]], ml: [] },
          { ref: "", mb: [], ml: [[4, 5]] },
        ],
      },
    ]);
  });

  test("null means absent; a key that every object has is a reference like any other", () => {
    const text = line({ id: 7, hc: null, uo: null, mb: null, smc: null }).replace(
      '"smc":null',
      '"smc":{"__proto__":{"mb":[[2,1]]}}',
    );
    const [runner] = decode(text).batch.markets[0]?.runners ?? [];
    expect(runner).toMatchObject({ hc: 0, orders: [], mb: [] });
    expect(runner?.strategies).toEqual([{ ref: "__proto__", mb: [[2, 1]], ml: [] }]);
  });

  test.each([
    ["an order that is neither E nor EC", { uo: [order({ status: "X" })] }],
    ["an order without id", { uo: [order({ id: undefined })] }],
    ["a price that is text", { uo: [order({ p: "2" })] }],
    ["a reference that is a number", { uo: [order({ rfs: 1 })] }],
    ["orders that are no list", { uo: {} }],
    ["a match without size", { mb: [[2]] }],
    ["a negative size", { ml: [[2, -1]] }],
    ["strategies that are a list", { smc: [] }],
    ["a strategy that is a number", { smc: { a: 1 } }],
    ["a runner without id", { id: undefined }],
    ["a fullImage that is a number", { fullImage: 1 }],
  ])("with %s is invalid as a whole", (_, wrong) => {
    const { message, batch } = decode(line({ id: 7, ...wrong }));
    expect(message.kind).toBe("invalid");
    expect(batch.markets).toEqual([]);
  });

  test("that is none of orders is what it is", () => {
    expect(decode('{"op":"mcm","id":1,"pt":1,"mc":[]}').message).toEqual({ kind: "other", op: "mcm" });
    expect(decode('{"op":"connection","connectionId":"1"}').message).toEqual({ kind: "connection", connectionId: "1" });
    expect(decode('{"op":"ocm"').message.kind).toBe("invalid");
    expect(decode('{"op":"ocm","oc":{}}').message.kind).toBe("invalid");
  });
});

const files = ["SUB_IMAGE", "FULL_IMAGE", "NEW_FULL_IMAGE", "EMPTY_IMAGE", "UPDATE"].map(
  (name) => `streaming_ocm_${name}.json`,
);
for (const file of [...files, "ORDER-1.177596575"]) {
  const path = `${RECORDINGS}/messages/betfairlightweight/${file}`;
  const lines = read(path);
  test.skipIf(lines === null)(`recorded: ${file}`, () => {
    for (const text of lines as string[]) {
      const { message, batch } = decode(text);
      expect(message).toEqual({ kind: "change" });
      const raw = JSON.parse(text);
      expect(batch.markets.map(({ id }) => id)).toEqual(raw.oc.map(({ id }: { id: string }) => id));
      const orders = (raw.oc as { orc?: { uo?: object[] }[] }[]).flatMap(({ orc = [] }) =>
        orc.flatMap(({ uo = [] }) => uo),
      );
      expect(
        batch.markets.flatMap(({ runners }) =>
          runners.flatMap(({ orders }) => orders.map(({ text }) => JSON.parse(text))),
        ),
      ).toEqual(orders);
    }
  });
}

function read(path: string): string[] | null {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .filter((text) => text.trim() !== "");
  } catch {
    return null;
  }
}
