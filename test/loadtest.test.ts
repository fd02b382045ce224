import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { seededRandom } from "../src/base/random.ts";
import type { LoadResult } from "../src/load/result.ts";
import type { MarketChange } from "../src/sim/naive.ts";
import { EventDay, W1 } from "../src/sim/world-w1.ts";
import { type Outcome, oddswire } from "./command.ts";
import { freePort } from "./ports.ts";
import { type OpenStage, openStage, SESSION, until } from "./stage.ts";

const USERS = 100;
const MARKETS = 100;
/** So many are asked for, two by each user. */
const ASKED = 10;
const CHANGES_PER_SECOND = 200;
const SECONDS = 3;
const BEHIND_MS_MAX = 1_000;

/** One stage for all; every run goes on at the same time. */
describe("oddswire loadtest", () => {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-loadtest-"));
  const page = join(folder, "result.html");
  let stage: OpenStage;
  let world: EventDay;
  const proxies: MeddlingProxy[] = [];
  const runs = new Map<string, Promise<Outcome>>();
  /** When the exchange published each change of the markets that are asked for. */
  const published: number[] = [];
  const asked = new Set<string>();

  beforeAll(async () => {
    const free = { host: "127.0.0.1", port: 0 };
    stage = await openStage(1, {
      delivery: { behindMsMax: BEHIND_MS_MAX },
      doors: { http: free, websocket: free, sse: free, esa: free },
      metrics: free,
    });
    const options = { ...W1, markets: MARKETS, runners: 8, changesPerSecond: CHANGES_PER_SECOND, zipf: 0 };
    const burst = { everyMs: 60_000, forMs: 0, times: 1 };
    const publish = (pt: number, changes: readonly MarketChange[]) => {
      for (const { id } of changes) if (asked.has(id)) published.push(pt);
      stage.exchange.publish(pt, changes);
    };
    world = new EventDay({ ...options, burst }, { clock: systemClock, random: seededRandom(1), publish });
    world.start();
    await until(() => stage.gateway.cache.size === MARKETS, "all markets are here");
    const url = stage.gateway.httpUrl as string;
    const { esaPort } = stage.gateway;
    const flipping = await MeddlingProxy.start(esaPort as number, flipped);
    const swallowing = await MeddlingProxy.start(esaPort as number, () => null);
    proxies.push(flipping, swallowing);
    const marketIds = [...stage.gateway.cache.books()].map(({ id }) => id).slice(0, ASKED);
    for (const id of marketIds) asked.add(id);
    const ordinary = {
      users: USERS,
      marketsEach: 2,
      readers: 4,
      seconds: SECONDS,
      warmUpSeconds: 1,
      markets: { marketIds },
    };
    const laggards = { neverReads: 0.02, readsSlowly: 0.02, stalls: 0.02, stopsAcknowledging: 0.02 };
    const start = (name: string, url: string, workload: object, ...more: string[]) => {
      const file = join(folder, `${name}.json`);
      writeFileSync(file, JSON.stringify(workload));
      const args = ["loadtest", url, "--workload", file, "--session", SESSION, "--json", ...more];
      runs.set(name, oddswire(args, { msMax: 60_000 }));
    };
    start("websocket", url, ordinary, "--p99", "5000", "--html", page);
    start("esa", url, ordinary, "--door", "esa");
    start("sse", url, ordinary, "--door", "sse");
    start("sse storm", url, ordinary, "--door", "sse", "--storm", "1", "--churn", "10");
    start("flipping", `esa://127.0.0.1:${flipping.port}`, ordinary);
    start("swallowing", `esa://127.0.0.1:${swallowing.port}`, ordinary);
    const slow = { ...ordinary, markets: {}, laggards, stallSeconds: 3, seconds: 10 };
    start("laggards", url, slow, "--p99", "0.01", "--metrics", stage.gateway.metricsUrl as string);
    start("sse laggards", url, { ...slow, stallSeconds: 0.5 }, "--door", "sse");
  });

  afterAll(async () => {
    world.stop();
    for (const proxy of proxies) proxy.stop();
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  const run = async (name: string) => {
    const { code, stdout, stderr } = (await runs.get(name)) as Outcome;
    if (!stdout.startsWith("{")) throw new Error(`${name} gave no result: ${stderr}${stdout}`);
    return { code, result: JSON.parse(stdout) as LoadResult };
  };
  const failed = ({ checks }: LoadResult) => checks.filter(({ passed }) => !passed).map(({ name }) => name);

  for (const door of ["websocket", "sse", "esa"] as const) {
    test(`passes at the ${door} door, and its numbers add up`, async () => {
      const { code, result } = await run(door);
      expect(failed(result)).toEqual([]);
      expect(code).toBe(0);
      const { verdict, books, users, perSecond, latency } = result;
      expect(users).toMatchObject({ ordinary: USERS, live: USERS });
      expect(verdict).toMatchObject({ lost: 0, strays: 0, merged: 0 });
      // each change of a market is due to everybody who asked for it: two markets of ten each
      const each = (USERS * 2) / ASKED;
      const changes = (verdict?.due as number) / each;
      expect(Number.isInteger(changes)).toBe(true);
      const [least, most] = publishedWithin(published, result.seconds * 1000);
      expect(changes).toBeGreaterThan(0);
      expect(changes).toBeGreaterThanOrEqual(least);
      expect(changes).toBeLessThanOrEqual(most);
      expect(verdict?.got).toBe(verdict?.due as number);
      // what was on its way at the beginning and at the end
      expect(Math.abs(perSecond.changes * result.seconds - (verdict?.got as number))).toBeLessThan(2 * USERS);
      expect(books).toEqual({ checked: 8, wrong: 0, unchecked: 0 });
      expect(latency?.count).toBeGreaterThan(0);
      expect(latency?.p50).toBeLessThan(500);
      // the gateway is in this process
      expect(result.server?.pids).toEqual([process.pid]);
    }, 60_000);
  }

  test("passes at the SSE door where all are cut off and come back by their last event's id, and others leave", async () => {
    const { code, result } = await run("sse storm");
    expect(failed(result)).toEqual([]);
    expect(code).toBe(0);
    expect(result.storm?.backMs).toBeGreaterThan(0);
    expect(result.churned).toBeGreaterThan(0);
    expect(result.verdict).toMatchObject({ lost: 0, strays: 0 });
    expect(result.verdict?.got).toBeGreaterThan(0);
    expect(result.books).toEqual({ checked: 8, wrong: 0, unchecked: 0 });
    // whoever was cut off was told what it had missed; images had those who were somebody new
    expect(result.resumes).toBeGreaterThanOrEqual(USERS - result.churned);
    expect(result.images).toBeLessThanOrEqual(USERS + result.churned + result.books.checked);
  }, 60_000);

  test("a digit that somebody has changed on the way makes it fail, in words", async () => {
    const { code, result } = await run("flipping");
    expect(failed(result)).toContain("changes not as others got them");
    expect(result.verdict?.strays).toBeGreaterThan(0);
    expect(result.verdict?.lost).toBe(0);
    expect(result.samples[0]).toMatch(/^1\.\d+: 1 were sent another change than 19 others under the same clk/);
    expect(code).toBe(1);
  }, 60_000);

  test("and so does a message that was swallowed", async () => {
    const { code, result } = await run("swallowing");
    expect(failed(result)).toContain("lost changes");
    expect(result.verdict?.lost).toBeGreaterThan(0);
    expect(result.samples[0]).toMatch(/^1\.\d+: 1 of 20 were never told of a change$/);
    expect(code).toBe(1);
  }, 60_000);

  test("laggards of each kind are told of, others are not held up by them, and a threshold that is missed fails", async () => {
    const { code, result } = await run("laggards");
    const { neverReads, readsSlowly, stalls, stopsAcknowledging } = result.laggards;
    expect(result.users).toMatchObject({ ordinary: 92, live: 92, laggards: 8 });
    expect(stalls).toMatchObject({ users: 2, here: 0 });
    expect(Object.keys(stalls?.closes as object)).toEqual([expect.stringMatching(/^SLOW: /)]);
    // they never read what they are told: the last thing is a reset
    const unread = { users: 2, here: 0, caughtUp: 0, merged: 0, told: {}, closes: { ECONNRESET: 2 } };
    expect(stalls).toMatchObject({ caughtUp: 0, told: { SLOW: 2 } });
    expect([neverReads, readsSlowly]).toMatchObject([unread, unread]);
    expect(stopsAcknowledging).toMatchObject({ users: 2, here: 2, caughtUp: 0, told: {}, closes: {} });
    // by the server's own count
    expect(result.serverCloses?.SLOW).toBeGreaterThanOrEqual(8);
    expect(result.behindBytesMax).toBeGreaterThan(0);
    expect(result.server?.rssBefore).toBeGreaterThan(0);
    expect(result.closes).toEqual({});
    expect(result.verdict).toMatchObject({ lost: 0, strays: 0 });
    expect(failed(result)).toEqual(["p99, ms"]);
    expect(code).toBe(1);
  }, 60_000);

  test("and at the SSE door, where they come again to lag; who stalls for less long is back in step, once merged", async () => {
    const { result } = await run("sse laggards");
    const { neverReads, readsSlowly, stalls, stopsAcknowledging } = result.laggards;
    expect(failed(result)).toEqual([]);
    expect(result.users).toMatchObject({ ordinary: 92, live: 92, laggards: 8 });
    const unread = { users: 2, here: 0, caughtUp: 0, told: {}, closes: { ECONNRESET: 2 } };
    expect([neverReads, readsSlowly]).toMatchObject([unread, unread]);
    expect(stopsAcknowledging).toMatchObject({ users: 2, here: 2, caughtUp: 0, closes: {} });
    expect(stalls).toMatchObject({ users: 2, here: 2, caughtUp: 2, closes: {} });
    expect(stalls?.merged).toBeGreaterThan(0);
  }, 60_000);

  test("the page is whole, needs nothing else, and says what the JSON says", async () => {
    const { result } = await run("websocket");
    const html = readFileSync(page, "utf8");
    expect(html).not.toMatch(/<(link|img|iframe|script[^>]*\bsrc)|url\(|@import/);
    expect(unclosed(html)).toEqual([]);
    const [, json = ""] = /<script type="application\/json" id="result">(.*?)<\/script>/s.exec(html) ?? [];
    expect(JSON.parse(json)).toEqual(result);
    for (const title of ["Latency, ms", "Messages by latency, ms", "Messages, a second", "CPU, cores"])
      expect(html).toContain(title);
    expect(html.match(/<svg /g)?.length).toBeGreaterThanOrEqual(5);
    expect(html).not.toMatch(/NaN|Infinity|undefined|Object\]/);
  }, 60_000);

  test("who is not let in is told why at once", async () => {
    const url = stage.gateway.httpUrl as string;
    const wrong = await oddswire(["loadtest", url, "--session", "another", "--users", "2"]);
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    expect(wrong.stderr).toContain("INVALID_SESSION_INFORMATION");
    const { esaPort } = stage.gateway;
    const file = join(folder, "door.json");
    writeFileSync(file, JSON.stringify({ users: 2, readers: 1, markets: { marketIds: ["1.1"] } }));
    const refused = await oddswire([
      "loadtest",
      `esa://127.0.0.1:${esaPort}`,
      "--session",
      "another",
      "--workload",
      file,
    ]);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("INVALID_SESSION_INFORMATION: a user was refused (");
  }, 60_000);

  test("what makes no sense is a mistake of usage", async () => {
    const file = join(folder, "odd.json");
    writeFileSync(file, JSON.stringify({ laggards: { neverRead: 0.1 } }));
    const odd = await oddswire(["loadtest", "http://127.0.0.1:1/", "--workload", file]);
    expect(odd).toMatchObject({ code: 2, stdout: "" });
    expect(odd.stderr).toContain('laggards has no "neverRead"; did you mean neverReads?');
    expect(await oddswire(["loadtest", "http://127.0.0.1:1/", "--workload", "W9"])).toMatchObject({ code: 2 });
    expect(await oddswire(["loadtest"])).toMatchObject({ code: 2 });
  }, 60_000);
});

/** Stands before an ESA door, and does something to some lines of prices of one connection. */
class MeddlingProxy {
  #connections = 0;
  #lines = 0;
  readonly #meddle: (line: string) => string | null;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  port = 0;

  private constructor(target: number, meddle: (line: string) => string | null) {
    this.#meddle = meddle;
    this.#server = createServer((near) => this.#accept(near, target));
  }

  static async start(target: number, meddle: (line: string) => string | null): Promise<MeddlingProxy> {
    const proxy = new MeddlingProxy(target, meddle);
    proxy.port = await freePort();
    await new Promise<void>((resolve) => proxy.#server.listen(proxy.port, "127.0.0.1", resolve));
    return proxy;
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(near: Socket, target: number): void {
    const isVictim = ++this.#connections === VICTIM;
    const far = dial({ host: "127.0.0.1", port: target });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => other.destroy()).on("close", () => other.destroy());
    }
    near.pipe(far);
    if (!isVictim) return void far.pipe(near);
    let rest = "";
    far.on("data", (bytes) => {
      const lines = (rest + bytes.toString("latin1")).split("\r\n");
      rest = lines.pop() as string;
      near.write(lines.map((line) => this.#passed(line)).join(""), "latin1");
    });
  }

  #passed(line: string): string {
    const isPrices = line.includes('"mc":[') && !line.includes('"ct":');
    if (!isPrices || ++this.#lines % EVERY > 0) return `${line}\r\n`;
    const changed = this.#meddle(line);
    return changed === null ? "" : `${changed}\r\n`;
  }
}

const VICTIM = 7;
/** There are 4 lines a second, and the measurement lasts for three: at least one of those is in it. */
const EVERY = 6;

/** With another digit in some number. */
function flipped(line: string): string {
  return line.replace(/(\d)([^\d]*)$/, (_, digit: string, end: string) => `${(Number(digit) + 1) % 10}${end}`);
}

/** Elements that are opened and not closed, or the other way round. */
function unclosed(html: string): string[] {
  const alone = new Set(["meta", "line", "!doctype"]);
  const open: string[] = [];
  const body = html.replace(/<script.*?<\/script>/gs, "");
  for (const [, slash, name = "", rest = ""] of body.matchAll(/<(\/?)([!a-z][a-z0-9]*)([^>]*)>/g)) {
    if (slash !== "/") {
      if (!rest.endsWith("/") && !(alone.has(name) && name !== "line")) open.push(name);
    } else if (open.pop() !== name) return [name];
  }
  return open;
}

/** The edges of what is measured are this uncertain. */
const EDGE_MS = 500;

/** How many changes the exchange published in the quietest and in the busiest stretch of about so many milliseconds. Chance makes them differ; what was measured lies between. */
function publishedWithin(times: readonly number[], ms: number): [least: number, most: number] {
  const last = times.at(-1) as number;
  const count = (from: number, length: number) => times.filter((time) => time >= from && time < from + length).length;
  const starts = times.filter((time) => time + ms + EDGE_MS <= last);
  const least = Math.min(...starts.map((from) => count(from + 1, ms - EDGE_MS)));
  return [least, Math.max(...starts.map((from) => count(from, ms + EDGE_MS)))];
}
