import { afterEach, describe, expect, test } from "bun:test";
import { type OpenWire, type Wire, webSocketWire } from "../client/wire.ts";
import { pick, randomInt, seededRandom } from "../src/base/random.ts";
import type { ConfigInput } from "../src/config.ts";
import { Hub } from "../src/delivery/hub.ts";
import type { Outlet } from "../src/delivery/outlet.ts";
import { Lobby } from "../src/edge/lobby.ts";
import { bunDial } from "../src/edge/sockets.ts";
import { framed, type Visit } from "../src/edge/visit.ts";
import { ChangeBatch } from "../src/market/batch.ts";
import { Cache } from "../src/market/cache.ts";
import { OrderDesk } from "../src/orders/desk.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { lineWire } from "../src/sim/line-wire.ts";
import { NaiveOrders, type OrderEntry, type View } from "../src/sim/naive-orders.ts";
import { orderMethods } from "../src/sim/order-methods.ts";
import { Punters } from "../src/sim/punters.ts";
import { World } from "../src/sim/world.ts";
import { TokenList } from "../src/tenancy/tokens.ts";
import { decodeOrderLine, OrderBatch } from "../src/wire/orders.ts";
import { truth } from "./order-truth.ts";
import { type OpenStage, openStage, SESSION, until } from "./stage.ts";

const SEED = Number(process.env.ODDSWIRE_SEED ?? Date.now() % 1_000_000);
const REFS = ["alpha-1", "alpha-2", "beta-1", "", "alpha", "alpha-", "constructor", "bêta-1", "ALPHA-1"];
const VISITORS: ConfigInput["visitors"] = [
  { token: SESSION, name: "stage", orders: "account" },
  { token: "token-alpha", name: "alpha", orders: { refPrefix: "alpha-" } },
  { token: "token-beta", name: "beta", orders: { refPrefix: "beta-" } },
  { token: "token-con", name: "con", orders: { refPrefix: "con" } },
  { token: "token-none", name: "none" },
];

interface Message {
  readonly op: string;
  readonly id?: number;
  readonly ct?: string;
  readonly clk?: string;
  readonly initialClk?: string;
  readonly status?: number;
  readonly statusCode?: string;
  readonly errorCode?: string;
  readonly oc?: readonly OrderEntry[];
}

/** A client with an order stream that comes back by itself, with its clk or (as flumine does) without. */
class Reader {
  readonly view: View;
  readonly prefix: string | null;
  book = new NaiveOrders();
  readonly heard: string[] = [];
  readonly counts = { connects: 0, images: 0, resumes: 0, updates: 0, markets: 0, stale: 0 };
  refusal: string | null = null;
  /** It was told something on its connection. */
  isLive = false;
  #wire: Wire | null = null;
  #ended = false;
  #initialClk: string | null = null;
  #clk: string | null = null;
  readonly #open: OpenWire;
  readonly #token: string;
  readonly #resumes: boolean;
  readonly #terms: object;

  constructor(
    open: OpenWire,
    token: string,
    prefix: string | null,
    { resumes = true, overall = false, strategies = true, terms = {} } = {},
  ) {
    this.#open = open;
    this.#token = token;
    this.#resumes = resumes;
    this.prefix = prefix;
    const orderFilter = { includeOverallPosition: overall, partitionMatchedByStrategyRef: strategies };
    this.#terms = { op: "orderSubscription", id: 2, orderFilter, heartbeatMs: 500, ...terms };
    this.view = { overall, strategies, sees: (ref) => ref.startsWith(prefix ?? "") };
    this.connect();
  }

  connect(): void {
    this.counts.connects++;
    this.isLive = false;
    this.#wire = this.#open({
      open() {},
      message: (text) => this.#hear(text),
      close: () => {
        if (!this.#ended) setTimeout(() => this.#ended || this.connect(), 5);
      },
    });
  }

  say(message: object): void {
    this.#wire?.send(JSON.stringify(message));
  }

  end(): void {
    this.#ended = true;
    this.#wire?.close();
  }

  #hear(text: string): void {
    const message: Message = JSON.parse(text);
    if (message.op === "connection")
      return this.say({ op: "authentication", id: 1, appKey: "k", session: this.#token });
    if (message.op === "mcm") this.counts.markets++;
    if (message.op === "status") return this.#status(message);
    if (message.op === "ocm") this.#orders(message, text);
  }

  #status({ id, statusCode, errorCode }: Message): void {
    if (statusCode === "FAILURE") {
      this.refusal = errorCode ?? "";
      return this.end();
    }
    if (id !== 1) return;
    const resume = this.#resumes ? { initialClk: this.#initialClk, clk: this.#clk } : {};
    this.say({ ...this.#terms, ...resume });
    if (this.prefix === null) this.say({ op: "marketSubscription", id: 3 });
  }

  #orders({ ct, clk, initialClk, status, oc = [] }: Message, text: string): void {
    this.heard.push(text);
    if (ct === "SUB_IMAGE") {
      this.counts.images++;
      // Who does not resume keeps its book, and goes by fullImage alone.
      if (this.#resumes) this.book = new NaiveOrders();
    } else if (ct === "RESUB_DELTA") this.counts.resumes++;
    else if (oc.length > 0) this.counts.updates++;
    if (status === 503) this.counts.stale++;
    this.isLive ||= ct !== "HEARTBEAT";
    this.book.apply(oc);
    this.#clk = clk ?? this.#clk;
    this.#initialClk = initialClk ?? this.#initialClk;
  }

  /** Somebody else's that it was told of, or null. */
  get leak(): string | null {
    if (this.prefix === null) return null;
    const all = this.heard.join("\n");
    if (/accountId|"hc":null/.test(all)) return "the account's id";
    for (const [, ref] of all.matchAll(/"rfs":("(?:[^"\\]|\\.)*")/g))
      if (!this.view.sees(JSON.parse(ref as string))) return ref as string;
    for (const text of this.heard)
      for (const { orc = [] } of (JSON.parse(text) as Message).oc ?? [])
        for (const { mb, ml, smc = {}, uo = [] } of orc) {
          if (mb !== undefined || ml !== undefined) return "an overall position";
          for (const ref of [...Object.keys(smc), ...uo.map(({ rfs = "" }) => rfs)])
            if (!this.view.sees(ref)) return JSON.stringify(ref);
        }
    return null;
  }
}

let stage: OpenStage | null = null;
const readers: Reader[] = [];

afterEach(async () => {
  for (const reader of readers.splice(0)) reader.end();
  await stage?.close();
  stage = null;
});

describe(`orders at an exchange with people who bet (seed ${SEED})`, () => {
  test("each visitor's book is the exchange's list of its references, over cuts everywhere; nobody sees another's", async () => {
    const random = seededRandom(SEED);
    stage = await openStage(SEED, { orders: { enabled: true }, visitors: VISITORS });
    const { exchange, gateway, websocketUrl, esaAddress } = stage;
    const life = new VirtualClock(Date.now());
    const world = new World({ markets: 12 }, { clock: life, random, publish: exchange.publish.bind(exchange) });
    const punters = new Punters(
      { punters: 9, actsPerSecond: 3, account: "stage", strategyRefs: REFS },
      {
        clock: life,
        random,
        books: exchange.orders,
        methods: orderMethods(exchange.orders),
        markets: () => exchange.marketIds(),
      },
    );
    world.start();
    punters.start();
    const account = exchange.orders.account("stage");
    const play = async (ms: number) => {
      for (let at = 0; at < ms; at += 500) {
        life.advance(500);
        await Bun.sleep(5);
      }
    };
    await play(5_000);
    await until(() => gateway.isReady && gateway.orders?.sourceState === "live", "both streams are live");
    const [esa, ws] = [lineWire(bunDial, esaAddress), webSocketWire(websocketUrl)];
    const segmented = { terms: { segmentationEnabled: true } };
    readers.push(
      new Reader(esa, SESSION, null, { overall: true }),
      new Reader(ws, SESSION, null, { strategies: false, ...segmented }),
      new Reader(esa, "token-alpha", "alpha-", segmented),
      new Reader(ws, "token-alpha", "alpha-", { resumes: false, terms: { conflateMs: 100 } }),
      new Reader(esa, "token-beta", "beta-", { resumes: false }),
      new Reader(ws, "token-con", "con"),
    );
    for (let cut = 0; cut < 16; cut++) {
      await play(2_000 + randomInt(random, 4_000));
      if (cut % 8 === 7) account.logStart = account.position + 1;
      const victim = cut % 4 === 3 ? stage.upstream : pick(random, [stage.esa, stage.websocket]);
      victim[pick(random, ["cut", "reset"] as const)]();
      await play(1_000);
      await until(
        () => gateway.orders?.sourceState === "live" && readers.every(({ isLive }) => isLive),
        "all are back",
      );
    }
    await play(5_000);
    punters.stop();
    world.stop();
    expect(account.orders.size).toBeGreaterThan(300);
    for (const [i, reader] of readers.entries()) {
      const isThere = () => JSON.stringify(reader.book.state()) === JSON.stringify(truth(account, reader.view));
      await until(isThere, `reader ${i} holds the exchange's list`, 5_000).catch(() => {});
      expect(reader.book.state()).toEqual(truth(account, reader.view));
      expect(truth(account, reader.view).length).toBeGreaterThan(0);
      expect(reader.leak).toBeNull();
      expect(reader.counts.updates).toBeGreaterThan(3);
      expect(reader.counts.connects).toBeGreaterThan(1);
    }
    expect(readers.some(({ counts }) => counts.resumes > 0)).toBe(true);
    expect(gateway.orders?.connects).toBeGreaterThan(4);
    expect(gateway.orders?.images).toBeGreaterThan(1);
    expect(gateway.source.images).toBe(1);
    expect(readers[0]?.counts.markets).toBeGreaterThan(10);
    expect(readers.every(({ counts }) => counts.stale > 0)).toBe(true);
  }, 30_000);

  test("who may not is told so, and no order stream is there where it is not enabled", async () => {
    stage = await openStage(SEED, { orders: { enabled: true }, visitors: VISITORS });
    const asked = (token: string, orderFilter: object) => {
      const reader = new Reader(lineWire(bunDial, (stage as OpenStage).esaAddress), token, "", {
        terms: { orderFilter },
      });
      readers.push(reader);
      return reader;
    };
    const refused: [Reader, string][] = [
      [asked("token-none", {}), "NOT_AUTHORIZED"],
      [asked("token-alpha", { includeOverallPosition: true }), "NOT_AUTHORIZED"],
      [asked("token-alpha", { customerStrategyRefs: ["beta-1"] }), "NOT_AUTHORIZED"],
      [asked(SESSION, { accountIds: [7_000_001] }), "INVALID_REQUEST"],
    ];
    for (const [reader, code] of refused) {
      await until(() => reader.refusal !== null, "the refusal");
      expect(reader.refusal).toBe(code);
    }
    await stage.close();
    stage = await openStage(SEED, { visitors: VISITORS });
    const reader = asked("token-alpha", {});
    await until(() => reader.refusal !== null, "the refusal");
    expect(reader.refusal).toBe("NOT_AUTHORIZED");
  });
});

describe("a slow reader", () => {
  const after = (out: Uint8Array, at: number) => {
    out.set([13, 10], at);
    return 2;
  };

  /** A line of the account's upstream. */
  function says(desk: OrderDesk, oc: readonly object[], more: object = {}): void {
    const batch = new OrderBatch();
    const bytes = new TextEncoder().encode(JSON.stringify({ op: "ocm", id: 2, pt: 1, clk: "c", oc, ...more }));
    expect(decodeOrderLine(bytes, 0, bytes.length, batch).kind).toBe("change");
    desk.batch(batch);
  }

  /** A socket that takes so many bytes at a time, behind the real hub and conversation. */
  function setUp() {
    const clock = new VirtualClock();
    const hub = new Hub({ cache: new Cache({ epoch: "e", clock, retentionMs: 1_000, forgetMs: 1_000 }), clock });
    const desk = new OrderDesk({ epoch: "e", clock, retentionMs: 1_000, forgetMs: 1_000, segmentBytesMax: 2_048 });
    const tokens = new TokenList([{ token: "t", name: "a", orders: { refPrefix: "alpha-" } }]);
    const lobby = new Lobby({ hub, tokens, clock, connectionsMax: 1, sides: { orderSubscription: desk } });
    const reader = { room: Number.POSITIVE_INFINITY, text: "", closed: "", most: 0 };
    const outlet: Outlet = {
      extensions: false,
      framing: { overheadMax: 2, before: () => 0, after },
      write(bytes) {
        reader.most = Math.max(reader.most, bytes.length);
        const taken = Math.min(reader.room, bytes.length);
        reader.room -= taken;
        reader.text += new TextDecoder().decode(bytes.subarray(0, taken));
        return taken;
      },
      close: ({ code }) => {
        reader.closed = code;
        visit.end(null);
      },
    };
    const visit: Visit = lobby.enter(outlet);
    outlet.write(framed(outlet, visit.greeting()));
    visit.receive('{"op":"authentication","id":1,"session":"t"}');
    return { clock, hub, desk, reader, visit };
  }

  const placed = (n: number) => ({
    id: "1.1",
    orc: [{ id: 7, uo: [{ id: `${n}`, status: "E", rfs: `alpha-${n}`, rfo: "x".repeat(100) }] }],
  });

  test("gets an image piece by piece as its socket takes it, then what changed meanwhile; market and orders keep out of each other's way", () => {
    const { desk, reader, visit, clock } = setUp();
    says(desk, [{ id: "1.1", orc: [{ id: 7, uo: Array.from({ length: 200 }, (_, n) => placed(n).orc[0]?.uo[0]) }] }], {
      ct: "SUB_IMAGE",
      initialClk: "i",
    });
    desk.state("live");
    reader.room = 5_000;
    visit.receive('{"op":"marketSubscription","id":2}');
    visit.receive('{"op":"orderSubscription","id":3,"segmentationEnabled":true}');
    for (let n = 200; n < 220; n++) says(desk, [placed(n)]);
    let drains = 0;
    while (reader.room === 0 && ++drains < 1_000) {
      clock.advance(10);
      reader.room = 1_500;
      visit.drained();
    }
    reader.room = Number.POSITIVE_INFINITY;
    visit.drained();
    expect(drains).toBeGreaterThan(10);
    expect(reader.most).toBeLessThanOrEqual(2_048 + 2);
    const messages = reader.text
      .split("\r\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Message);
    expect(new Set(messages.map(({ op }) => op))).toEqual(new Set(["connection", "status", "mcm", "ocm"]));
    const book = new NaiveOrders();
    for (const { oc = [] } of messages) book.apply(oc);
    expect(book.state().length).toBe(220);
    visit.receive('{"op":"orderSubscription","id":4}');
    says(desk, [placed(220)]);
    expect(reader.text).toContain('"id":4,"clk"');
    expect(reader.text.slice(reader.text.indexOf('"op":"ocm","id":4'))).not.toContain('"op":"ocm","id":3');
  });

  test("hears of an order as soon as there is room, however far it is behind with prices", () => {
    const { hub, desk, reader, visit } = setUp();
    says(desk, [placed(0)], { ct: "SUB_IMAGE", initialClk: "i" });
    desk.state("live");
    const batch = new ChangeBatch();
    for (let n = 0; n < 2_000; n++) {
      batch.market(`1.${n}`);
      batch.runner(7, 0);
      batch.ladder(0, false);
      for (let level = 1; level <= 20; level++) batch.level(level, 100);
    }
    hub.batch(batch);
    reader.room = 5_000;
    visit.receive('{"op":"orderSubscription","id":3}');
    visit.receive('{"op":"marketSubscription","id":2,"segmentationEnabled":true}');
    says(desk, [placed(1)]);
    for (let drains = 0; drains < 30; drains++) {
      reader.room = 5_000;
      visit.drained();
    }
    expect(reader.text).toContain('"rfs":"alpha-1"');
    expect(reader.text).not.toContain("SEG_END");
  });

  test("that reads nothing at all is closed as SLOW, also where it has orders only, and nothing is left of it", () => {
    const { desk, reader, visit, clock } = setUp();
    says(desk, [placed(1)], { ct: "SUB_IMAGE", initialClk: "i" });
    desk.state("live");
    visit.receive('{"op":"orderSubscription","id":3}');
    reader.room = 10;
    says(desk, [placed(2)]);
    clock.advance(40_000);
    expect(reader.closed).toBe("SLOW");
    expect(desk.subscriptions.size).toBe(0);
  });
});
