import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { type Gateway, startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { FAULTS } from "../src/base/errors.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { type ConfigInput, parseConfig } from "../src/config.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { LOOP_LAG, METRICS } from "../src/ops/metrics-list.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import type { MarketChange } from "../src/sim/naive.ts";
import { promtool } from "./parts.ts";
import { until } from "./stage.ts";

/** A real gateway, users of every kind, and what a scraper is told of them. */
const HOST = "127.0.0.1";
const SESSION = "metrics-session-token";
const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };
const MARKETS = 20;
const LADDER = Array.from({ length: 60 }, (_, i) => [2 + i / 100, 10 + i] as const);
const RUNNERS = Array.from({ length: 8 }, (_, i) => ({ id: i + 1, status: "ACTIVE", sortPriority: i + 1 }));
/** Long enough to be looked at, short enough to be waited for. */
const BEHIND_MS_MAX = 1_500;
const judge = promtool();

const exchange = new SimExchange({
  clock: systemClock,
  random: seededRandom(5),
  log: silentLog,
  sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
  appKeys: [UPSTREAM.appKey],
});
const opened: { stop(): unknown }[] = [];
const readers: Reader[] = [];
let upstreamPort = 0;
let changes = 0;

beforeAll(() => {
  upstreamPort = exchange.listen(bunListen, { host: HOST, port: 0 }).port;
  publish((n) => ({
    id: `1.${n}`,
    img: true,
    marketDefinition: { status: "OPEN", version: 1, runners: RUNNERS },
    rc: RUNNERS.map(({ id }) => ({ id, ltp: 2, atb: LADDER })),
  }));
});

afterAll(async () => {
  for (const reader of readers) reader.socket.destroy();
  for (const one of opened) await one.stop();
  exchange.stop();
});

/** A change of every market. */
function publish(change: (n: number) => MarketChange): void {
  exchange.publish(
    systemClock.wall(),
    Array.from({ length: MARKETS }, (_, n) => change(n)),
  );
  changes += MARKETS;
}

/** Each size of each ladder is another one: 90 KB. */
function publishMuch(): void {
  const add = changes;
  const rc = RUNNERS.map(({ id }) => ({ id, atb: LADDER.map(([price, size]) => [price, size + add] as const) }));
  publish((n) => ({ id: `1.${n}`, rc }));
}

async function open(options: Partial<ConfigInput> = {}): Promise<Gateway> {
  const free = { host: HOST, port: 0 };
  const gateway = await startGateway(
    parseConfig({
      exchange: { host: HOST, port: upstreamPort, tls: false, ...UPSTREAM },
      doors: { http: free, websocket: free, esa: free },
      delivery: { behindMsMax: BEHIND_MS_MAX },
      visitors: [{ token: SESSION, name: "ann" }],
      metrics: free,
      ...options,
    }),
    { log: silentLog },
  );
  opened.push(gateway);
  await until(() => gateway.isReady, "the gateway has its image");
  return gateway;
}

/** A user on a plain socket, who counts the bytes, and the lines of the ESA door. */
class Reader {
  readonly socket: Socket;
  bytes = 0;
  text = "";

  constructor(port: number) {
    this.socket = connect({ host: HOST, port });
    this.socket.on("error", () => {});
    this.socket.on("data", (bytes) => {
      this.bytes += bytes.length;
      this.text += bytes.toString("latin1");
    });
    readers.push(this);
  }

  count(words: string): number {
    return this.text.split(words).length - 1;
  }
}

async function esaUser({ esaPort }: Gateway): Promise<Reader> {
  const reader = new Reader(esaPort as number);
  const say = (message: object) => reader.socket.write(`${JSON.stringify(message)}\r\n`);
  say({ op: "authentication", id: 1, appKey: "any", session: SESSION });
  say({ op: "marketSubscription", id: 2, marketFilter: {}, marketDataFilter: {}, heartbeatMs: 5_000 });
  await until(() => reader.text.includes("SUB_IMAGE") && reader.text.endsWith("\r\n"), "the image");
  return reader;
}

/** On the WebSocket door, and greeted, and nothing more. */
async function webSocketGuest({ websocketUrl }: Gateway): Promise<Reader> {
  const reader = new Reader(Number(new URL(websocketUrl as string).port));
  const key = randomBytes(16).toString("base64");
  const head = ["GET /v1/ws HTTP/1.1", `Host: ${HOST}`, "Connection: Upgrade", "Upgrade: websocket"];
  reader.socket.write(`${[...head, "Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${key}`].join("\r\n")}\r\n\r\n`);
  await until(() => reader.text.includes("connectionId"), "the greeting");
  return reader;
}

const ask = (gateway: Gateway, accept = "text/plain") =>
  fetch(gateway.metricsUrl as string, { headers: { Accept: accept } });

/** What is told, by name and labels as they stand there. */
async function scrape(gateway: Gateway): Promise<Map<string, number>> {
  return samplesOf(await (await ask(gateway)).text());
}

function samplesOf(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** Publishes until it is told so. */
async function publishUntil(
  gateway: Gateway,
  holds: (told: Map<string, number>) => boolean,
): Promise<Map<string, number>> {
  for (let n = 0; n < 2_000; n++) {
    const told = await scrape(gateway);
    if (holds(told)) return told;
    publishMuch();
    await Bun.sleep(1);
  }
  throw new Error("it was never told");
}

describe("a gateway with users in step, one behind and one let go", () => {
  let gateway: Gateway;
  let users: Reader[];
  let told: Map<string, number>;
  const figure = (name: string) => told.get(name);

  beforeAll(async () => {
    gateway = await open();
    users = [await esaUser(gateway), await esaUser(gateway)];
    const slow = await esaUser(gateway);
    slow.socket.pause();
    told = await publishUntil(gateway, (now) => now.get('oddswire_closes_total{code="SLOW"}') === 1);
    slow.socket.destroy();
    users.push(await webSocketGuest(gateway));
    await until(() => users[0]?.bytes === users[1]?.bytes, "both have read all there is");
    const behind = await esaUser(gateway);
    behind.socket.pause();
    told = await publishUntil(gateway, (now) => now.get('oddswire_users{state="behind"}') === 1);
  }, 30_000);

  test("tells who is here, and how they are", () => {
    expect(figure('oddswire_users{state="in_step"}')).toBe(2);
    expect(figure('oddswire_users{state="behind"}')).toBe(1);
    expect(figure('oddswire_users{state="held"}')).toBe(0);
    expect(figure('oddswire_connections{door="esa"}')).toBe(3);
    expect(figure('oddswire_connections{door="websocket"}')).toBe(1);
    expect(figure('oddswire_connections_opened_total{door="esa"}')).toBe(4);
    expect(figure('oddswire_connections_opened_total{door="websocket"}')).toBe(1);
    expect(figure('oddswire_subscriptions{stream="market"}')).toBe(3);
    expect(figure('oddswire_sent_images_total{stream="market"}')).toBe(4);
    expect(figure('oddswire_sent_resumes_total{stream="market"}')).toBe(0);
  });

  test("tells what waits, and for how long", () => {
    expect(figure("oddswire_behind_bytes")).toBeGreaterThan(0);
    expect(figure("oddswire_behind_bytes")).toBeLessThan(2 * 1024 * 1024);
    expect(figure("oddswire_behind_longest_seconds")).toBeGreaterThan(0);
    expect(figure("oddswire_behind_longest_seconds")).toBeLessThan((BEHIND_MS_MAX + 1_500) / 1000);
    expect(figure("oddswire_catch_ups_total")).toBe(2);
  });

  test("tells every code, and the one that somebody was let go with", () => {
    const closes = [...told].filter(([name]) => name.startsWith("oddswire_closes_total"));
    expect(closes.map(([name]) => name).sort()).toEqual(
      [...Object.keys(FAULTS), "LEFT"].map((code) => `oddswire_closes_total{code="${code}"}`).sort(),
    );
    expect(closes.filter(([, value]) => value > 0)).toEqual([['oddswire_closes_total{code="SLOW"}', 1]]);
  });

  test("tells what came from the exchange", async () => {
    await until(() => gateway.cache.changes === changes, "all has come");
    told = await scrape(gateway);
    expect(figure("oddswire_changes_total")).toBe(changes);
    expect(figure("oddswire_markets")).toBe(MARKETS);
    expect(figure('oddswire_feed_state{feed="market",state="live"}')).toBe(1);
    expect(figure('oddswire_feed_state{feed="market",state="stale"}')).toBe(0);
    expect(figure('oddswire_feed_connects_total{feed="market"}')).toBe(1);
    expect(figure('oddswire_feed_images_total{feed="market"}')).toBe(1);
    expect(figure('oddswire_feed_invalid_lines_total{feed="market"}')).toBe(0);
    expect(figure('oddswire_feed_received_bytes_total{feed="market"}')).toBe(gateway.source.bytes);
    expect(figure('oddswire_feed_silence_seconds{feed="market"}')).toBeLessThan(5.5);
    expect(figure("oddswire_arena_used_bytes")).toBe(gateway.cache.bytesUsed);
    expect(figure("oddswire_ready")).toBe(1);
  });

  test("tells what the process takes", () => {
    expect(figure("process_cpu_seconds_total")).toBeGreaterThan(0.1);
    expect(figure("process_open_fds")).toBeGreaterThan(5);
    expect(figure("process_start_time_seconds")).toBeCloseTo(Date.now() / 1000 - performance.now() / 1000, 0);
    const [rss, limit] = [figure("process_resident_memory_bytes"), figure("oddswire_memory_limit_bytes")];
    expect(figure("oddswire_memory_load_ratio")).toBeCloseTo((rss as number) / (limit as number), 6);
    expect(figure("oddswire_event_loop_lag_seconds_count")).toBeGreaterThan(0);
  });

  test("has no label that grows", () => {
    const labels = new Set([...told.keys()].flatMap((name) => [...name.matchAll(/([a-z]+)="/g)].map(([, l]) => l)));
    const known = ["version", "role", "runtime", "feed", "state", "door", "code", "stream", "outcome", "reason", "le"];
    known.push("operation");
    expect([...labels].sort()).toEqual(known.sort());
    expect([...told.keys()].filter((name) => /ann|metrics-session|1\.\d{2}"|127\.0/.test(name))).toEqual([]);
  });
});

test("every message and byte that users get is told, whichever door it went by", async () => {
  const gateway = await open();
  const users = [await esaUser(gateway), await esaUser(gateway)];
  const guest = await webSocketGuest(gateway);
  for (let n = 0; n < 10; n++) {
    publishMuch();
    await Bun.sleep(5);
  }
  // The sizes of the last change, which is the last of what is sent.
  const last = `[2,${10 + changes - MARKETS}]`;
  await until(() => users.every(({ text }) => text.includes(last) && text.endsWith("\r\n")), "all that was changed");
  const told = await scrape(gateway);
  const esa = users.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(told.get('oddswire_sent_bytes_total{door="esa"}')).toBe(esa);
  expect(told.get('oddswire_sent_bytes_total{door="websocket"}')).toBe(guest.bytes);
  const messages = users.reduce((sum, user) => sum + user.count('"op":"mcm"'), 0);
  expect(told.get('oddswire_sent_messages_total{stream="market"}')).toBe(messages);
  // Replies to authentication and subscription are framed too; the greeting is the door's own.
  const replies = users.reduce((sum, user) => sum + user.count('"op":"status"'), 0);
  expect(replies).toBe(4);
  expect(told.get('oddswire_sent_frames_total{door="esa"}')).toBe(messages + replies);
  expect(told.get('oddswire_sent_frames_total{door="websocket"}')).toBe(0);
  // Each market once for both, but for the image that each got for itself.
  expect(told.get("oddswire_encodes_total")).toBeLessThanOrEqual(2 * MARKETS + (messages / 2) * MARKETS);
  const writes = told.get('oddswire_writes_total{door="esa"}') as number;
  expect(writes).toBeLessThanOrEqual(messages + replies + users.length);
});

test("who may have no more for now is told as held, neither in step nor behind", async () => {
  const gateway = await open({ visitors: [{ token: SESSION, name: "ann", bytesPerSecondMax: 1_024 }] });
  await esaUser(gateway);
  const told = await publishUntil(gateway, (now) => now.get('oddswire_users{state="held"}') === 1);
  expect(told.get('oddswire_users{state="in_step"}')).toBe(0);
  expect(told.get('oddswire_users{state="behind"}')).toBe(0);
  expect(told.get("oddswire_holds_total")).toBe(1);
});

describe("what a scraper is given", () => {
  test("is everything on the list, and nothing else", async () => {
    const text = await (await ask(await open())).text();
    const named = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]);
    expect(named as unknown[]).toEqual([
      ...METRICS.map(({ name, type }) => [name, type]),
      [LOOP_LAG.name, "histogram"],
    ]);
  });

  test("is OpenMetrics where it asks for that, and as before where it does not", async () => {
    const gateway = await open();
    const accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    const first = await ask(gateway, accept);
    expect(first.headers.get("content-type")).toBe("application/openmetrics-text; version=1.0.0; charset=utf-8");
    const text = await first.text();
    expect(text.endsWith("\n# EOF\n")).toBe(true);
    expect(text).not.toContain("\n\n");
    expect(text).toContain("# TYPE oddswire_changes counter\noddswire_changes_total ");
    expect(text).toContain("# TYPE oddswire_markets gauge\noddswire_markets ");
    const plain = await ask(gateway);
    expect(plain.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await plain.text()).toContain("# TYPE oddswire_changes_total counter\noddswire_changes_total ");
  });

  test.if(judge.kind === "present")("passes Prometheus's own judge without a word", async () => {
    const text = await (await ask(await open())).text();
    const check = (of: string) => Bun.spawnSync([judge.path, "check", "metrics"], { stdin: Buffer.from(of) });
    const { exitCode, stderr, stdout } = check(text);
    expect([exitCode, stderr.toString(), stdout.toString()]).toEqual([0, "", ""]);
    expect(
      check(text.replace("# TYPE oddswire_changes_total counter", "# TYPE oddswire_changes_total gauge")).exitCode,
    ).not.toBe(0);
  });

  test("is at /metrics alone, and only given, never taken", async () => {
    const gateway = await open();
    const url = gateway.metricsUrl as string;
    expect((await fetch(new URL("/", url))).status).toBe(404);
    expect((await fetch(url, { method: "POST" })).status).toBe(405);
    expect((await fetch(url, { method: "HEAD" })).status).toBe(200);
    expect((await fetch(new URL("/metrics", gateway.httpUrl as string))).status).toBe(404);
  });
});

const USER_SIDE = /users|door|closes|behind|sent|encodes|catch|holds|tokens|names|bus/;

test("a process that serves nobody tells of its feed, its books and itself", async () => {
  const told = await scrape(await open({ role: "ingest" }));
  expect(told.get("oddswire_markets")).toBe(MARKETS);
  expect(told.get('oddswire_feed_state{feed="market",state="live"}')).toBe(1);
  expect([...told.keys()].filter((name) => USER_SIDE.test(name))).toEqual([]);
});

test("without a port for it there is no door, and nothing listens", async () => {
  const gateway = await open({ metrics: undefined });
  expect(gateway.metricsUrl).toBeNull();
});

test("the limit of memory is the configuration's where it says one", async () => {
  const told = await scrape(await open({ metrics: { host: HOST, port: 0, memoryBytesMax: 2 ** 31 } }));
  expect(told.get("oddswire_memory_limit_bytes")).toBe(2 ** 31);
});
