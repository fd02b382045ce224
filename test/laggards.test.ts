import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Hub } from "../src/delivery/hub.ts";
import { Outbox } from "../src/delivery/outbox.ts";
import type { Session } from "../src/delivery/session.ts";
import { type Dialect, type Door, LINES, type MessageSink, webSocketDialect } from "../src/load/dialect.ts";
import { canStopAcknowledging, connectLaggard, connectUser } from "../src/load/sockets.ts";
import { sseDialect } from "../src/load/sse-dialect.ts";
import type { Line, Owner } from "../src/load/user.ts";
import type { LaggardKind } from "../src/load/workload.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { type OpenStage, openStage, SESSION, until } from "./stage.ts";

/** Users who do not keep up, in every way there is and at every door, beside users who do. By counts: what time decides is only when somebody is too slow. */
const HOST = "127.0.0.1";
const FLUSH_BYTES_MAX = 65_536;
/** Less than a step of a subscription: what is told in segments, merged or not, is one thing all the same. */
const SEGMENT_BYTES_MAX = 16_384;
const BEHIND_MS_MAX = 4_000;
/** What may wait for one user: docs/LOADTEST.md. No market here is longer than a flush may be. */
const CAP_BYTES = FLUSH_BYTES_MAX + Outbox.controlBytesMax;
const MARKETS = Array.from({ length: 10 }, (_, n) => `1.${n}`);
const HALVES = [MARKETS.slice(0, 5), MARKETS.slice(5)];
const DOORS: readonly Door[] = ["websocket", "sse", "esa"];
/** So many bytes a market and step: what the kernel takes for somebody is soon full. */
const FILLER_BYTES = 4_000;
/** The most steps until everybody is behind who is to be. */
const STEPS_MAX = 300;
/** Steps that they miss for certain, as they are behind. */
const MISSED = 10;
const SLOW_BYTES_PER_SECOND = 1_024;
const SLOW_WORDS = "you were behind for too long; come back with your last clk";
const KINDS: readonly LaggardKind[] = [
  "neverReads",
  "readsSlowly",
  "stalls",
  ...(canStopAcknowledging() ? (["stopsAcknowledging"] as const) : []),
];

/** A market change as somebody was told it; `group`: of messages that are one thing (segments are). */
interface Told {
  readonly market: string;
  /** Every step makes it one more. */
  readonly tv: number;
  readonly con: boolean;
  readonly group: number;
}

interface Message {
  readonly op: string;
  readonly id?: number;
  readonly ct?: string;
  readonly segmentType?: string;
  readonly mc?: readonly (MarketChange & { readonly con?: boolean; readonly tv: number })[];
  readonly statusCode?: string;
  readonly errorCode?: string;
  readonly errorMessage?: string;
}

/** A user of any door, who writes down everything. */
class Client implements Owner, MessageSink {
  readonly door: Door;
  readonly kind: "prompt" | LaggardKind;
  readonly books = new Map<string, NaiveBook>();
  /** By the subscription's id. */
  readonly told = new Map<number, Told[]>();
  readonly images = new Set<number>();
  /** What it was told at last, and what became of its connection. */
  goodbye: string | null = null;
  over: string | null = null;
  session: Session | null = null;
  /** Becomes deaf to the network. */
  stopAcknowledging: () => void = () => {};
  line: Line | null = null;
  readonly #dialect: Dialect;
  readonly #wants: readonly (readonly string[])[];
  #isGreeted = false;
  #rest = Buffer.alloc(0);
  #group = 0;
  #isLazy = false;

  constructor(door: Door, kind: Client["kind"], port: number) {
    this.door = door;
    this.kind = kind;
    this.#dialect = dialectOf(door, port);
    this.#wants = door === "websocket" ? HALVES : [MARKETS];
    for (let id = 1; id <= this.#wants.length; id++) this.told.set(id, []);
    const target = { host: HOST, port, tls: null };
    if (kind === "prompt") connectUser(this, target, null);
    else this.stopAcknowledging = connectLaggard(this, target, null);
  }

  get isLive(): boolean {
    return this.images.size === this.#wants.length;
  }

  /** Every market's last change that it knows is this one. */
  isAt(tv: number): boolean {
    return [...this.told.values()].every((told) => this.#lastOf(told) === tv);
  }

  lag(): void {
    if (this.kind === "readsSlowly") this.#isLazy = true;
    else if (this.kind === "stopsAcknowledging") this.stopAcknowledging();
    else this.line?.pause();
  }

  // ---- the socket's side ----

  opened(line: Line): void {
    this.line = line;
    const { hello, request } = this.#dialect;
    const ask = { session: SESSION, appKey: "", subscription: this.#subscription(1), lastEventId: "" };
    if (request !== null) line.write(request(ask));
    else if (hello !== null) line.write(hello);
  }

  data(bytes: Buffer): void {
    const all = Buffer.concat([this.#rest, bytes]);
    this.#rest = all.subarray(this.#dialect.unwrap(all, 0, all.length, this.#isGreeted, this));
    if (!this.#isLazy) return;
    this.line?.pause();
    setTimeout(() => this.over === null && this.line?.resume(), (bytes.length / SLOW_BYTES_PER_SECOND) * 1_000);
  }

  drained(): void {}

  closed(error?: Error): void {
    this.over ??= error === undefined ? "ended" : ((error as { code?: string }).code ?? error.message);
  }

  // ---- the dialect's side ----

  greeted(): void {
    this.#isGreeted = true;
  }

  message(bytes: Buffer, from: number, to: number): void {
    const message = JSON.parse(bytes.toString("latin1", from, to)) as Message;
    if (message.op === "connection") this.#say(JSON.stringify({ op: "authentication", id: 100, session: SESSION }));
    else if (message.op === "mcm") this.#marketChange(message);
    else if (message.statusCode === "FAILURE") this.goodbye = `${message.errorCode}: ${message.errorMessage}`;
    else if (message.id === 100) for (let id = 1; id <= this.#wants.length; id++) this.#say(this.#subscription(id));
  }

  pinged(): void {}

  closing(code: number | null, reason: string): void {
    this.goodbye = `${code}: ${reason}`;
  }

  #marketChange({ id = 0, ct, segmentType, mc = [] }: Message): void {
    const told = this.told.get(id) as Told[];
    for (const change of mc) {
      const { id: market, tv, con = false } = change;
      if (!this.books.has(market)) this.books.set(market, new NaiveBook(market));
      this.books.get(market)?.apply(change);
      told.push({ market, tv, con, group: this.#group });
    }
    if (segmentType === "SEG_START" || segmentType === "SEG") return;
    this.#group++;
    if (ct === "SUB_IMAGE") this.images.add(id);
  }

  #subscription(id: number): string {
    return JSON.stringify({
      op: "marketSubscription",
      id,
      marketFilter: { marketIds: this.#wants[id - 1] },
      segmentationEnabled: this.door === "websocket",
    });
  }

  #say(message: string): void {
    this.line?.write(this.#dialect.wrap(message));
  }

  #lastOf(told: readonly Told[]): number | null {
    const last = new Map(told.map(({ market, tv }) => [market, tv]));
    const [first, ...others] = last.values();
    return first !== undefined && others.every((tv) => tv === first) ? first : null;
  }
}

function dialectOf(door: Door, port: number): Dialect {
  if (door === "websocket") return webSocketDialect(`${HOST}:${port}`, "/v1/ws");
  return door === "sse" ? sseDialect(`${HOST}:${port}`, "/v1/stream") : LINES;
}

/** Steps up to which somebody may have been told what it missed, merged; null: up to any, as a kernel finds room by and by for who does not read. */
type Merged = readonly number[] | null;

/** What is wrong with what somebody was told under one subscription: each change once and in order, but for those that were merged; to the `last`, where it should have that. */
function faultsIn(told: readonly Told[], may: Merged, last: number | null): string[] {
  const faults: string[] = [];
  const known = new Map<string, number>();
  for (const { market, tv, con } of told) {
    const before = known.get(market);
    known.set(market, tv);
    if (before === undefined || tv === before + 1) continue;
    if (tv === before) faults.push(`${market}: ${tv} twice`);
    else if (tv < before) faults.push(`${market}: ${tv} is older than ${before}`);
    else if (!con) faults.push(`${market}: nothing was told between ${before} and ${tv}`);
  }
  for (const step of mergesIn(told)) if (may !== null && !may.includes(step)) faults.push(`merged up to ${step}`);
  if (last !== null) for (const [market, tv] of known) if (tv !== last) faults.push(`${market} ends at ${tv}`);
  return faults;
}

function faultsOf({ told }: Client, may: Merged, last: number | null): string[] {
  return [...told.values()].flatMap((one) => faultsIn(one, may, last));
}

/** Up to which step each merged message told. */
function mergesIn(told: readonly Told[]): number[] {
  const groups = new Map(told.filter(({ con }) => con).map(({ group, tv }) => [group, tv]));
  return [...groups.values()];
}

describe("beside laggards of every kind at every door", () => {
  let stage: OpenStage;
  let hub: Hub;
  let step = 0;
  const truth = new Map<string, NaiveBook>();
  const prompt: Client[] = [];
  const laggards: Client[] = [];
  /** What waited for each laggard, the most that was seen. */
  const waited = new Map<Client, number>();
  const seen = { closesBefore: -1, behindBytes: -1, behind: -1, wentOnAt: -1 };
  const of = (kind: LaggardKind) => laggards.filter((laggard) => laggard.kind === kind);
  const { join } = Hub.prototype;
  let joining: Client | null = null;

  beforeAll(async () => {
    // The hub is the gateway's own; it is seen here as somebody joins.
    Hub.prototype.join = function (...args) {
      hub = this;
      const session = join.apply(this, args);
      if (joining !== null) joining.session = session;
      return session;
    };
    const free = { host: HOST, port: 0 };
    stage = await openStage(1, {
      delivery: { flushBytesMax: FLUSH_BYTES_MAX, segmentBytesMax: SEGMENT_BYTES_MAX, behindMsMax: BEHIND_MS_MAX },
      doors: { http: free, websocket: free, sse: free, esa: free },
      metrics: free,
    });
    publish(true);
    await until(() => stage.gateway.cache.size === MARKETS.length, "all markets are here");
    for (const door of DOORS) {
      for (let n = 0; n < 2; n++) prompt.push(await come(door, "prompt"));
      for (const kind of KINDS) laggards.push(await come(door, kind));
    }
    // One that is never going to read again.
    laggards.push(await come("websocket", "neverReads"));
    await play();
  }, 60_000);

  afterAll(async () => {
    Hub.prototype.join = join;
    for (const client of [...prompt, ...laggards]) client.line?.terminate();
    await stage.close();
  });

  async function come(door: Door, kind: Client["kind"]): Promise<Client> {
    const { websocketUrl, sseUrl, esaPort } = stage.gateway;
    const port = { websocket: portOf(websocketUrl), sse: portOf(sseUrl), esa: esaPort as number }[door];
    const client = new Client(door, kind, port);
    joining = client;
    await until(() => client.isLive, `a user at the ${door} door has its image`);
    joining = null;
    return client;
  }

  /** All markets change, and so much is said of them. */
  function publish(isFirst = false): void {
    step++;
    const runners = [{ id: 1, status: "ACTIVE", sortPriority: 1 }];
    const changes = MARKETS.map((id, n) => ({
      id,
      ...(isFirst && { img: true }),
      tv: step,
      marketDefinition: { status: "OPEN", version: step, runners, filler: String(n).repeat(FILLER_BYTES) },
      rc: [{ id: 1, ltp: 1.01 + (step % 900) / 100, atb: [[1.5 + (step % 40) / 100, step % 3] as const] }],
    })) as unknown as MarketChange[];
    for (const change of changes) {
      if (!truth.has(change.id)) truth.set(change.id, new NaiveBook(change.id));
      truth.get(change.id)?.apply(change);
    }
    stage.exchange.publish(Date.now(), changes);
  }

  /** A step that everybody has who keeps up. */
  async function go(promptOnes: readonly Client[]): Promise<void> {
    publish();
    await until(() => promptOnes.every((client) => client.isAt(step)), `everybody who reads has step ${step}`);
    for (const laggard of laggards) {
      const bytes = laggard.session?.gone ? 0 : (laggard.session?.outbox.bytesWaiting ?? 0);
      waited.set(laggard, Math.max(waited.get(laggard) ?? 0, bytes));
    }
  }

  async function play(): Promise<void> {
    for (const laggard of laggards) laggard.lag();
    const isBehind = (laggard: Client) => (laggard.session?.outbox.bytesWaiting ?? 0) > 0;
    // Kernels make room by and by: until they do no more, and all have missed the same.
    for (let [missed, catchUps] = [0, -1]; missed < MISSED; ) {
      if (step > STEPS_MAX) throw new Error(`${laggards.filter(isBehind).length} of ${laggards.length} are behind`);
      await go(prompt);
      missed = laggards.every(isBehind) && hub.catchUps === catchUps ? missed + 1 : 0;
      catchUps = hub.catchUps;
    }
    const metrics = await scrape();
    seen.wentOnAt = step;
    seen.closesBefore = metrics('oddswire_closes_total{code="SLOW"}');
    seen.behindBytes = metrics("oddswire_behind_bytes");
    seen.behind = hub.behind.size;
    // Some go on.
    const back = of("stalls");
    for (const laggard of back) laggard.line?.resume();
    await until(() => back.every((laggard) => laggard.isAt(step)), "those who had stalled have everything");
    await until(() => back.every(({ session }) => !hub.behind.has(session as Session)), "and are in step");
    for (let n = 0; n < MISSED; n++) await go([...prompt, ...back]);
    // Others don't, for too long. Some of those still read what was left.
    const late = laggards.filter((laggard) => !back.includes(laggard));
    await until(() => late.every(({ session }) => session?.gone), "the others are let go");
    for (const laggard of of("neverReads").slice(0, -1)) laggard.line?.resume();
    for (let n = 0; n < MISSED; n++) await go([...prompt, ...back]);
    await until(() => of("neverReads").every(({ over }) => over !== null), "who was let go is gone");
    await until(() => of("readsSlowly").every(({ over }) => over !== null), "also if it reads slowly");
  }

  async function scrape(): Promise<(name: string) => number> {
    const text = await (await fetch(stage.gateway.metricsUrl as string)).text();
    return (name) =>
      Number(
        text
          .split("\n")
          .find((line) => line.startsWith(`${name} `))
          ?.slice(name.length + 1) ?? 0,
      );
  }

  function wrongBook({ books }: Client): string | null {
    for (const [id, book] of truth) {
      const difference = firstDifference((books.get(id) as NaiveBook).state(), book.state());
      if (difference !== null) return `${id}: ${difference}`;
    }
    return null;
  }

  test("everybody else is told each change, once and in order, unmerged, and has the right books", () => {
    for (const client of prompt) {
      expect(faultsOf(client, [], step)).toEqual([]);
      expect([...client.told.values()].flat().length).toBe(step * MARKETS.length);
      expect(wrongBook(client)).toBeNull();
      expect([client.goodbye, client.over]).toEqual([null, null]);
    }
  });

  test("what waits for each stays within the cap, and /metrics tells of it", () => {
    for (const bytes of waited.values()) {
      expect(bytes).toBeGreaterThan(0);
      expect(bytes).toBeLessThanOrEqual(CAP_BYTES);
    }
    expect(seen.behind).toBe(laggards.length);
    expect(seen.behindBytes).toBeGreaterThan(0);
    expect(seen.behindBytes).toBeLessThanOrEqual(CAP_BYTES * laggards.length);
  });

  test("who stalls and goes on is back in step by one merged delta a subscription, without a change twice or older", () => {
    expect(of("stalls").length).toBe(DOORS.length);
    for (const client of of("stalls")) {
      expect(faultsOf(client, null, step)).toEqual([]);
      for (const told of client.told.values()) {
        // One up to where it went on, and none after it.
        expect(mergesIn(told).filter((upTo) => upTo >= seen.wentOnAt)).toEqual([seen.wentOnAt]);
        const delta = told.filter(({ con, tv }) => con && tv === seen.wentOnAt);
        const markets = new Set(told.map(({ market }) => market));
        // Each market of the subscription is in it once, as each had changed, and nothing in between was told.
        expect(new Set(delta.map(({ market }) => market))).toEqual(markets);
        expect(delta.length).toBe(markets.size);
        const isMissed = ({ tv }: Told) => tv < seen.wentOnAt && tv > seen.wentOnAt - MISSED;
        expect(told.filter(isMissed)).toEqual([]);
      }
      expect(wrongBook(client)).toBeNull();
      expect([client.goodbye, client.over]).toEqual([null, null]);
    }
  });

  test("who stays behind is closed and counted as SLOW, and nobody before its time", async () => {
    const late = laggards.length - of("stalls").length;
    expect(seen.closesBefore).toBe(0);
    expect(hub.closes.get("SLOW")).toBe(late);
    const metrics = await scrape();
    expect(metrics('oddswire_closes_total{code="SLOW"}')).toBe(late);
    expect(metrics("oddswire_behind_bytes")).toBe(0);
    expect(metrics('oddswire_users{state="in_step"}')).toBe(prompt.length + of("stalls").length);
  });

  test("who then reads what was left finds whole messages without a gap, and why it was let go", () => {
    const readers = of("neverReads").slice(0, -1);
    expect(readers.map(({ door, goodbye }) => [door, goodbye])).toEqual([
      ["websocket", `4005: ${SLOW_WORDS}`],
      ["sse", `4005: ${SLOW_WORDS}`],
      ["esa", `CONNECTION_FAILED: ${SLOW_WORDS}`],
    ]);
    for (const client of readers) expect(faultsOf(client, null, null)).toEqual([]);
  });

  test("who never reads, or slowly, has had nothing wrong, and its connection is reset in the end", () => {
    for (const client of [...of("readsSlowly"), ...of("neverReads").slice(-1)]) {
      expect(client.over).not.toBeNull();
      expect(faultsOf(client, null, null)).toEqual([]);
    }
  });

  test("who stops acknowledging hears nothing more, and is nobody's business any longer", () => {
    for (const client of of("stopsAcknowledging")) {
      expect(client.session?.gone).toBe(true);
      expect(client.goodbye).toBeNull();
      expect(faultsOf(client, null, null)).toEqual([]);
    }
  });

  test("a stream that leaves out, repeats, takes back or merges once more than need be would be seen", () => {
    const [told] = (prompt[0] as Client).told.values() as unknown as [Told[]];
    const at = Math.floor(told.length / 2);
    const one = told[at] as Told;
    const mutants: Record<string, Told[]> = {
      "nothing was told between": told.filter((other) => other !== one),
      twice: told.toSpliced(at, 0, one),
      "is older than": told.toSpliced(at, 0, { ...one, tv: one.tv - 3 }),
      [`merged up to ${one.tv}`]: told.with(at, { ...one, con: true }),
      "ends at": told.slice(0, -1),
    };
    expect(faultsIn(told, [], step)).toEqual([]);
    for (const [fault, mutant] of Object.entries(mutants)) expect(faultsIn(mutant, [], step).join()).toContain(fault);
  });

  test("an outbox without bound would be seen", async () => {
    const { send, sendControl } = Outbox.prototype;
    const isClear = Object.getOwnPropertyDescriptor(Outbox.prototype, "isClear") as PropertyDescriptor;
    const laggard = await come("esa", "neverReads");
    Object.defineProperty(Outbox.prototype, "isClear", { get: () => true, configurable: true });
    Object.defineProperty(Outbox, "controlBytesMax", { value: Number.POSITIVE_INFINITY, configurable: true });
    Outbox.prototype.send = function (bytes) {
      if (this.rest === null) send.call(this, bytes);
      else sendControl.call(this, bytes);
      return true;
    };
    try {
      laggard.lag();
      let most = 0;
      for (let n = 0; n < STEPS_MAX && most <= CAP_BYTES; n++) {
        await go(prompt);
        most = Math.max(most, laggard.session?.outbox.bytesWaiting ?? 0);
      }
      expect(most).toBeGreaterThan(CAP_BYTES);
    } finally {
      Outbox.prototype.send = send;
      Object.defineProperty(Outbox.prototype, "isClear", isClear);
      Object.defineProperty(Outbox, "controlBytesMax", { value: CAP_BYTES - FLUSH_BYTES_MAX });
      laggard.line?.terminate();
    }
  }, 30_000);
});

function portOf(url: string | null): number {
  return Number(new URL(url as string).port);
}
