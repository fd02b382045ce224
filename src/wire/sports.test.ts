import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeSportLine, type Sport, SportBatch } from "./sports.ts";

const RECORDINGS = process.env.ODDSWIRE_RECORDINGS ?? join(import.meta.dir, "../../../shared/recordings");
const FILES = [
  "flumine/sportsdata-1.200806927.ccm",
  "messages/betfairlightweight/CRICKET-1.179676557",
  "messages/betfairlightweight/RACE-1.140075353",
].filter((file) => existsSync(join(RECORDINGS, file)));

function read(sport: Sport, line: string | Uint8Array, batch = new SportBatch()) {
  const bytes = typeof line === "string" ? new TextEncoder().encode(line) : line;
  return { message: decodeSportLine(bytes, 0, bytes.length, sport, batch), batch };
}

describe("a line of sports data", () => {
  test("is read in any order of keys, its entries kept to the letter", () => {
    const entry = `{ "rpc": {"spd":17.80,"n":12345678901234567890,"J":[]}, "new":"x", "id": "2.1650",
      "mid":"1.1", "rrc":[{"id":7,"long":-0.4058491},{"id": 8, "sfq":1e-3}]}`.replaceAll("\n", "");
    const line = `{"clk":"453814994750","rc":[${entry}],"pt":1602006840130,"op":"rcm","ct":null}`;
    const { message, batch } = read("race", line);
    expect(message).toEqual({ kind: "change" });
    expect(batch).toMatchObject({ kind: "update", clk: "453814994750", initialClk: null, pt: 1602006840130, id: null });
    expect(batch.changes).toEqual([
      {
        game: '"id":"2.1650","mid":"1.1"',
        text: entry,
        parts: new Map([
          ['"rpc"', '{"spd":17.80,"n":12345678901234567890,"J":[]}'],
          ['"new"', '"x"'],
        ]),
        runners: new Map([
          ['"id":7', '{"id":7,"long":-0.4058491}'],
          ['"id":8', '{"id": 8, "sfq":1e-3}'],
        ]),
      },
    ]);
  });

  test("has a head like any other change; a clk that is a number is one too", () => {
    const head = `"op":"ccm","id":2,"ct":"SUB_IMAGE","initialClk":"a","clk":12,"conflateMs":0,"heartbeatMs":5000,"status":503`;
    const { batch } = read("cricket", `{${head},"pt":5,"cc":null}`);
    expect(batch).toMatchObject({ kind: "image", id: 2, initialClk: "a", clk: "12", heartbeatMs: 5000, status: 503 });
    expect(batch.changes).toEqual([]);
    read("cricket", `{"op":"ccm","ct":"HEARTBEAT","clk":"b"}`, batch);
    expect(batch).toMatchObject({ kind: "heartbeat", id: null, initialClk: null, clk: "b", status: null });
  });

  test("is ASCII however it was written", () => {
    const { batch } = read("cricket", '{"op":"ccm","cc":[{"eventId":"1","marketId":"2","é":"Čas\\u0301"}]}');
    expect(batch.changes[0]?.text).toBe('{"eventId":"1","marketId":"2","\\u00e9":"\\u010cas\\u0301"}');
    expect([...(batch.changes[0]?.parts ?? [])]).toEqual([['"\\u00e9"', '"\\u010cas\\u0301"']]);
  });

  test("is invalid where it is not JSON, or not known to speak of what", () => {
    const wrong = [
      "{",
      '{"op":"rcm","rc":[{"id":"1"}]}',
      '{"op":"rcm","rc":[{"id":"1","mid":null}]}',
      '{"op":"rcm","rc":[{"id":"1","mid":"2","rrc":[{"spd":1}]}]}',
      '{"op":"rcm","rc":[{"id":"1","mid":"2","rrc":{}}]}',
      '{"op":"rcm","rc":[7]}',
      '{"op":"rcm"} {}',
      '{"op":"rcm",}',
      '{"pt":1}',
      "[]",
    ];
    for (const line of wrong) expect([line, read("race", line).message.kind]).toEqual([line, "invalid"]);
    const broken = new Uint8Array([...new TextEncoder().encode('{"op":"rcm","x":"'), 0xc3, 0x28, 0x22, 0x7d]);
    expect(read("race", broken).message.kind).toBe("invalid");
    expect(read("race", '{"op":"rcm","rc":[{"id":"1","mid":"2","rrc":null}]}').message.kind).toBe("change");
  });

  test("of another op is left to who reads it", () => {
    expect(read("race", '{"op":"connection","connectionId":"7"}').message).toEqual({
      kind: "connection",
      connectionId: "7",
    });
    expect(read("race", '{"op":"status","id":1,"statusCode":"SUCCESS"}').message).toMatchObject({
      kind: "status",
      id: 1,
    });
    for (const op of ["ccm", "mcm", "ocm"])
      expect(read("race", `{"op":"${op}","pt":1}`).message).toEqual({ kind: "other", op });
  });

  test.each(FILES)("of %s: every value survives", (file) => {
    const batch = new SportBatch();
    let changes = 0;
    for (const line of readFileSync(join(RECORDINGS, file), "utf8").split("\n").filter(Boolean)) {
      const message = JSON.parse(line);
      expect(read(message.op === "rcm" ? "race" : "cricket", line, batch).message.kind).toBe("change");
      const entries: Record<string, unknown>[] = message.rc ?? message.cc;
      expect(batch.changes.map(({ text }) => JSON.parse(text))).toEqual(entries);
      for (const [i, { game, parts, runners }] of batch.changes.entries()) {
        const put = [game, ...[...parts].map(([key, text]) => `${key}:${text}`)];
        if (runners.size > 0) put.push(`"rrc":[${[...runners.values()].join(",")}]`);
        expect(JSON.parse(`{${put.join(",")}}`)).toEqual(entries[i]);
      }
      changes += entries.length;
    }
    expect(changes).toBeGreaterThan(2);
  });
});
