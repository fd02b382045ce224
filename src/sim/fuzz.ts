import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import type { Socket, SocketHandler } from "../base/socket.ts";
import { clientFrame, serverFrames } from "../edge/testing.ts";
import type { ExchangeMessage } from "./exchange-visitor.ts";
import { Bystander } from "./fuzz-bystander.ts";
import { mutatedFrames, mutatedLines, mutatedUpgrade, UPGRADE, type Writes } from "./fuzz-mutations.ts";
import { lineWire } from "./line-wire.ts";
import { type MarketChange, NaiveBook } from "./naive.ts";
import { APP_KEY, SESSION, TwoDoors, WEBSOCKET_AT } from "./two-doors.ts";
import { websocketWire } from "./websocket-wire.ts";

/** What was asked, and what was answered. */
export type FuzzFigures = Record<
  "messages" | "connections" | "successes" | "refusals" | "images" | "answers" | "updates",
  number
>;

export interface FuzzVerdict {
  readonly seed: number;
  /** Empty: nothing threw, nothing was left behind, nobody was disturbed. */
  readonly violations: readonly string[];
  readonly figures: Readonly<FuzzFigures>;
  /** How conversations ended, by code. */
  readonly ends: Readonly<Record<string, number>>;
}

export interface FuzzOptions {
  readonly seed: number;
  /** How many mutated messages. */
  readonly messages: number;
  /** Bytes of the heap after a collection; where given, it must not grow. */
  readonly heap?: () => number;
}

const ATTACKERS = 12;
const TICK_MS = 4;
/** Ticks between two messages of the exchange, and between two looks at everything. */
const PUBLISH_TICKS = 8;
const LOOK_TICKS = 400;
/** After the last attacker has gone: idle rules, last words, TIME_WAITs and the longest beat (120 s) are over. */
const REST_MS = 130_000;
const VIOLATIONS_MAX = 5;
/** What the heap may grow by in a run; once, before the first look, caches fill. */
const HEAP_GROWTH_BYTES_MAX = 6 * 1024 * 1024;
const MARKETS = ["1.1", "1.2", "1.3"];

/**
 * Clients that send nonsense through both doors of a gateway on virtual time, in whatever pieces, and two bystanders beside them. Everything runs in this process, so
 * what throws anywhere in the gateway is thrown here.
 */
export async function fuzz(options: FuzzOptions): Promise<FuzzVerdict> {
  return new Fuzz(options).run();
}

class Fuzz {
  readonly #options: FuzzOptions;
  readonly #random: Random;
  readonly #truth = new Map<string, NaiveBook>();
  readonly #violations: string[] = [];
  readonly #attackers: Attacker[] = [];
  readonly #figures = { messages: 0, connections: 0, successes: 0, refusals: 0, images: 0, answers: 0, updates: 0 };
  #doors!: TwoDoors;
  #bystanders: readonly Bystander[] = [];
  #version = 0;
  #heapAtStart: number | null = null;

  constructor(options: FuzzOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
  }

  async run(): Promise<FuzzVerdict> {
    const { seed, messages } = this.#options;
    const images = MARKETS.map((id) => this.#learn(born(id)));
    this.#doors = await TwoDoors.open({ seed, connectionsMax: 1_000, retentionMs: 2_000, orders: true }, images);
    this.#bystanders = this.#enterBystanders();
    this.#doors.pass(200);
    const before = this.#counts();
    try {
      for (let tick = 1; this.#figures.messages < messages && this.#violations.length === 0; tick++) this.#tick(tick);
      this.#end(before);
    } catch (error) {
      this.#accuse(`something threw: ${(error as Error).stack}`);
    }
    const ends = Object.fromEntries(this.#doors.gateway.lobby.ends);
    this.#doors.stop();
    return { seed, violations: this.#violations, figures: this.#figures, ends };
  }

  #tick(tick: number): void {
    for (let i = 0; i < ATTACKERS; i++) this.#attack(i);
    if (tick % PUBLISH_TICKS === 0) this.#publish();
    this.#doors.pass(TICK_MS);
    if (tick % LOOK_TICKS === 0) this.#look();
  }

  /** One more step of an attacker; who is done, or was shown out, is followed by another. */
  #attack(i: number): void {
    const attacker = this.#attackers[i];
    if (attacker === undefined || attacker.isOver) {
      this.#figures.connections++;
      this.#attackers[i] = new Attacker(this.#doors, this.#random, this.#figures, (words) => this.#accuse(words));
    } else attacker.step();
  }

  #publish(): void {
    const id = pick(this.#random, MARKETS);
    const price = [1.01, 2, 3, 100][this.#version % 4] as number;
    this.#doors.publish([
      this.#learn({ id, rc: [{ id: 5, ltp: ++this.#version / 100, atb: [[price, this.#version % 7]] }] }),
    ]);
    this.#figures.updates++;
  }

  #learn(change: MarketChange): MarketChange {
    let book = this.#truth.get(change.id);
    if (book === undefined) this.#truth.set(change.id, (book = new NaiveBook(change.id)));
    book.apply(change);
    return change;
  }

  #look(): void {
    this.#doors.pass(20);
    for (const bystander of this.#bystanders) bystander.compare(this.#truth, this.#figures.updates);
    const { hub, lobby } = this.#doors.gateway;
    const most = ATTACKERS + this.#bystanders.length;
    for (const [what, count] of Object.entries({ sessions: hub.sessions.size, visits: lobby.visits }))
      if (count > most) this.#accuse(`${count} ${what} for ${most} clients`);
    // Only now, as machines warm up.
    this.#heapAtStart ??= this.#options.heap?.() ?? null;
  }

  #enterBystanders(): readonly Bystander[] {
    const accuse = (words: string) => this.#accuse(words);
    const { dial, at } = this.#doors.dial("oddswire", "bystander");
    const websocket = websocketWire(dial, WEBSOCKET_AT, "/v1/ws", seededRandom(this.#options.seed));
    return [
      new Bystander("at the ESA door", lineWire(dial, at), accuse),
      new Bystander("at the WebSocket door", websocket, accuse),
    ];
  }

  #counts(): Readonly<Record<string, number>> {
    const { hub, lobby, desk } = this.#doors.gateway;
    return {
      sessions: hub.sessions.size,
      subscriptions: [...hub.sessions].reduce((sum, { subscriptions }) => sum + subscriptions.length, 0),
      "order subscriptions": desk?.subscriptions.size ?? 0,
      connections: lobby.connections,
      visits: lobby.visits,
      "visits without a subscription": lobby.idle.size,
      links: this.#doors.network.links().length,
      timers: this.#doors.timers.waiting,
    };
  }

  /** All attackers go, and everything is as it was before they came. */
  #end(before: Readonly<Record<string, number>>): void {
    for (const attacker of this.#attackers) attacker.leave();
    this.#attackers.length = 0;
    this.#doors.pass(REST_MS);
    this.#look();
    for (const [what, count] of Object.entries(this.#counts()))
      if (count > (before[what] as number))
        this.#accuse(`${count} ${what} are left, there were ${before[what]} before`);
    const heap = this.#options.heap?.() ?? 0;
    const grown = heap - (this.#heapAtStart ?? heap);
    if (grown > HEAP_GROWTH_BYTES_MAX) this.#accuse(`the heap has grown by ${(grown / 1024 / 1024).toFixed(1)} MB`);
    for (const bystander of this.#bystanders) bystander.leave();
    this.#doors.pass(REST_MS);
    const { sessions, visits } = this.#counts();
    if (sessions !== 0 || visits !== 0) this.#accuse(`${sessions} sessions and ${visits} visits of nobody`);
  }

  #accuse(words: string): void {
    if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(words);
  }
}

function born(id: string): MarketChange {
  const runners = [{ id: 5, status: "ACTIVE", sortPriority: 1 }];
  const facts = { eventTypeId: "1", eventId: "e", bspMarket: true, turnInPlayEnabled: false, countryCode: "GB" };
  return {
    id,
    img: true,
    marketDefinition: { status: "OPEN", version: 1, ...facts, runners },
    rc: [{ id: 5, ltp: 2 }],
  };
}

/** A client that sends a few mutated messages and goes, or is shown out. What it is told must be well said all the same. */
class Attacker implements SocketHandler {
  isOver = false;
  readonly #socket: Socket;
  readonly #random: Random;
  readonly #figures: FuzzFigures;
  readonly #accuse: (words: string) => void;
  readonly #isWebSocket: boolean;
  /** What it does before its nonsense, so that this reaches every state of a conversation. */
  readonly #manners: Buffer[];
  #left: number;
  #pending: Uint8Array[] = [];
  #received: Buffer = Buffer.alloc(0);
  /** The upgrade was answered, or none is needed. */
  #isOpen: boolean;

  constructor(doors: TwoDoors, random: Random, figures: FuzzFigures, accuse: (words: string) => void) {
    this.#random = random;
    this.#figures = figures;
    this.#accuse = accuse;
    this.#isWebSocket = random.next() < 0.3;
    this.#isOpen = !this.#isWebSocket;
    this.#left = 1 + randomInt(random, 8);
    this.#manners = this.#mannersOf(random);
    const { dial, at } = doors.dial("oddswire", "attacker");
    this.#socket = dial(this.#isWebSocket ? WEBSOCKET_AT : at, this);
  }

  step(): void {
    if (this.#pending.length === 0) this.#pending = [...this.#next()];
    const piece = this.#pending.shift();
    if (piece === undefined) return this.leave();
    // What a full socket does not take is gone: nonsense, too.
    this.#socket.write(piece);
  }

  leave(): void {
    if (this.isOver) return;
    this.isOver = true;
    if (this.#random.next() < 0.5) this.#socket.end();
    else this.#socket.destroy();
  }

  data(_: Socket, bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    if (!this.#isOpen && !this.#opened()) return;
    for (const text of this.#isWebSocket ? this.#frames() : this.#lines()) this.#heard(text);
  }

  close(): void {
    this.isOver = true;
  }

  /** The next writes: of what is as it should be first, then of what is not. */
  #next(): Writes {
    const manners = this.#manners.shift();
    if (manners !== undefined) return [manners];
    if (this.#left-- === 0) return [];
    this.#figures.messages++;
    if (!this.#isWebSocket) return mutatedLines(this.#random);
    return this.#isOpen ? mutatedFrames(this.#random) : mutatedUpgrade(this.#random);
  }

  #mannersOf(random: Random): Buffer[] {
    const login = { op: "authentication", id: 1, appKey: APP_KEY, session: SESSION };
    const subscription = { op: "marketSubscription", id: 2, conflateMs: pick(random, [0, 0, 50]) };
    const asks = [login, subscription].slice(0, pick(random, [0, 1, 1, 2, 2])).map((each) => JSON.stringify(each));
    if (!this.#isWebSocket) return asks.map((text) => Buffer.from(`${text}\r\n`));
    if (random.next() < 0.15) return [];
    return [Buffer.from(UPGRADE), ...asks.map((payload) => clientFrame({ opcode: 1, payload }))];
  }

  #opened(): boolean {
    const end = this.#received.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const head = this.#received.toString("latin1", 0, end);
    this.#isOpen = head.startsWith("HTTP/1.1 101 ");
    if (!this.#isOpen && !/^HTTP\/1\.1 4\d\d /.test(head)) this.#accuse(`an upgrade was answered by ${head}`);
    this.#received = this.#isOpen ? this.#received.subarray(end + 4) : Buffer.alloc(0);
    return this.#isOpen;
  }

  #lines(): string[] {
    const lines = this.#received.toString("latin1").split("\r\n");
    this.#received = Buffer.from(lines.pop() as string, "latin1");
    return lines;
  }

  #frames(): string[] {
    const { frames, rest } = serverFrames(this.#received);
    this.#received = rest;
    return frames.filter(({ opcode }) => opcode === 1).map(({ payload }) => payload.toString("latin1"));
  }

  #heard(text: string): void {
    // The ESA door ends a line with a space now and then, for who reads 1,024 bytes at a time.
    if (!/^\{[ -\x7f]*\} ?$/.test(text)) return this.#accuse(`an attacker was told ${text.slice(0, 200)}`);
    const { op, ct, errorMessage = "" } = JSON.parse(text) as ExchangeMessage;
    this.#figures.answers++;
    if (op === "status") this.#figures[errorMessage === "" ? "successes" : "refusals"]++;
    if (ct === "SUB_IMAGE") this.#figures.images++;
    if (/\n\s+at /.test(errorMessage)) this.#accuse(`an attacker was shown a stack: ${errorMessage}`);
  }
}
