/**
 * The users of `npm run bench -- before-after`, of either side, in one process. Started with the path of a JSON of `CrowdOptions`; says `ready` once everybody has their
 * books, answers each line on standard input: `start` (counts anew) with `{}`, `stop` with a `CrowdMark`, `end` with a `CrowdEnd`.
 *
 * The judge at the end is the simulated exchange itself, followed on a connection of our own: each reader's book must be what the exchange showed at the time that it says.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Latencies } from "../src/base/latencies.ts";
import { type Dialect, LINES, type MessageSink, webSocketDialect } from "../src/load/dialect.ts";
import { Head } from "../src/load/head.ts";
import { connectUser } from "../src/load/sockets.ts";
import type { Line, Owner } from "../src/load/user.ts";
import { NaiveBook } from "../src/sim/naive.ts";
import { bookOf, type PlainBook, plainBook } from "./before-after-books.ts";

export interface CrowdOptions {
  readonly side: "fleet" | "oddswire";
  /** Where users connect to: each port has as many, the first ones at the first. */
  readonly ports: readonly number[];
  readonly path: string;
  readonly session: string;
  /** What each user wants. */
  readonly marketIds: readonly (readonly string[])[];
  readonly fields: readonly string[];
  /** Every so many users one keeps books. */
  readonly readerEvery: number;
  /** The exchange itself: its plain port, and a session there. */
  readonly exchange: { readonly port: number; readonly session: string; readonly appKey: string };
}

export interface CrowdMark {
  readonly seconds: number;
  readonly messages: number;
  /** Changes of a market delivered to a user. */
  readonly deliveries: number;
  readonly bytes: number;
  /** The process's own user and system time, seconds. */
  readonly cpu: number;
  /** From the exchange's publish time to the user, milliseconds, over all messages. */
  readonly mean: number;
  readonly deviation: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** How much a user's message was later or earlier than its last one, mean, milliseconds. */
  readonly step: number;
}

export interface CrowdEnd {
  readonly booksChecked: number;
  readonly wrongBooks: number;
  /** Connections that ended, and messages that were none. */
  readonly lost: number;
  readonly odd: number;
  /** Some of what was wrong. */
  readonly samples: readonly string[];
}

/** Connections being made at a time. */
const DIALS_MAX = 50;
/** How long the exchange itself is followed at the end: the judge needs a change of most markets. */
const JUDGE_MS = 10_000;
/** A change that a reader has not seen after so long is lost. */
const LOST_MS = 5_000;
const SAMPLES_MAX = 5;
const PT = Buffer.from('"publishTime":');
const ENTRY = Buffer.from('{"id":"');
const ORIGIN = performance.timeOrigin;
const EMPTY = Buffer.alloc(0);

const options = JSON.parse(readFileSync(process.argv[2] as string, "utf8")) as CrowdOptions;
const head = new Head();
const latencies = new Latencies();
const counts = { messages: 0, deliveries: 0, bytes: 0, squares: 0, steps: 0, stepped: 0, lost: 0, odd: 0 };
/** When the bytes came that are being read, milliseconds since the Unix epoch. */
let wall = 0;
let since = 0;
let cpuSince = 0;

async function main(): Promise<void> {
  const users: User[] = [];
  for (let n = 0; n < options.marketIds.length; n += DIALS_MAX) {
    const batch = Array.from({ length: Math.min(DIALS_MAX, options.marketIds.length - n) }, (_, i) => userOf(n + i));
    users.push(...batch);
    await Promise.all(batch.map((user) => user.live));
  }
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "start") console.log(JSON.stringify(start()));
    if (line === "stop") console.log(JSON.stringify(stop()));
    if (line === "end") console.log(JSON.stringify(await judged(users)));
  }
  process.exit(0);
}

function userOf(number: number): User {
  const { ports, marketIds, readerEvery, side } = options;
  const port = ports[Math.floor((number * ports.length) / marketIds.length)] as number;
  const isReader = number % readerEvery === 0;
  return side === "fleet" ? new FleetUser(number, port, isReader) : new OddswireUser(number, port, isReader);
}

function start(): object {
  latencies.clear();
  Object.assign(counts, { messages: 0, deliveries: 0, bytes: 0, squares: 0, steps: 0, stepped: 0 });
  since = performance.now();
  cpuSince = cpuSeconds();
  return {};
}

function stop(): CrowdMark {
  const { messages, deliveries, bytes, squares, steps, stepped } = counts;
  const mean = latencies.mean ?? 0;
  return {
    seconds: (performance.now() - since) / 1_000,
    messages,
    deliveries,
    bytes,
    cpu: cpuSeconds() - cpuSince,
    mean,
    deviation: Math.sqrt(Math.max(0, squares / messages - mean ** 2)),
    p50: latencies.quantile(0.5) ?? 0,
    p99: latencies.quantile(0.99) ?? 0,
    max: latencies.max,
    step: steps / Math.max(1, stepped),
  };
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** A message came that the exchange published at `pt`; gives its latency. */
function count(pt: number, deliveries: number, before: number): number {
  const ms = wall - pt;
  counts.messages++;
  counts.deliveries += deliveries;
  counts.squares += ms * ms;
  latencies.add(ms);
  if (!Number.isNaN(before)) {
    counts.steps += Math.abs(ms - before);
    counts.stepped++;
  }
  return ms;
}

/** A connection that unwraps what comes, whoever it is to. */
abstract class Peer implements Owner, MessageSink {
  readonly live: Promise<void>;
  protected nowLive: () => void = () => {};
  readonly #dialect: Dialect;
  #line: Line | null = null;
  #isGreeted = false;
  #isOver = false;
  #rest: Buffer = EMPTY;

  constructor(port: number, dialect: Dialect) {
    this.#dialect = dialect;
    this.live = new Promise((resolve) => {
      this.nowLive = resolve;
    });
    connectUser(this, { host: "127.0.0.1", port, tls: null }, null);
  }

  abstract message(bytes: Buffer, from: number, to: number): void;

  /** Hears nothing more. */
  leave(): void {
    this.#isOver = true;
    this.#line?.end();
  }

  say(message: object): void {
    this.#line?.write(this.#dialect.wrap(JSON.stringify(message)));
  }

  opened(line: Line): void {
    this.#line = line;
    if (this.#dialect.hello !== null) line.write(this.#dialect.hello);
  }

  data(piece: Buffer): void {
    if (this.#isOver) return;
    wall = ORIGIN + performance.now();
    counts.bytes += piece.length;
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    const end = this.#dialect.unwrap(bytes, 0, bytes.length, this.#isGreeted, this);
    // The bytes are Bun's own after this call.
    this.#rest = end < bytes.length ? Buffer.from(bytes.subarray(end)) : EMPTY;
  }

  greeted(): void {
    this.#isGreeted = true;
  }

  drained(): void {}

  pinged(payload: Uint8Array): void {
    this.#line?.write(this.#dialect.pong(payload));
  }

  closing(): void {
    this.closed();
  }

  closed(): void {
    if (!this.#isOver) counts.lost++;
    this.leave();
  }
}

abstract class User extends Peer {
  readonly number: number;
  readonly marketIds: readonly string[];
  protected readonly isReader: boolean;
  /** The latency of its last message. */
  protected before = Number.NaN;

  constructor(number: number, port: number, isReader: boolean) {
    super(port, webSocketDialect("127.0.0.1", options.path));
    this.number = number;
    this.isReader = isReader;
    this.marketIds = options.marketIds[number] as readonly string[];
  }

  /** What a reader holds of a market: the book and the time it says; null: nothing. */
  abstract held(marketId: string): { readonly pt: number; readonly book: PlainBook } | null;
}

/** Each message is a whole book. */
class FleetUser extends User {
  #images = 0;
  readonly #last = new Map<string, string>();

  override greeted(): void {
    super.greeted();
    this.say(this.marketIds);
  }

  message(bytes: Buffer, from: number, to: number): void {
    const at = bytes.indexOf(PT, from);
    if (at === -1 || at >= to) return void counts.odd++;
    if (this.#images === this.marketIds.length) this.before = count(digits(bytes, at + PT.length), 1, this.before);
    else if (++this.#images === this.marketIds.length) this.nowLive();
    if (this.isReader) this.#keep(bytes.toString("utf8", from, to));
  }

  held(marketId: string): ReturnType<User["held"]> {
    const text = this.#last.get(marketId);
    return text === undefined ? null : bookOf(JSON.parse(text));
  }

  #keep(text: string): void {
    this.#last.set((JSON.parse(text) as { marketId: string }).marketId, text);
  }
}

interface Told {
  readonly op: string;
  readonly id?: number;
  readonly pt: number;
  readonly segmentType?: string;
  readonly statusCode?: string;
  readonly mc?: readonly Parameters<NaiveBook["apply"]>[0][];
}

/** Each message is what changed. */
class OddswireUser extends User {
  #isLive = false;
  readonly #books = new Map<string, { pt: number; readonly book: NaiveBook }>();

  message(bytes: Buffer, from: number, to: number): void {
    if (!this.#isLive) return this.#begin(JSON.parse(bytes.toString("latin1", from, to)) as Told);
    if (!head.read(bytes, from, to) || head.op !== "mcm" || head.status !== 0) return void counts.odd++;
    if (head.changes === -1) return;
    this.before = count(head.pt, entries(bytes, head.changes, to), this.before);
    if (this.isReader) this.#apply(JSON.parse(bytes.toString("latin1", from, to)) as Told);
  }

  held(marketId: string): ReturnType<User["held"]> {
    const held = this.#books.get(marketId);
    return held === undefined ? null : { pt: held.pt, book: plainBook(held.book.state()) };
  }

  #begin(message: Told): void {
    if (message.statusCode === "FAILURE") throw new Error(JSON.stringify(message));
    const { session, fields } = options;
    if (message.op === "connection") this.say({ op: "authentication", id: 1, appKey: "bench", session });
    else if (message.op === "status" && message.id === 1) this.say(subscription(this.marketIds, fields));
    else if (message.op === "mcm") {
      this.#apply(message);
      this.#isLive = true;
      this.nowLive();
    }
  }

  #apply({ pt, mc = [] }: Told): void {
    for (const change of mc) {
      const held = this.#books.get(change.id) ?? { pt, book: new NaiveBook(change.id) };
      held.pt = pt;
      held.book.apply(change);
      this.#books.set(change.id, held);
    }
  }
}

interface Moment {
  readonly pt: number;
  readonly book: PlainBook;
}

/** A client of the exchange itself, who writes down what it showed when. */
class Judge extends Peer {
  readonly history = new Map<string, Moment[]>();
  readonly #marketIds: readonly string[];
  readonly #books = new Map<string, NaiveBook>();

  constructor(marketIds: readonly string[]) {
    super(options.exchange.port, LINES);
    this.#marketIds = marketIds;
  }

  message(bytes: Buffer, from: number, to: number): void {
    const message = JSON.parse(bytes.toString("utf8", from, to)) as Told;
    const { appKey, session } = options.exchange;
    if (message.statusCode === "FAILURE") throw new Error(JSON.stringify(message));
    if (message.op === "connection") this.say({ op: "authentication", id: 1, appKey, session });
    else if (message.op === "status" && message.id === 1) this.say(subscription(this.#marketIds, options.fields));
    else if (message.op === "mcm") this.#write(message);
  }

  #write({ pt, mc = [] }: Told): void {
    for (const change of mc) {
      const book = this.#books.get(change.id) ?? new NaiveBook(change.id);
      this.#books.set(change.id, book);
      book.apply(change);
      const moments = this.history.get(change.id) ?? [];
      this.history.set(change.id, moments);
      moments.push({ pt, book: plainBook(book.state()) });
    }
    if (this.history.size === this.#marketIds.length) this.nowLive();
  }
}

/** Follows the exchange for a while, then looks at every reader's books. */
async function judged(users: readonly User[]): Promise<CrowdEnd> {
  const { lost, odd } = counts;
  const readers = users.filter(({ number }) => number % options.readerEvery === 0);
  const judge = new Judge([...new Set(readers.flatMap(({ marketIds }) => marketIds))]);
  await judge.live;
  await Bun.sleep(JUDGE_MS);
  for (const user of users) user.leave();
  const at = Date.now();
  // The judge has everything by now that the users could have.
  await Bun.sleep(500);
  judge.leave();
  const samples: string[] = [];
  let booksChecked = 0;
  for (const reader of readers) {
    for (const id of reader.marketIds) {
      booksChecked++;
      const wrong = mistake(reader.held(id), judge.history.get(id) as Moment[], at);
      if (wrong !== null) samples.push(`user ${reader.number}, ${id}: ${wrong}`);
    }
  }
  return { booksChecked, wrongBooks: samples.length, lost, odd, samples: samples.slice(0, SAMPLES_MAX) };
}

/** What is wrong with a reader's book, held against what the exchange showed; null: nothing. */
function mistake(held: ReturnType<User["held"]>, moments: readonly Moment[], at: number): string | null {
  if (held === null) return "has no book";
  const shown = moments.findLast(({ pt }) => pt <= held.pt) ?? (moments[0] as Moment);
  const next = moments[moments.indexOf(shown) + 1];
  if (next !== undefined && next.pt < at - LOST_MS) return `has not seen the change of ${at - next.pt} ms ago`;
  const [has, was] = [JSON.stringify(held.book), JSON.stringify(shown.book)];
  return has === was ? null : `at ${held.pt} has ${has}, the exchange showed ${was}`;
}

function subscription(marketIds: readonly string[], fields: readonly string[]): object {
  return {
    op: "marketSubscription",
    id: 2,
    marketFilter: { marketIds },
    marketDataFilter: { fields },
    heartbeatMs: 5_000,
  };
}

/** How many markets changed in a message. */
function entries(bytes: Buffer, from: number, to: number): number {
  let found = 0;
  for (let at = from; at !== -1 && at < to; at = bytes.indexOf(ENTRY, at + ENTRY.length)) found++;
  return found;
}

function digits(bytes: Buffer, from: number): number {
  let value = 0;
  for (let at = from; (bytes[at] as number) >= 48 && (bytes[at] as number) <= 57; at++)
    value = value * 10 + ((bytes[at] as number) - 48);
  return value;
}

await main();
