import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { type Browser, chromium as driver, type Page } from "playwright-core";
import { startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { randomInt, seededRandom } from "../src/base/random.ts";
import type { Socket } from "../src/base/socket.ts";
import { parseConfig } from "../src/config.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { EventReader } from "./events.ts";
import { chromium } from "./parts.ts";
import { freePort } from "./ports.ts";
import { FaultProxy } from "./proxy.ts";
import { until } from "./stage.ts";

/** The whole way: exchange, gateway, SSE door, what stands between, and readers of events. */
const HOST = "127.0.0.1";
const SESSION = "sse-session-token";
/** Few connections: what is not given back is missed soon. */
const FEW = { token: "few-session-token", name: "few", connectionsMax: 60 };
const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };
const SEED = 11;
const MARKETS = 12;
const RUNNERS = 6;
const BEHIND_MS_MAX = 1_000;
/** More than the kernel and the proxy hold for somebody who does not read. */
const BUFFERS_BYTES = 16 * 1024 * 1024;
const browserPart = chromium();

const random = seededRandom(SEED);
const exchange = new SimExchange({
  clock: systemClock,
  random: seededRandom(SEED),
  log: silentLog,
  sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
  appKeys: [UPSTREAM.appKey],
});
const truth = new Map<string, NaiveBook>();
let gateway: Awaited<ReturnType<typeof startGateway>>;
let ssePort = 0;

beforeAll(async () => {
  const free = { host: HOST, port: 0 };
  const { port } = exchange.listen(bunListen, free);
  publish(Array.from({ length: MARKETS }, (_, n) => born(n)));
  gateway = await startGateway(
    parseConfig({
      exchange: { host: HOST, port, tls: false, ...UPSTREAM },
      doors: { http: free, websocket: free, sse: free },
      // So little that flushes are put together and then thought better of, too.
      delivery: { behindMsMax: BEHIND_MS_MAX, flushBytesMax: 3_000 },
      visitors: [{ token: SESSION, name: "ann" }, FEW],
    }),
    { log: silentLog },
  );
  ssePort = Number(new URL(gateway.sseUrl as string).port);
  await until(() => gateway.isReady, "the gateway has its image");
}, 30_000);

afterAll(async () => {
  await gateway.stop();
  exchange.stop();
});

function born(n: number): MarketChange {
  const runners = Array.from({ length: RUNNERS }, (_, i) => ({ id: i + 1, status: "ACTIVE", sortPriority: i + 1 }));
  const marketType = n % 2 === 0 ? "WIN" : "PLACE";
  const rc = runners.map(({ id }) => ({ id, ltp: 2, atb: [[2, 10.5] as const], atl: [[2.02, 3] as const] }));
  return { id: `1.${n}`, img: true, marketDefinition: { status: "OPEN", version: 1, marketType, runners }, rc };
}

/** Prices of any market come, change and go. */
function change(): MarketChange {
  const rc = [1, 2].map(() => ({
    id: 1 + randomInt(random, RUNNERS),
    ltp: 2 + randomInt(random, 500) / 100,
    atb: [[1.5 + randomInt(random, 40) / 100, randomInt(random, 3) * 7.25] as const],
  }));
  return { id: `1.${randomInt(random, MARKETS)}`, rc };
}

/** All of a market at once is more than a flush may be, half of them is not. */
function burst(n: number): MarketChange {
  const atl = Array.from({ length: 25 }, (_, i) => [3 + i / 100, 1 + randomInt(random, 90)] as const);
  return { id: `1.${n}`, rc: [{ id: 1 + randomInt(random, RUNNERS), atl }] };
}

function publish(changes: readonly MarketChange[]): void {
  for (const one of changes) {
    if (!truth.has(one.id)) truth.set(one.id, new NaiveBook(one.id));
    truth.get(one.id)?.apply(one);
  }
  exchange.publish(Date.now(), changes);
}

/** A definition that fills buffers. */
function long(n: number) {
  return { ...born(n).marketDefinition, filler: "x".repeat(4_000 + randomInt(random, 100)) };
}

interface Message {
  readonly id: number;
  readonly ct?: string;
  readonly segmentType?: string;
  readonly initialClk?: string;
  readonly clk?: string;
  readonly mc?: readonly MarketChange[];
}

/** Books from messages as a plain client keeps them: one set for each subscription; an image replaces its whole set. */
class Shelf {
  readonly images = new Map<number, number>();
  readonly resumes = new Map<number, number>();
  readonly #books = new Map<number, Map<string, NaiveBook>>();

  apply({ id, ct, segmentType, mc = [] }: Message): void {
    const begins = segmentType === undefined || segmentType === "SEG_START";
    if (ct === "SUB_IMAGE" && begins) this.#books.set(id, new Map());
    if (ct === "SUB_IMAGE" && begins) this.images.set(id, (this.images.get(id) ?? 0) + 1);
    if (ct === "RESUB_DELTA" && begins) this.resumes.set(id, (this.resumes.get(id) ?? 0) + 1);
    const books = this.#books.get(id) as Map<string, NaiveBook>;
    for (const one of mc) {
      if (!books.has(one.id)) books.set(one.id, new NaiveBook(one.id));
      books.get(one.id)?.apply(one);
    }
  }

  /** Where the books of a subscription differ from those there are; null: nowhere. */
  difference(id: number, wanted: (market: NaiveBook) => boolean = () => true): string | null {
    const books = this.#books.get(id) ?? new Map();
    const expected = [...truth.values()].filter(wanted);
    if (books.size !== expected.length) return `${books.size} books of ${expected.length}`;
    for (const book of expected) {
      const ours = books.get(book.market);
      const found = ours === undefined ? "is missing" : firstDifference(book.state(), ours.state());
      if (found !== null) return `${book.market} ${found}`;
    }
    return null;
  }
}

/** Reads a stream over a plain socket, comes back by itself where it was, and can stop reading. */
class Listener {
  readonly shelf = new Shelf();
  readonly goodbyes: { code: string; comeBack: string }[] = [];
  /** Ids that claim something else than what was sent. */
  readonly lies: string[] = [];
  readonly #initialClks = new Map<number, string>();
  readonly #clks = new Map<number, string>();
  connects = 0;
  reader = new EventReader();
  bytes = 0;
  #socket: Socket | null = null;
  #stopped = false;
  #head = "";
  readonly #port: number;
  readonly #query: string;
  readonly #token: string;

  constructor(port: number, query = "", token = SESSION) {
    this.#port = port;
    this.#query = query;
    this.#token = token;
    this.#connect();
  }

  get isOpen(): boolean {
    return this.#head.endsWith("\r\n\r\n");
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.destroy();
  }

  #connect(): void {
    this.#head = "";
    this.reader.end();
    this.#socket = bunDial(
      { host: HOST, port: this.#port },
      {
        open: (socket) => {
          this.connects++;
          const { lastEventId } = this.reader;
          const last = lastEventId === "" ? "" : `Last-Event-ID: ${lastEventId}\r\n`;
          socket.write(
            Buffer.from(
              `GET /v1/stream${this.#query} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${this.#token}\r\n${last}\r\n`,
            ),
          );
        },
        data: (_, bytes) => this.#data(Buffer.from(bytes).toString("latin1")),
        close: () => {
          if (!this.#stopped) setTimeout(() => this.#connect(), 5);
        },
      },
    );
  }

  #data(text: string): void {
    this.bytes += text.length;
    let rest = text;
    if (!this.isOpen) {
      const whole = this.#head + text;
      const end = whole.indexOf("\r\n\r\n");
      this.#head = end < 0 ? whole : whole.slice(0, end + 4);
      if (end < 0) return;
      expect(this.#head).toStartWith("HTTP/1.1 200 OK\r\n");
      rest = whole.slice(end + 4);
    }
    this.reader.push(rest);
    for (const { event, data, lastEventId } of this.reader.events.splice(0)) {
      if (event === "goodbye") this.goodbyes.push(JSON.parse(data));
      else this.#message(JSON.parse(data), lastEventId);
    }
  }

  /** An id says of each subscription what its own messages have said by then, and nothing else. */
  #message(message: Message, lastEventId: string): void {
    this.shelf.apply(message);
    const { id, initialClk, clk } = message;
    if (initialClk !== undefined) this.#initialClks.set(id, initialClk);
    if (clk !== undefined) this.#clks.set(id, clk);
    if (clk === undefined) return;
    const [prefix = "", ...entries] = lastEventId.split("!");
    const said = entries.map((entry) => (entry === "" ? null : prefix + entry));
    const held = said.map((_, at) => {
      const [initial, last] = [this.#initialClks.get(at + 1), this.#clks.get(at + 1)];
      return initial === undefined || last === undefined ? null : `${initial}~${last}`;
    });
    if (said.join() !== held.join()) this.lies.push(`${said.join()} where ${held.join()} was told`);
  }
}

const subscribe = (...messages: object[]) =>
  `?${messages.map((message) => `subscribe=${encodeURIComponent(JSON.stringify(message))}`).join("&")}`;
const BOTH = subscribe(
  { id: 1, marketFilter: { marketTypes: ["WIN"] }, heartbeatMs: 500 },
  { id: 2, conflateMs: 50, heartbeatMs: 500, segmentationEnabled: true },
);
const isWin = (book: NaiveBook) => book.definition?.marketType === "WIN";
const bothRight = ({ shelf }: Listener) => shelf.difference(1, isWin) === null && shelf.difference(2) === null;

describe("several subscriptions on one stream", () => {
  test("have the exchange's books, each its own, and ids that say what each was told", async () => {
    const all = [{ id: 1 }, { id: 2, marketFilter: { marketTypes: ["WIN"] } }, { id: 3, conflateMs: 50 }];
    const listener = new Listener(ssePort, subscribe(...all));
    const right = () => [1, 2, 3].every((id) => listener.shelf.difference(id, id === 2 ? isWin : undefined) === null);
    await until(right, "the images are there");
    for (let i = 0; i < 300; i++) {
      publish(i % 10 === 0 ? Array.from({ length: MARKETS }, (_, n) => burst(n)) : [change(), change()]);
      if (i % 20 === 0) await Bun.sleep(1);
    }
    await until(right, "the books are right");
    listener.stop();
    expect(listener.lies).toEqual([]);
    expect([listener.connects, ...listener.shelf.images.values()]).toEqual([1, 1, 1, 1]);
  });

  test(`cut anywhere, come back by Last-Event-ID to what changed, and to no image (seed ${SEED})`, async () => {
    const proxy = await FaultProxy.start(ssePort, SEED);
    const listener = new Listener(proxy.port, BOTH);
    const CUTS = 40;
    const resumes = () => Math.min(...[1, 2].map((id) => listener.shelf.resumes.get(id) ?? 0));
    await until(() => bothRight(listener) && listener.reader.lastEventId.split("~").length === 3, "both are there");
    proxy.add({ sliceBytes: 700 }, "down");
    for (let cut = 0; cut < CUTS; cut++) {
      for (let i = 0; i < 20; i++) publish([change()]);
      // Some way into what is on its way: within an event, mostly.
      await Bun.sleep(randomInt(random, 8));
      const { connects } = listener;
      const answered = resumes();
      if (cut % 2 === 0) proxy.cut();
      else proxy.reset();
      publish([change()]);
      await until(() => listener.connects > connects && listener.isOpen, "it is back");
      // Now and then it is cut again before anything of the answer has come.
      if (cut % 4 !== 3) await until(() => resumes() > answered, "both are answered");
    }
    await until(() => bothRight(listener), "the books are right");
    listener.stop();
    await proxy.stop();
    expect(listener.lies).toEqual([]);
    expect(listener.connects).toBe(CUTS + 1);
    expect([...listener.shelf.images.values()]).toEqual([1, 1]);
    expect(resumes()).toBeGreaterThanOrEqual((CUTS * 3) / 4);
  }, 30_000);

  test("with an id that is nobody's have images, and no error that they could run in circles with", async () => {
    const listener = new Listener(ssePort, BOTH);
    listener.reader.lastEventId = "epoch.of!another~world!~1";
    await until(() => bothRight(listener), "the images are there");
    listener.stop();
    expect([listener.connects, [...listener.shelf.images.values()]]).toEqual([1, [1, 1]]);
  });
});

describe("who does not read", () => {
  test("costs a bound, slows nobody, hears SLOW, and comes back to what changed", async () => {
    const proxy = await FaultProxy.start(ssePort, SEED);
    const [slow, quick] = [new Listener(proxy.port, "?heartbeatMs=500"), new Listener(ssePort, "?heartbeatMs=500")];
    const right = ({ shelf }: Listener) => shelf.difference(1) === null;
    await until(() => right(slow) && right(quick), "both are live");
    proxy.add({ bytesPerSecond: 2_000 }, "down");
    const [heard, before] = [slow.bytes, quick.bytes];
    const pour = async (ms: number) => {
      for (const deadline = performance.now() + ms; performance.now() < deadline; await Bun.sleep(5))
        publish(Array.from({ length: MARKETS }, (_, n) => ({ ...change(), id: `1.${n}`, marketDefinition: long(n) })));
      await until(() => right(quick), "the quick one is in step, whatever the slow one does");
    };
    while (quick.bytes - before < BUFFERS_BYTES) await pour(100);
    await pour(BEHIND_MS_MAX + 1_500);
    proxy.add({ bytesPerSecond: Number.POSITIVE_INFINITY }, "down");
    await until(() => slow.goodbyes.length > 0, "the slow one hears why");
    await until(() => right(slow), "the slow one is back in step");
    slow.stop();
    quick.stop();
    await proxy.stop();
    expect(slow.goodbyes.map(({ code, comeBack }) => [code, comeBack])).toEqual([["SLOW", "after a pause"]]);
    expect([slow.connects, slow.shelf.images.get(1), slow.shelf.resumes.get(1)]).toEqual([2, 1, 1]);
    expect(quick.connects).toBe(1);
    // What the quick one heard meanwhile was not kept for the slow one: it got what had filled the buffers between them, and then what is.
    expect(quick.bytes - before).toBeGreaterThan(1.5 * (slow.bytes - heard));
  }, 60_000);
});

test("a thousand streams opened and closed leave nothing behind", async () => {
  const files = () => readdirSync("/proc/self/fd").length;
  const before = files();
  const BATCH = FEW.connectionsMax - 10;
  for (let opened = 0; opened < 1000; opened += BATCH) {
    const listeners = Array.from({ length: BATCH }, () => new Listener(ssePort, "?marketTypes=WIN", FEW.token));
    await until(() => listeners.every(({ shelf }) => shelf.difference(1, isWin) === null), "all have their image");
    for (const listener of listeners) listener.stop();
    // As many again would be too many for this visitor, were those before not gone at once.
    await Bun.sleep(20);
  }
  await until(() => files() <= before + 2, "the files are closed");
}, 30_000);

// ---- through a proxy, in a browser ----

/** A site's own server, as an nginx would be that nobody has told of event streams: it holds small writes back, compresses, and gives up on silence. */
class Site {
  readonly sockets = new Set<ServerResponse>();
  readonly asked: IncomingMessage["headers"][] = [];
  static readonly holdBytes = 4096;
  static readonly silenceMsMax = 1_000;
  readonly #server: Server;
  readonly #target: number;

  constructor(target: number) {
    this.#target = target;
    this.#server = createServer((incoming, outgoing) => this.#answer(incoming, outgoing));
  }

  async listen(): Promise<string> {
    const port = await freePort();
    await new Promise<void>((resolve) => this.#server.listen(port, HOST, resolve));
    return `http://${HOST}:${port}`;
  }

  /** Cuts what passes through. */
  cut(): number {
    const cut = [...this.sockets];
    for (const response of cut) response.destroy();
    return cut.length;
  }

  stop(): void {
    this.cut();
    this.#server.close();
  }

  #answer(incoming: IncomingMessage, outgoing: ServerResponse): void {
    if (!incoming.url?.startsWith("/v1/stream")) {
      outgoing.setHeader("Content-Type", "text/html");
      outgoing.end("<title>a site</title>");
      return;
    }
    this.asked.push(incoming.headers);
    const { method, url, headers } = incoming;
    const upstream = httpRequest({ host: HOST, port: this.#target, method, path: url, headers }, (answer) => {
      const { "x-accel-buffering": accel, "cache-control": control = "", ...others } = answer.headers;
      const holds = accel !== "no";
      if (!control.includes("no-transform")) others["content-encoding"] = "br";
      outgoing.writeHead(answer.statusCode ?? 502, { ...others, "cache-control": control });
      this.sockets.add(outgoing);
      let held: Buffer[] = [];
      answer.on("data", (bytes) => {
        held.push(bytes);
        if (holds && Buffer.concat(held).length < Site.holdBytes) return;
        outgoing.write(Buffer.concat(held));
        held = [];
      });
      answer.on("end", () => outgoing.end(Buffer.concat(held)));
      answer.on("error", () => outgoing.destroy());
      upstream.setTimeout(Site.silenceMsMax, () => outgoing.destroy());
    });
    upstream.on("error", () => outgoing.destroy());
    outgoing.on("close", () => {
      this.sockets.delete(outgoing);
      upstream.destroy();
    });
    incoming.pipe(upstream);
  }
}

interface Heard {
  readonly messages: Message[];
  readonly goodbyes: string[];
  readonly readyState: number;
  readonly opens: number;
}

describe.skipIf(browserPart.kind === "missing")("an EventSource in Chromium, through a site's proxy", () => {
  let site: Site;
  let url = "";
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    site = new Site(ssePort);
    url = await site.listen();
    browser = await driver.launch({ executablePath: browserPart.path, args: ["--no-sandbox"] });
    const context = await browser.newContext();
    await context.addCookies([
      { name: "oddswire_session", value: SESSION, url, httpOnly: true, sameSite: "Strict" as const },
    ]);
    page = await context.newPage();
    await page.goto(url);
    await page.evaluate((query) => {
      const heard = { messages: [] as unknown[], goodbyes: [] as string[], readyState: 0, opens: 0 };
      const source = new EventSource(`/v1/stream${query}`);
      source.onopen = () => void heard.opens++;
      source.onmessage = ({ data }) => void heard.messages.push(JSON.parse(data));
      source.addEventListener("goodbye", ({ data }) => void heard.goodbyes.push(JSON.parse(data).code));
      Object.assign(globalThis, {
        heard: () => ({ ...heard, messages: heard.messages.splice(0), readyState: source.readyState }),
      });
    }, BOTH);
  }, 30_000);

  afterAll(async () => {
    await browser.close();
    site.stop();
  });

  const shelf = new Shelf();
  let heard: Heard = { messages: [], goodbyes: [], readyState: 0, opens: 0 };
  const listen = async () => {
    heard = await page.evaluate(() => (globalThis as unknown as { heard(): Heard }).heard());
    for (const message of heard.messages) shelf.apply(message);
  };
  const untilHeard = async (holds: () => boolean, words: string) => {
    const deadline = performance.now() + 10_000;
    for (await listen(); !holds(); await listen()) {
      if (performance.now() > deadline) throw new Error(`not within 10 s: ${words}`);
      await Bun.sleep(20);
    }
  };
  const right = () => shelf.difference(1, isWin) === null && shelf.difference(2) === null;

  test("has the exchange's books, at once and not when a buffer is full", async () => {
    await untilHeard(right, "the images");
    for (let i = 0; i < 50; i++) {
      publish([change()]);
      await Bun.sleep(1);
    }
    const started = performance.now();
    await untilHeard(right, "the changes");
    expect(performance.now() - started).toBeLessThan(2_000);
  }, 20_000);

  test("outlives silence: nobody between takes it for dead", async () => {
    const { opens } = heard;
    await Bun.sleep(Site.silenceMsMax * 1.5);
    await listen();
    expect([heard.opens, heard.readyState]).toEqual([opens, 1]);
  }, 20_000);

  test("comes back by itself when it is cut, to what changed", async () => {
    publish([change(), change()]);
    expect(site.cut()).toBe(1);
    publish([change(), change()]);
    await untilHeard(() => heard.opens === 2 && right(), "it is back and right");
    expect(site.asked.at(-1)?.["last-event-id"]).toMatch(/~.*~/);
    expect([...shelf.images.values(), ...shelf.resumes.values()]).toEqual([1, 1, 1, 1]);
  }, 20_000);

  test("stays away when its session has ended", async () => {
    await page.context().clearCookies();
    site.cut();
    await untilHeard(() => heard.readyState === 2, "it gives up");
    const asked = site.asked.length;
    await Bun.sleep(500);
    expect(site.asked.length).toBe(asked);
  }, 20_000);
});

test("everybody is told when the gateway stops, and to come back later", async () => {
  const listener = new Listener(ssePort);
  await until(() => listener.shelf.difference(1) === null, "the image is there");
  const told = until(() => listener.goodbyes.length > 0, "a goodbye");
  await Promise.all([gateway.stop(), told]);
  listener.stop();
  expect(listener.goodbyes.map(({ code, comeBack }) => [code, comeBack])).toEqual([["GOING_AWAY", "after a pause"]]);
});
