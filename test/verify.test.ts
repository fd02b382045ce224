import { describe, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { systemClock } from "../src/base/clock.ts";
import { pick, randomInt, seededRandom } from "../src/base/random.ts";
import { startFor } from "../src/cli/verify.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { FIELD_FLAGS } from "../src/sim/exchange-fields.ts";
import { VERIFY_MUTANTS } from "../src/sim/mutants.ts";
import type { Asked } from "../src/sim/onlooker.ts";
import type { Through } from "../src/sim/playthrough.ts";
import { verify as verifyFiles } from "../src/sim/verify.ts";
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

/** Two markets of depth alone: prices come and go on both sides. */
function deep(messages: number): string {
  const random = seededRandom(7);
  const definition = {
    status: "OPEN",
    inPlay: false,
    version: 1,
    runners: [{ id: 7, sortPriority: 1, status: "ACTIVE" }],
  };
  const offers = (from: number) =>
    Array.from({ length: 3 }, () => [from + randomInt(random, 30) / 100, pick(random, [0, 0, 2, 0.55, 17.25])]);
  const change = (id: string, first: boolean) => ({
    id,
    ...(first && { img: true, marketDefinition: definition }),
    rc: [{ id: 7, hc: 0.5, atb: offers(2), atl: offers(3), tv: randomInt(random, 100) }],
  });
  const lines = Array.from({ length: messages }, (_, at) => ({
    op: "mcm",
    pt: 1000 + Math.floor(at / 3),
    mc: [...(at % 5 > 0 ? [change("1.6", at === 1)] : []), ...(at % 3 > 0 ? [] : [change("1.7", at === 0)])],
  }));
  return lines.map((line) => JSON.stringify(line)).join("\n");
}

/** `oddswire verify` in this process, for planted mistakes. */
async function verified(files: string[], through: Through, asked: Asked): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const printer = { print: (line: string) => void lines.push(line), note() {} };
  const stage = {
    clock: systemClock,
    random: seededRandom(1),
    dial: bunDial,
    listen: bunListen,
    startGateway: startFor,
  };
  const code = await verifyFiles({ files, through, asked, dump: false }, stage, printer);
  return { code, text: lines.join("\n") };
}

describe("fields, levels, conflation", () => {
  const asked: Asked = { fields: ["EX_BEST_OFFERS", "EX_TRADED_VOL"], ladderLevels: 3, conflateMs: 50 };

  test("levels are the best of the depth, by the command line, by each door", async () => {
    const options = ["--fields", "EX_BEST_OFFERS", "--levels", "2", "--conflate", "50"];
    const played = ["websocket", "esa"].map(async (through) => {
      const { code, stdout } = await oddswire(["verify", "--through", through, ...options, file("deep", deep(200))]);
      expect([through, code, stdout.trim().split("\n").at(-1)]).toEqual([through, 0, "1 passed, 0 failed"]);
    });
    await Promise.all(played);
  });

  test("what cannot be asked for is a mistake of usage", async () => {
    for (const wrong of [
      ["--fields", "EX_BEST_OFFER"],
      ["--levels", "11"],
      ["--conflate", "1.5"],
    ]) {
      const { code, stderr } = await oddswire(["verify", ...wrong, "none"]);
      expect([wrong, code]).toEqual([wrong, 2]);
      expect(stderr).toContain(wrong[0] === "--fields" ? "did you mean EX_BEST_OFFERS?" : "takes a whole number");
    }
  });

  test("passes without a mistake, and finds each planted one", async () => {
    const path = file("mutants", deep(300));
    expect(await verified([path], "esa", asked)).toMatchObject({ code: 0 });
    for (const mutant of VERIFY_MUTANTS) {
      const restore = mutant.plant();
      const { code, text } = await verified([path], "websocket", asked).finally(restore);
      expect([mutant.name, code]).toEqual([mutant.name, 1]);
      expect(text).toMatch(
        / {2}1\.[67] after change \d+ of \d+: .+ against .+ came| messages in \d+ ms are not one in 50 ms/,
      );
    }
  }, 30_000);
});

describe.skipIf(found.kind === "missing")("the recordings", () => {
  test("pass in samples of fields, levels and conflation", async () => {
    const samples: [string, Through, Asked][] = [
      [
        "betfair_parser/football-200markets.half-a.bz2",
        "esa",
        { fields: ["EX_BEST_OFFERS"], ladderLevels: 3, conflateMs: 50 },
      ],
      [
        "kelvinvail-betfair/MarketStream.txt",
        "websocket",
        { fields: ["EX_BEST_OFFERS", "EX_LTP"], ladderLevels: 2, conflateMs: 100 },
      ],
      ["betfair-database/1.145405534.bz2", "esa", { fields: [...FIELD_FLAGS], ladderLevels: 10, conflateMs: 0 }],
      [
        "betfair_parser/1.164917629.bz2",
        "websocket",
        { fields: ["EX_ALL_OFFERS", "SP_TRADED", "SP_PROJECTED"], ladderLevels: 1, conflateMs: 50 },
      ],
      [
        "flumine/1.197931750",
        "direct",
        { fields: ["EX_BEST_OFFERS_DISP", "EX_ALL_OFFERS"], ladderLevels: 2, conflateMs: 50 },
      ],
    ];
    const played = samples.map(async ([name, through, asked]) => {
      const { code, text } = await verified([`${found.path}/${name}`], through, asked);
      expect([name, asked, code, text]).toEqual([name, asked, 0, expect.stringMatching(/\n1 passed, 0 failed$/)]);
    });
    await Promise.all(played);
  }, 30_000);

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
