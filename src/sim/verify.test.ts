import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { recordings } from "../../test/parts.ts";
import { systemClock } from "../base/clock.ts";
import { pick, randomInt, seededRandom } from "../base/random.ts";
import type { Socket } from "../base/socket.ts";
import { bunDial, bunListen, freePort } from "../edge/sockets.ts";
import type { MarketChange, RunnerChange } from "./naive.ts";
import type { PlayedGateway, Stage, Through, Upstream } from "./playthrough.ts";
import { verify } from "./verify.ts";

const HOST = "127.0.0.1";
const folder = mkdtempSync(join(tmpdir(), "oddswire-verify-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Message {
  op: "mcm";
  pt: number;
  mc: MarketChange[];
}

/** A small recording with everything in it that books are made of. */
function generated(seed = 5, length = 400): Message[] {
  const random = seededRandom(seed);
  const price = () => pick(random, [70.1621307023403, ...Array.from({ length: 30 }, (_, tick) => (101 + tick) / 100)]);
  const size = () => pick(random, [0, 2, 17.25, 1e6 + 0.01]);
  const prices = () => Array.from({ length: 1 + randomInt(random, 3) }, () => [price(), size()] as const);
  const levels = () => Array.from({ length: 2 }, () => [randomInt(random, 3), price(), size()] as const);
  const runner = (): RunnerChange => ({
    id: pick(random, [11, 12]),
    ...(random.next() < 0.3 && { hc: -0.5 }),
    ...pick<Partial<RunnerChange>>(random, [
      { atb: prices() },
      { atl: prices(), ltp: price() },
      { trd: prices(), tv: size() },
      { trd: [] },
      { spb: prices() },
      { batb: levels() },
      { bdatl: levels() },
      { spn: "NaN", spf: "Infinity" },
    ]),
  });
  const definition = (version: number) => ({
    status: version % 3 === 0 ? "SUSPENDED" : "OPEN",
    inPlay: version > 4,
    version,
    runners: [
      { id: 11, status: "ACTIVE", sortPriority: 1, bsp: "NaN" },
      { id: 12, hc: -0.5, status: "REMOVED", removalDate: "2026-01-01T00:00:00.000Z", adjustmentFactor: 12.5 },
    ],
  });
  const change = (at: number): MarketChange => ({
    id: pick(random, ["1.1", "1.2"]),
    ...(at % 150 === 149 && { img: true }),
    ...(at % 20 === 0 && { marketDefinition: definition(at / 20) }),
    ...(random.next() < 0.1 && { tv: at }),
    rc: [runner(), runner()],
  });
  return Array.from({ length }, (_, at) => ({
    op: "mcm",
    pt: 1_700_000_000_000 + at * 50,
    mc: at % 7 === 0 ? [change(at), change(at), change(at)] : [change(at)],
  }));
}

const text = (messages: object[]) => messages.map((message) => `${JSON.stringify(message)}\n`).join("");
function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

type Tamper = (message: Message & { id: number }) => object | null;

/** A gateway that only passes messages on, by both doors, and lies about one thing. */
function standIn(tamper: Tamper): (upstream: Upstream) => PlayedGateway {
  return (upstream) => {
    const esa = bunListen({ host: HOST, port: 0 }, () => {
      let up: Socket;
      return {
        open(user) {
          const say = (text: string) => void user.write(Buffer.from(`${text}\r\n`));
          up = dialUp(upstream, tamper, say, () => user.end());
        },
        data: (_, bytes) => void up.write(bytes),
        close: () => up.end(),
      };
    });
    const frames = Bun.serve<{ up?: Socket }>({
      hostname: HOST,
      port: freePort(HOST),
      fetch: (request, server) => (server.upgrade(request, { data: {} }) ? undefined : new Response("no")),
      websocket: {
        open: (user) =>
          void (user.data.up = dialUp(
            upstream,
            tamper,
            (text) => void user.send(text),
            () => user.close(),
          )),
        message: (user, text) => void user.data.up?.write(Buffer.from(`${text}\r\n`)),
        close: (user) => user.data.up?.end(),
      },
    });
    const { session, appKey } = upstream;
    const stop = () => void [esa.stop(), frames.stop(true)];
    return { websocketUrl: `ws://${HOST}:${frames.port}`, esaPort: esa.port, session, appKey, stop };
  };
}

function dialUp(upstream: Upstream, tamper: Tamper, say: (text: string) => void, over: () => void): Socket {
  let pending = "";
  return bunDial(upstream, {
    data(_, bytes) {
      const lines = (pending + Buffer.from(bytes)).split("\r\n");
      pending = lines.pop() as string;
      for (const line of lines.map((line) => passed(line, tamper))) if (line !== null) say(line);
    },
    close: over,
  });
}

function passed(line: string, tamper: Tamper): string | null {
  const message = JSON.parse(line);
  const said = message.op === "mcm" && message.mc !== undefined ? tamper(message) : message;
  return said && JSON.stringify(said);
}

async function run(files: string[], through: Through = "direct", tamper: Tamper = (message) => message, dump = false) {
  const [printed, noted]: [string[], string[]] = [[], []];
  const stage: Stage = {
    clock: systemClock,
    random: seededRandom(1),
    dial: bunDial,
    listen: bunListen,
    startGateway: standIn(tamper),
  };
  const printer = { print: (line: string) => void printed.push(line), note: (line: string) => void noted.push(line) };
  const code = await verify({ files, through, dump }, stage, printer);
  return { code, printed, noted, all: printed.join("\n") };
}

const good = file("good", text(generated()));

describe("verify", () => {
  test("passes what came through unchanged, with a row a file and the sum", async () => {
    const { code, printed } = await run([good, file("good.gz", gzipSync(text(generated(6, 50))))]);
    expect(printed[0]).toMatch(/^file +messages +markets +states +differences +seconds$/);
    expect(printed[1]).toMatch(/good +400 +2 +40 +0 +\d+\.\d\d$/);
    expect([printed[2], printed.at(-1), code]).toEqual([expect.stringContaining("good.gz"), "2 passed, 0 failed", 0]);
  });

  test("dumps the states that came through as JSON lines, and notes the table beside them", async () => {
    const { code, printed, noted } = await run([good], "direct", undefined, true);
    const states = printed.map((line) => JSON.parse(line));
    expect([code, states.length, noted.at(-1)]).toEqual([0, 40, "1 passed, 0 failed"]);
    const keys = [
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
    ];
    for (const state of states) expect(Object.keys(state)).toEqual(keys);
    const last = states.findLast((state) => state.market === "1.1");
    const messages = generated().filter(({ mc }) => mc.some(({ id }) => id === "1.1"));
    expect(last).toMatchObject({ final: true, n: last.of, publishTime: messages.at(-1)!.pt });
    expect(last.of).toBe(messages.flatMap(({ mc }) => mc).filter(({ id }) => id === "1.1").length);
  });

  test("says what is wrong with a file, counts it as failed and goes on", async () => {
    const { code, printed, all } = await run([
      join(folder, "none"),
      file("damaged", `${text(generated(1, 9))}nonsense\n`),
      file("cricket", '{"op":"ccm","pt":1,"cc":[]}\n'),
      file("half.gz", gzipSync(text(generated())).subarray(0, 2000)),
      good,
    ]);
    expect([code, printed.at(-1)]).toEqual([1, "1 passed, 4 failed"]);
    expect(all).toContain("FILE_NOT_FOUND: ");
    expect(all).toMatch(/INVALID_RECORDING: .*damaged: line 10: not JSON/);
    expect(all).toMatch(/INVALID_RECORDING: .*cricket: no market data/);
    expect(all).toMatch(/INVALID_RECORDING: .*half.gz: unexpected end of file/);
  });

  test("compares a market whose first change is no image", async () => {
    const bare = { op: "mcm", pt: 5, mc: [{ id: "1.9", rc: [{ id: 3, ltp: 2 }] }] };
    expect((await run([file("bare", text([bare]))])).code).toBe(0);
  });
});

test("what breaks inside is one file's failure, and its stack is shown", async () => {
  const startGateway = () => {
    throw new Error("broken");
  };
  const stage: Stage = { clock: systemClock, random: seededRandom(1), dial: bunDial, listen: bunListen, startGateway };
  const printed: string[] = [];
  const printer = { print: (line: string) => void printed.push(line), note() {} };
  expect(await verify({ files: [good, good], through: "esa", dump: false }, stage, printer)).toBe(1);
  expect(printed.join("\n")).toMatch(/UNEXPECTED_ERROR: Error: broken[\s\S]*\n0 passed, 2 failed$/);
});

describe("negative controls: a gateway that lies is found out", () => {
  type Written<Shape> = { -readonly [Key in keyof Shape]: Shape[Key] };
  const changes = (message: Message) => message.mc as Written<MarketChange>[];
  const runners = (message: Message) => changes(message).flatMap(({ rc }) => (rc ?? []) as Written<RunnerChange>[]);
  /** A delta that brings a price to back: to lose it must show. */
  const delta = (message: Message) => {
    const [first, ...others] = changes(message);
    const brings = first?.rc?.some(({ atb }) => atb?.some(([, size]) => size > 0));
    return others.length === 0 && brings && !first?.img ? first : undefined;
  };
  /** Does it to the third message that `of` finds something in, or to every one. */
  const lying = <Found>(
    of: (message: Message) => Found | undefined,
    lie: (found: Found) => void,
    when: "once" | "always",
  ): Tamper => {
    let seen = 0;
    return (message) => {
      const found = of(message);
      if (found !== undefined && (++seen === 3 || when === "always")) lie(found);
      return message;
    };
  };

  const lies: Record<string, Tamper> = {
    "drops a delta": lying(delta, (found) => delete found.rc, "once"),
    "mixes up two markets": lying(delta, (found) => (found.id = found.id === "1.1" ? "1.2" : "1.1"), "once"),
    "rounds a size": lying(
      (message) => runners(message).find(({ trd }) => trd?.some(([, size]) => size > 0)),
      (found) => (found.trd = found.trd!.map(([price, size]) => [price, Math.floor(size)])),
      "always",
    ),
    "skips a suspension": lying(
      (message) => changes(message).find(({ marketDefinition }) => marketDefinition?.status === "SUSPENDED"),
      (found) => delete found.marketDefinition,
      "once",
    ),
    "loses a tombstone": lying(
      (message) => runners(message).find(({ atl }) => atl?.some(([, size]) => size === 0)),
      (found) => (found.atl = found.atl!.filter(([, size]) => size !== 0)),
      "always",
    ),
    "forgets what an image means": lying(
      (message) => (message.pt > generated(5, 1)[0]!.pt ? changes(message).find(({ img }) => img) : undefined),
      (found) => delete found.img,
      "always",
    ),
  };

  test("one that does not lie passes, by either door", async () => {
    expect((await run([good], "esa")).all).toEndWith("1 passed, 0 failed");
    expect((await run([good], "websocket")).all).toEndWith("1 passed, 0 failed");
  });

  for (const [lie, tamper] of Object.entries(lies)) {
    test(`one that ${lie} fails, and the first difference is named`, async () => {
      const { code, all } = await run([good], "websocket", tamper);
      expect(code).toBe(1);
      expect(all).toMatch(/ {2}1\.\d after change \d+ of \d+: .+ against .+ came/);
      expect(all).toEndWith("0 passed, 1 failed");
    });
  }
});

const recorded = recordings();
test.skipIf(recorded.kind === "missing")(
  "a recorded market with level ladders comes through, and one with starting prices",
  async () => {
    const files = ["flumine/1.197931750", "betfair_parser/1.164917629.bz2"].map((name) => join(recorded.path, name));
    expect((await run(files)).all).toEndWith("2 passed, 0 failed");
  },
);
