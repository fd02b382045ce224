import { describe, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { oddswire } from "./command.ts";
import { recordings } from "./parts.ts";
import { marketRecordings } from "./real/recorded.ts";

const found = recordings();
const folder = mkdtempSync(join(tmpdir(), "oddswire-verify-"));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** A recording in the historic form: one market, `messages` changes, one of them with the market twice. */
function made(messages: number): string {
  const definition = {
    status: "OPEN",
    inPlay: false,
    version: 1,
    runners: [{ id: 7, sortPriority: 1, status: "ACTIVE", bsp: "NaN" }],
  };
  const lines = [
    {
      op: "mcm",
      clk: "0",
      pt: 1000,
      mc: [{ id: "1.5", marketDefinition: definition, rc: [{ id: 7, atb: [[2, 10]], spn: "Infinity" }] }],
    },
  ];
  for (let i = 1; i < messages; i++) {
    const mc = [
      { id: "1.5", rc: [{ id: 7, ltp: 1 + i / 100, atb: [[2 + (i % 5), i]], spb: [[70.1621307023403, i]] }] },
    ];
    if (i === 10) mc.push({ id: "1.5", rc: [{ id: 7, ltp: 500, atb: [], spb: [] }] });
    lines.push({ op: "mcm", clk: String(i), pt: 1000 + i, mc } as unknown as (typeof lines)[0]);
  }
  return lines.map((line) => JSON.stringify(line)).join("\n");
}

describe("oddswire verify", () => {
  test("passes good recordings, packed or not, by every door", async () => {
    const files = [file("a", made(100)), file("b.gz", gzipSync(made(30)))];
    for (const through of ["websocket", "esa", "direct"]) {
      const { code, stdout } = await oddswire(["verify", "--through", through, ...files]);
      expect([through, code, stdout.trim().split("\n").at(-1)]).toEqual([through, 0, "2 passed, 0 failed"]);
    }
  });

  test("fails what cannot be played, with a code, and plays the others", async () => {
    const packed = gzipSync(made(50));
    const files = [
      file("good", made(5)),
      join(folder, "missing"),
      file("half.gz", packed.subarray(0, packed.length / 2)),
      file("text", "hello\n"),
    ];
    const { code, stdout, stderr } = await oddswire(["verify", ...files]);
    expect(code).toBe(1);
    expect(stdout).toContain("FILE_NOT_FOUND");
    expect(stdout.match(/INVALID_RECORDING/g)?.length).toBe(2);
    expect(stdout.trim().split("\n").at(-1)).toBe("1 passed, 3 failed");
    expect(stderr).not.toContain("    at ");
  });

  test("--dump prints what came through: at most 20 states a market, at the moments that were agreed", async () => {
    const { code, stdout } = await oddswire(["verify", "--dump", file("dump", made(100))]);
    expect(code).toBe(0);
    const states = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const of = 101;
    // after the tenth change the market comes twice in one message: the state is the one after it
    const expected = Array.from({ length: 19 }, (_, i) => Math.max(1, Math.floor((of * (i + 1)) / 20 + 0.5))).map(
      (n) => (n === 11 ? 12 : n),
    );
    expect(states.map((state) => state.n)).toEqual([...expected, of]);
    expect(states.map((state) => state.final)).toEqual([...expected.map(() => false), true]);
    expect(Object.keys(states[0] as object)).toEqual([
      "market",
      "n",
      "of",
      "final",
      "publishTime",
      "status",
      "inPlay",
      "version",
      "totalMatched",
      "runners",
    ]);
    expect(states.at(-1)).toMatchObject({
      market: "1.5",
      of,
      publishTime: 1099,
      status: "OPEN",
      inPlay: false,
      version: 1,
      totalMatched: null,
    });
    const [runner] = (states.at(-1) as { runners: Record<string, unknown>[] }).runners;
    expect(runner).toEqual({
      id: 7,
      hc: 0,
      status: "ACTIVE",
      ltp: 1.99,
      tv: null,
      atb: [
        [6, 99],
        [5, 98],
        [4, 97],
        [3, 96],
        [2, 95],
      ],
      atl: [],
      trd: [],
      spb: [[70.1621307023403, 99]],
      spn: "Infinity",
      bsp: "NaN",
    });
  });
});

describe.skipIf(found.kind === "missing")("the recordings", () => {
  for (const through of ["websocket", "esa"]) {
    test(`all pass by ${through}`, async () => {
      const files = (await marketRecordings(found.path))
        .filter((name) => !name.startsWith("messages"))
        .map((name) => `${found.path}/${name}`);
      const { code, stdout } = await oddswire(["verify", "--through", through, ...files]);
      expect([code, stdout.trim().split("\n").at(-1)]).toEqual([0, `${files.length} passed, 0 failed`]);
      expect(stdout).not.toContain("had to connect again");
    }, 60_000);
  }

  test("come through as plain Python reads them", async () => {
    for (const name of ["flumine/1.197931750", "betfair_parser/1.164917629.bz2", "betfair-adapter-rs/29788457"]) {
      const path = `${found.path}/${name}`;
      const dump = await oddswire(["verify", "--dump", path]);
      const plain = Bun.spawnSync(["python3", new URL("real/plain_states.py", import.meta.url).pathname, path]);
      expect(plain.stderr.toString()).toBe("");
      const sorted = (text: string) =>
        text
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line))
          .sort((a, b) => (a.market < b.market ? -1 : a.market > b.market ? 1 : a.n - b.n));
      expect(sorted(dump.stdout)).toEqual(sorted(plain.stdout.toString()));
    }
  }, 60_000);
});
