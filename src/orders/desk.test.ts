import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import { VirtualClock } from "../sim/clock.ts";
import { NaiveOrders, type OrderEntry, type View } from "../sim/naive-orders.ts";
import type { OrderRights } from "../tenancy/tokens.ts";
import { decodeOrderLine, OrderBatch } from "../wire/orders.ts";
import type { OrderFilter, OrderSubscribeRequest } from "../wire/requests.ts";
import { OrderDesk } from "./desk.ts";
import { RandomAccount } from "./random-account.ts";

const ASKED: OrderFilter = {
  includeOverallPosition: null,
  customerStrategyRefs: [],
  partitionMatchedByStrategyRef: true,
  accountIds: [],
};

interface Message {
  readonly op: string;
  readonly id: number;
  readonly ct?: string;
  readonly clk?: string;
  readonly initialClk?: string;
  readonly pt: number;
  readonly status?: number;
  readonly segmentType?: string;
  readonly conflateMs?: number;
  readonly heartbeatMs?: number;
  readonly oc?: readonly OrderEntry[];
}

function account(orders: OrderRights | undefined) {
  return { name: "x", tenant: "default", subscriptionsMax: 1, marketsMax: 1, connectionsMax: 1, orders };
}

function request(more: Partial<OrderSubscribeRequest> = {}): OrderSubscribeRequest {
  const terms = { id: 7, conflateMs: 0, heartbeatMs: 5000, segmentationEnabled: false, initialClk: null, clk: null };
  return { ...terms, filter: ASKED, ...more };
}

const NOTHING_MORE = {};

class House {
  readonly clock = new VirtualClock();
  readonly desk: OrderDesk;
  #clk = 0;

  constructor(options: { segmentBytesMax?: number; messageBytesMax?: number; epoch?: string } = {}) {
    this.desk = new OrderDesk({ epoch: "e", clock: this.clock, retentionMs: 600_000, forgetMs: 3_600_000, ...options });
  }

  /** A line of the exchange. */
  says(oc: readonly object[], more: object = NOTHING_MORE): void {
    const batch = new OrderBatch();
    const bytes = new TextEncoder().encode(
      JSON.stringify({ op: "ocm", id: 2, pt: this.clock.wall(), clk: `c${++this.#clk}`, oc, ...more }),
    );
    expect(decodeOrderLine(bytes, 0, bytes.length, batch)).toEqual({ kind: "change" });
    this.desk.batch(batch);
    if (more === NOTHING_MORE) this.desk.settled();
  }

  image(oc: readonly object[] = []): void {
    this.says(oc, { ct: "SUB_IMAGE", initialClk: "i" });
    this.desk.state("live");
    this.desk.settled();
  }
}

/** A client: a socket that takes what it has room for, and a book. */
class Client {
  book = new NaiveOrders();
  readonly messages: Message[] = [];
  readonly texts: string[] = [];
  room = Number.POSITIVE_INFINITY;
  initialClk: string | null = null;
  clk: string | null = null;
  /** It knows an image, and since then everything: whatever ends is to be told to it, now or after a resume. */
  isAnchored = false;
  readonly completed = new Set<string>();
  #open: { drained(): void; end(): void } | null = null;
  #group: Message[] = [];
  readonly #clears: boolean;
  #connection = 0;

  /** `clears`: forgets everything with an image, as the protocol has it; some clients go by `fullImage` alone. */
  constructor(clears = true) {
    this.#clears = clears;
  }

  ask(desk: OrderDesk, rights: OrderRights | undefined, asked: OrderSubscribeRequest): void {
    this.end();
    const connection = ++this.#connection;
    const client = this;
    const session = {
      get isClear() {
        return client.room > 0;
      },
      say: (text: string) => connection === this.#connection && this.#hear(text),
    };
    const opened = desk.subscribe(account(rights), asked, session, '{"op":"status"}');
    if ("code" in opened) throw new Error(opened.code);
    this.#open = opened;
  }

  drain(room: number): void {
    this.room = room;
    if (room > 0) this.#open?.drained();
  }

  end(): void {
    this.#open?.end();
    this.#open = null;
    this.#group = [];
    this.#connection++;
  }

  get isOpen(): boolean {
    return this.#open !== null;
  }

  get last(): Message {
    return this.messages.at(-1) as Message;
  }

  #hear(text: string): void {
    this.room--;
    this.texts.push(text);
    const message: Message = JSON.parse(text);
    if (message.op === "status") return;
    this.messages.push(message);
    if (message.segmentType === undefined) return this.#apply([message]);
    if (message.segmentType === "SEG_START") this.#group = [];
    this.#group.push(message);
    if (message.segmentType === "SEG_END") this.#apply(this.#group.splice(0));
  }

  #apply(group: readonly Message[]): void {
    if (this.#clears && group[0]?.ct === "SUB_IMAGE") this.book = new NaiveOrders();
    for (const { oc = [] } of group) this.book.apply(oc);
    for (const { id } of this.book.completed) this.completed.add(id);
    const { clk = this.clk, initialClk = null } = group.at(-1) as Message;
    this.clk = clk;
    this.initialClk = initialClk ?? this.initialClk;
    this.isAnchored = (this.isAnchored || initialClk !== null) && clk !== "0";
  }
}

const REFS = [
  undefined,
  "",
  "alpha-",
  "alpha-1",
  "alpha-2",
  "alpha",
  "alpha2",
  "ALPHA-1",
  " alpha-1",
  "beta-1",
  "beta-é",
  "\ud83c\udfb2-1",
  "__proto__",
  "constructor",
  "toString",
];
const PREFIXES = ["alpha-", "alpha-1", "beta-", "\ud83c\udfb2", "__proto__", "con", "\ud83c"];

/** Somebody who comes, goes, reads slowly, and what it may see by a judge of its own. */
class Trader {
  readonly client: Client;
  readonly rights: OrderRights;
  readonly view: View;
  readonly #random: Random;
  readonly #filter: OrderFilter;
  readonly #terms: Partial<OrderSubscribeRequest>;
  /** Orders that it is to hear the end of. */
  readonly owed = new Set<string>();

  constructor(random: Random, granted?: string) {
    this.#random = random;
    const prefix = granted ?? (random.next() < 0.25 ? null : pick(random, PREFIXES));
    const refs =
      random.next() < 0.3
        ? REFS.flatMap((ref = "") => (ref.startsWith(prefix ?? "") && random.next() < 0.5 ? [ref] : []))
        : [];
    const strategies = random.next() < 0.7;
    const overall = prefix === null ? random.next() < 0.7 : false;
    this.rights = prefix === null ? "account" : { refPrefix: prefix };
    this.view = {
      overall,
      strategies,
      sees: (ref) => ref.startsWith(prefix ?? "") && (refs.length === 0 || refs.includes(ref)),
    };
    this.#filter = {
      ...ASKED,
      includeOverallPosition: overall,
      customerStrategyRefs: refs,
      partitionMatchedByStrategyRef: strategies,
    };
    this.#terms = { conflateMs: pick(random, [0, 0, 300]), segmentationEnabled: random.next() < 0.5 };
    this.client = new Client(random.next() < 0.5);
  }

  come(desk: OrderDesk): void {
    const { client } = this;
    if (this.#random.next() < 0.3) client.initialClk = client.clk = null;
    // What it knows is from before the exchange began anew, which it had not heard yet.
    if (client.initialClk?.startsWith(`${desk.ledger.epoch}.`) !== true) client.isAnchored = false;
    if (!client.isAnchored) this.owed.clear();
    const { initialClk, clk } = client;
    client.ask(desk, this.rights, request({ ...this.#terms, filter: this.#filter, initialClk, clk }));
  }

  /** An order ended; whoever knows of it hears so. */
  ended(id: string, ref: string): void {
    if (this.client.isAnchored && this.view.sees(ref)) this.owed.add(id);
  }

  /** The exchange begins anew, and who is away does not hear what was before. */
  lostTouch(): void {
    if (this.client.isOpen) return;
    this.client.isAnchored = false;
    this.owed.clear();
  }

  read(): void {
    this.client.drain(pick(this.#random, [0, 1, 2, 5, 100]));
  }
}

/** Runs a whole day; the first thing wrong with it, or null. `judged` may differ from what was granted: then there must be something. */
function day(seed: number, granted?: string, judged: (ref: string) => boolean = () => true): string | null {
  const random = seededRandom(seed);
  const house = new House({ segmentBytesMax: 1_500, messageBytesMax: 2_500 });
  const exchange = new RandomAccount(random, REFS);
  let truth = new NaiveOrders();
  const traders = Array.from({ length: 6 }, () => new Trader(random, granted));
  const owners = new Map<string, string>();
  const hear = (oc: readonly object[], ended: number) => {
    const entries = JSON.parse(JSON.stringify(oc)) as OrderEntry[];
    truth.apply(entries);
    for (const { orc = [] } of entries)
      for (const { uo = [] } of orc)
        for (const order of uo)
          owners.set(order.id, `${owners.get(order.id) ?? ""}|${JSON.stringify(order.rfs ?? "")}`);
    for (const { id, rfs = "" } of truth.completed.slice(ended)) for (const trader of traders) trader.ended(id, rfs);
  };
  const image = () => {
    truth = new NaiveOrders();
    for (const trader of traders) trader.lostTouch();
    const oc = exchange.image();
    hear(oc, 0);
    house.image(oc);
  };
  for (const trader of traders) if (random.next() < 0.5) trader.come(house.desk);
  image();
  for (let i = 0; i < 120; i++) {
    const chance = random.next();
    const trader = pick(random, traders);
    if (chance < 0.02) {
      for (let missed = 0; missed < 3; missed++) exchange.next();
      image();
    } else if (chance < 0.6) {
      const ended = truth.completed.length;
      const oc = exchange.next();
      hear(oc, ended);
      house.says(oc);
    } else if (chance < 0.75) trader.read();
    else if (chance < 0.82) trader.client.end();
    else if (chance < 0.92) trader.come(house.desk);
    else house.clock.advance(randomInt(random, 400));
  }
  for (const trader of traders) {
    trader.client.drain(Number.POSITIVE_INFINITY);
    if (!trader.client.isOpen || random.next() < 0.5) trader.come(house.desk);
  }
  house.clock.advance(10_000);
  return verdict(traders, truth, owners, judged);
}

function verdict(
  traders: readonly Trader[],
  truth: NaiveOrders,
  owners: ReadonlyMap<string, string>,
  judged: (ref: string) => boolean,
): string | null {
  for (const [i, { client, view, owed, rights }] of traders.entries()) {
    const who = `trader ${i} (${JSON.stringify(rights)})`;
    const [has, wants] = [client.book.state(), truth.state(view)];
    if (JSON.stringify(has) !== JSON.stringify(wants))
      return `${who} holds ${JSON.stringify(has, null, 1)} and not ${JSON.stringify(wants, null, 1)}`;
    const unheard = [...owed].filter((id) => !client.completed.has(id));
    if (unheard.length > 0) return `${who} did not hear how ${unheard} ended`;
    const words = client.texts.join("\n");
    if (rights === "account") continue;
    if (/accountId|"(mb|ml)":\[\[[^{}]*\],?"(uo|smc)"/.test(words)) return `${who} was told of the account`;
    for (const { oc = [] } of client.messages)
      for (const { orc = [] } of oc)
        for (const { uo = [], mb, ml, smc = {} } of orc) {
          if (mb !== undefined || ml !== undefined) return `${who} was told an overall position`;
          for (const ref of [...uo.map(({ rfs = "" }) => rfs), ...Object.keys(smc)])
            if (!view.sees(ref) || !judged(ref)) return `${who} was told of ${JSON.stringify(ref)}`;
        }
    for (const [, id] of words.matchAll(/<secret-(\d+)>/g)) {
      const refs = (owners.get(id as string) as string)
        .split("|")
        .slice(1)
        .map((ref) => JSON.parse(ref) as string);
      if (!refs.some((ref) => view.sees(ref) && judged(ref))) return `${who} was told order ${id} of ${refs}`;
    }
  }
  return null;
}

describe("whoever asks, however slowly it reads, wherever it is cut", () => {
  test("holds its orders and nobody else's", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
        const wrong = day(seed);
        if (wrong !== null) throw new Error(wrong);
      }),
      { numRuns: 60, includeErrorInReport: true },
    );
  }, 30_000);

  test("negative control: a prefix granted one letter too short is found out", () => {
    const found = Array.from({ length: 20 }, (_, seed) => day(seed, "alpha", (ref) => ref.startsWith("alpha-")));
    expect(found.some((wrong) => wrong?.includes("was told"))).toBe(true);
  });
});

const order = (id: string, more: object = {}) => ({
  id,
  p: 2,
  s: 4,
  side: "B",
  status: "E",
  sm: 0,
  sr: 4,
  rfs: "alpha-1",
  ...more,
});
const runner = (uo: object[], more: object = {}) => ({ id: "1.1", orc: [{ id: 7, uo, ...more }] });

function open(
  house: House,
  rights: OrderRights = { refPrefix: "alpha-" },
  more: Partial<OrderSubscribeRequest> = {},
): Client {
  const client = new Client();
  client.ask(house.desk, rights, request(more));
  return client;
}

describe("what is said", () => {
  test("nothing but heartbeats with 503 until the exchange's image is there, then an image that says the terms", () => {
    const house = new House();
    const client = open(house, undefined, { heartbeatMs: 500, conflateMs: 100 });
    house.clock.advance(600);
    expect(client.messages).toEqual([
      { op: "ocm", id: 7, ct: "HEARTBEAT", clk: "0", pt: house.clock.wall() - 100, status: 503 },
    ]);
    house.image([runner([order("1"), order("2", { rfs: "beta-1" })])]);
    const { initialClk, clk, ...image } = client.messages[1] as Message;
    const oc = [{ id: "1.1", fullImage: true, orc: [{ id: 7, fullImage: true, uo: [order("1")] }] }] as never;
    expect(image).toEqual({
      op: "ocm",
      id: 7,
      ct: "SUB_IMAGE",
      pt: house.clock.wall(),
      conflateMs: 100,
      heartbeatMs: 500,
      oc,
    });
    expect([typeof initialClk, typeof clk]).toEqual(["string", "string"]);
    expect(client.messages.length).toBe(2);
  });

  test("what is new comes with fullImage, what changes without; the account's own only to the account", () => {
    const house = new House();
    house.image();
    const [mine, all] = [open(house), open(house, "account")];
    const matched = { mb: [[2, 1]], smc: { "alpha-1": { mb: [[2, 1]] } } };
    house.says([{ ...runner([order("1", { sm: 1 })], matched), accountId: 77 }]);
    const base = { id: 7, fullImage: true, uo: [order("1", { sm: 1 })], smc: matched.smc };
    expect(mine.last.oc).toEqual([{ id: "1.1", fullImage: true, orc: [base] }] as never);
    expect(all.last.oc).toEqual([
      { id: "1.1", accountId: 77, fullImage: true, orc: [{ ...base, mb: [[2, 1]] }] },
    ] as never);
    house.says([runner([order("1", { status: "EC" })])]);
    expect(mine.last.oc).toEqual([runner([order("1", { status: "EC" })])] as never);
    house.says([{ id: "1.1", closed: true }]);
    expect(mine.last.oc).toEqual([{ id: "1.1", closed: true }]);
  });

  test("others' orders and markets make no message, and no difference", () => {
    const house = new House();
    house.image();
    const client = open(house);
    const { length } = client.messages;
    house.says([runner([order("1", { rfs: "beta-1" })], { mb: [[2, 1]] })]);
    house.says([
      { id: "1.1", closed: true },
      { id: "1.2", fullImage: true },
    ]);
    house.says([runner([order("2", { rfs: undefined })], { smc: { "": { mb: [[2, 1]] } } })]);
    expect(client.messages.length).toBe(length);
    const late = open(house);
    expect(late.last.oc).toBeUndefined();
  });

  test("within conflateMs changes are merged: the last whole order, also when it ended meanwhile", () => {
    const house = new House();
    house.image();
    const client = open(house, undefined, { conflateMs: 300 });
    const { length } = client.messages;
    house.clock.advance(50);
    house.says([runner([order("1"), order("2")])]);
    house.says([runner([order("1", { sm: 1 })])]);
    house.says([runner([order("2", { status: "EC" })])]);
    house.clock.advance(200);
    expect(client.messages.length).toBe(length);
    house.clock.advance(200);
    expect(client.messages.length).toBe(length + 1);
    expect(client.last.oc?.[0]?.orc?.[0]?.uo).toEqual([order("1", { sm: 1 }), order("2", { status: "EC" })] as never);
    house.clock.advance(1_000);
    house.says([runner([order("1", { sm: 2 })])]);
    expect(client.messages.length).toBe(length + 2);
  });

  test("images are cut to the segments' size, runners and strategies of any number too, and no message is larger", () => {
    const house = new House({ segmentBytesMax: 4_096 });
    const orders = Array.from({ length: 300 }, (_, i) => order(`${i}`, { rfs: `alpha-${i % 100}` }));
    const smc = Object.fromEntries(orders.map(({ rfs }) => [rfs, { mb: [[2, 1]] }]));
    house.image([runner(orders, { smc })]);
    const client = new Client();
    client.room = 3;
    client.ask(house.desk, "account", request({ segmentationEnabled: true }));
    expect(client.messages.length).toBe(2);
    while (client.messages.at(-1)?.segmentType !== "SEG_END") client.drain(1);
    expect(Math.max(...client.texts.map(({ length }) => length))).toBeLessThanOrEqual(4_096);
    expect(client.messages.map(({ segmentType }) => segmentType)).toEqual([
      "SEG_START",
      ...client.messages.slice(2).map(() => "SEG"),
      "SEG_END",
    ]);
    expect(client.messages.map(({ clk }) => clk !== undefined)).toEqual(
      client.messages.map(({ segmentType }) => segmentType === "SEG_END"),
    );
    expect(client.book.state().length).toBe(400);
  });

  test("a full socket gets nothing; when it drains, what changed since, and how orders ended", () => {
    const house = new House();
    house.image([runner([order("1"), order("2")])]);
    const client = open(house);
    client.drain(0);
    const { length } = client.messages;
    house.says([runner([order("1", { status: "EC" })])]);
    house.says([runner([order("3")])]);
    house.clock.advance(20_000);
    expect(client.messages.length).toBe(length);
    client.drain(9);
    expect(client.messages.length).toBe(length + 1);
    expect(client.last.oc?.[0]?.orc?.[0]?.uo?.map(({ id, status }) => `${id} ${status}`)).toEqual(["1 EC", "3 E"]);
  });

  test("a silent exchange is 503 at once, and what is held stays", () => {
    const house = new House();
    house.image([runner([order("1")])]);
    const client = open(house);
    house.desk.state("stale");
    expect(client.last).toMatchObject({ ct: "HEARTBEAT", status: 503 });
    const late = open(house);
    expect(late.last).toMatchObject({ ct: "SUB_IMAGE", status: 503 });
    client.drain(0);
    house.desk.state("live");
    client.drain(9);
    expect(client.last.status).toBeUndefined();
    expect(late.last).toMatchObject({ ct: "HEARTBEAT" });
    expect(late.last.status).toBeUndefined();
    house.desk.state("stale");
    house.says([runner([order("2")])]);
    expect(late.last).toMatchObject({ status: 503, oc: [{ id: "1.1" }] });
    expect(client.book.state()).toEqual(late.book.state());
  });
});

describe("resume", () => {
  test("is answered by what changed since, to the orders that ended; beyond reach, or from another scope, by an image", () => {
    const house = new House();
    house.image([runner([order("1"), order("2")])]);
    const client = open(house);
    const { initialClk, clk } = client;
    client.end();
    house.says([runner([order("1", { status: "EC" })])]);
    const again = (rights: OrderRights, more = {}) => open(house, rights, { initialClk, clk, ...more });
    expect(again({ refPrefix: "alpha-" }).last).toMatchObject({
      ct: "RESUB_DELTA",
      oc: [runner([order("1", { status: "EC" })])],
    });
    for (const more of [
      { filter: { ...ASKED, customerStrategyRefs: ["alpha-1"] } },
      { clk: "zz" },
      { clk: "-" },
      { clk: null },
      { initialClk: "x" },
    ])
      expect(again({ refPrefix: "alpha-" }, more).last.ct).toBe("SUB_IMAGE");
    expect(again({ refPrefix: "alpha-1" }).last.ct).toBe("SUB_IMAGE");
    house.clock.advance(601_000);
    const late = again({ refPrefix: "alpha-" });
    expect(late.last.ct).toBe("SUB_IMAGE");
    expect(late.book.completed).toEqual([]);
  });

  test("a new image of the exchange is everybody's: full markets, empty where something is gone, and older clocks are void", () => {
    const house = new House();
    house.image([runner([order("1")]), { ...runner([order("2")]), id: "1.2" }]);
    const client = open(house);
    const before = { initialClk: client.initialClk, clk: client.clk };
    house.image([runner([order("1", { sm: 1 })])]);
    expect(client.last).toMatchObject({ ct: "SUB_IMAGE", id: 7 });
    expect(client.last.oc).toEqual([
      { id: "1.1", fullImage: true, orc: [{ id: 7, fullImage: true, uo: [order("1", { sm: 1 })] }] },
      { id: "1.2", fullImage: true },
    ] as never);
    expect(open(house, undefined, before).last.ct).toBe("SUB_IMAGE");
  });
});

describe("rights", () => {
  const ask = (rights: OrderRights | undefined, filter: Partial<OrderFilter>) => {
    const house = new House();
    const session = { isClear: true, say: () => {} };
    const opened = house.desk.subscribe(account(rights), request({ filter: { ...ASKED, ...filter } }), session, "");
    return "code" in opened ? opened.code : "accepted";
  };
  const alpha = { refPrefix: "alpha-" };

  test.each([
    [undefined, {}, "NOT_AUTHORIZED"],
    [alpha, {}, "accepted"],
    [alpha, { includeOverallPosition: false }, "accepted"],
    [alpha, { includeOverallPosition: true }, "NOT_AUTHORIZED"],
    [alpha, { customerStrategyRefs: ["alpha-", "alpha-x"] }, "accepted"],
    [alpha, { customerStrategyRefs: ["alpha-1", "alpha"] }, "NOT_AUTHORIZED"],
    [alpha, { customerStrategyRefs: [""] }, "NOT_AUTHORIZED"],
    [alpha, { accountIds: [1] }, "INVALID_REQUEST"],
    ["account", { accountIds: [1] }, "INVALID_REQUEST"],
    ["account", { includeOverallPosition: true, customerStrategyRefs: ["", "x"] }, "accepted"],
  ] as const)("%j asking %j: %s", (rights, filter, outcome) => {
    expect(ask(rights, filter)).toBe(outcome);
  });
});
