import { FAULTS, type FaultCode } from "../base/errors.ts";
import type { Latencies } from "../base/latencies.ts";
import type { Books } from "./books.ts";
import type { Ask, Dialect, MessageSink } from "./dialect.ts";
import { Head, text } from "./head.ts";
import type { Peers } from "./peers.ts";
import type { LaggardKind } from "./workload.ts";

/** A connection as it is under all this: Bun's own socket, without anything around it. */
export interface Line {
  /** Whose it is. */
  data: Owner;
  write(bytes: Uint8Array): number;
  pause(): void;
  resume(): void;
  end(): void;
  terminate(): void;
}

/** What a socket needs of whoever it belongs to. */
export interface Owner {
  opened(line: Line): void;
  data(bytes: Buffer): void;
  drained(): void;
  closed(error?: Error): void;
}

/** Whose the sockets are that somebody has left: what still comes off them is of no interest. */
const NOBODY: Owner = { opened: (line) => line.terminate(), data() {}, drained() {}, closed() {} };

export type UserKind = "ordinary" | "newcomer" | LaggardKind;

/** What everybody in a process counts together; messages and changes of ordinary users only. */
export interface Tally {
  messages: number;
  changes: number;
  bytes: number;
  heartbeats: number;
  /** Messages that said their prices should not be relied on. */
  stale: number;
  images: number;
  resumes: number;
  /** Messages that are none of the protocol's. */
  odd: number;
}

/** What a user needs to know of the crowd it is one of. */
export interface CrowdFace {
  readonly dialect: Dialect;
  /** Null where messages are not compared, as changes are merged differently for everybody. */
  readonly peers: Peers | null;
  readonly tally: Tally;
  /** Each message's latency goes here; null while nothing is measured. */
  readonly latencies: Latencies | null;
  /** And here of those who were not cut off, while others are; else null. */
  readonly stormLatencies: Latencies | null;
  /** What to take off a latency as the two clocks differ. */
  readonly offsetMs: number;
  /** Wall and monotonic time in milliseconds, when bytes last came. */
  wall: number;
  now: number;
  received(user: User, bytes: number): void;
  connected(user: User): void;
  /** The first answer was right. */
  greeted(user: User): void;
  /** Where all is asked at once. */
  ask(user: User): Ask;
  authentication(user: User): string;
  subscription(user: User): string;
  /** It has its image, or was told what changed since it left. */
  live(user: User): void;
  /** It is sent an image in mid-stream, or asked anew, and has it now. */
  caughtUp(user: User): void;
  /** The quickest message so far, before clocks are compared. */
  quickest(ms: number): void;
  gone(user: User, why: string): void;
}

type State = "away" | "dialling" | "greeting" | "authenticating" | "subscribing" | "live";

const ENTRY = Buffer.from('{"id":"');
const BRACE = 123;
const EMPTY = Buffer.alloc(0);
const CLK_BYTES_MAX = 24;
const EVENT_ID_BYTES_MAX = 128;
const CON = Buffer.from(',"con":true');
/** How far into a market change it says that it is a merged one. */
const CON_WITHIN = 64;
const LAST_WORDS_MAX = 200;
const head = new Head();

/** Close codes of the WebSocket door, by the names of the table. */
const CODES = new Map<number, FaultCode>(
  (Object.keys(FAULTS) as FaultCode[]).toReversed().map((code) => [FAULTS[code].close, code]),
);

/**
 * One client, which reads what it must by searching the bytes. Those with `books` parse everything.
 *
 *     away ─ dial ─> dialling ─> greeting ─> authenticating ─> subscribing ─ image ─> live ─ goodbye, cut, leave ─> away
 *                                   └── where all was asked at once ──────────┘
 */
export class User implements MessageSink, Owner {
  readonly number: number;
  readonly kind: UserKind;
  marketIds: readonly string[];
  readonly books: Books | null;
  state: State = "away";
  /** The tokens to resume with; empty: there are none. */
  initialClk = "";
  dialledAt = 0;
  /** Was dialled, and is neither live nor gone since. */
  isArriving = false;
  /** Was cut off by the storm, and whether it is not back yet. */
  wasShaken = false;
  isShaken = false;
  /** Of a laggard: messages that merged what it had missed, segments counted once. */
  merged = 0;
  readonly #crowd: CrowdFace;
  readonly #clk = new Uint8Array(CLK_BYTES_MAX);
  #clkLength = 0;
  /** Null where none is ever told. */
  #eventId: Uint8Array | null = null;
  #eventIdLength = 0;
  #line: Line | null = null;
  #rest: Buffer = EMPTY;
  #restLength = 0;
  #unsent: Uint8Array | null = null;
  #fault = "";

  constructor(crowd: CrowdFace, number: number, kind: UserKind, marketIds: readonly string[], books: Books | null) {
    this.#crowd = crowd;
    this.number = number;
    this.kind = kind;
    this.marketIds = marketIds;
    this.books = books;
  }

  get clk(): string {
    return text(this.#clk, 0, this.#clkLength);
  }

  /** What to resume with at a door that has one word for the whole stream. */
  get lastEventId(): string {
    return this.#eventId === null ? "" : text(this.#eventId, 0, this.#eventIdLength);
  }

  get line(): Line | null {
    return this.#line;
  }

  /** A connection is on its way. */
  dialled(at: number): void {
    this.state = "dialling";
    this.dialledAt = at;
  }

  /** Closes: in good manners, or with a reset. Nobody is told. */
  leave(how: "end" | "terminate"): void {
    const line = this.#line;
    this.#over();
    line?.[how]();
  }

  /** Forgets how far it got, so that it will be sent an image. */
  forget(): void {
    this.initialClk = "";
    this.#clkLength = this.#eventIdLength = 0;
  }

  /** Subscribes to others, on the connection it has, and will be sent an image. */
  askAnew(marketIds: readonly string[]): void {
    this.marketIds = marketIds;
    this.forget();
    this.#send(this.#crowd.dialect.wrap(this.#crowd.subscription(this)));
  }

  // ---- the socket's side ----

  opened(line: Line): void {
    if (this.state !== "dialling") return NOBODY.opened(line);
    this.#line = line;
    this.state = "greeting";
    this.#crowd.connected(this);
    const { hello, request } = this.#crowd.dialect;
    if (request !== null) this.#send(request(this.#crowd.ask(this)));
    else if (hello !== null) this.#send(hello);
  }

  data(bytes: Buffer): void {
    if (this.state === "away") return;
    const crowd = this.#crowd;
    crowd.tally.bytes += bytes.length;
    crowd.received(this, bytes.length);
    if (this.#restLength > 0) return this.#dataOnRest(bytes);
    const end = this.#unwrap(bytes, bytes.length);
    if (end < bytes.length && !this.#isAway) this.#keep(bytes.subarray(end));
  }

  drained(): void {
    const unsent = this.#unsent;
    this.#unsent = null;
    if (unsent !== null) this.#send(unsent);
  }

  closed(error?: Error): void {
    if (this.state === "away") return;
    this.#part(this.#fault || (error ? ((error as { code?: string }).code ?? error.message) : "closed without a word"));
  }

  // ---- the dialect's side ----

  greeted(): void {
    this.state = this.#crowd.dialect.request === null ? "authenticating" : "subscribing";
    this.#crowd.greeted(this);
  }

  message(bytes: Buffer, from: number, to: number): void {
    if (this.state === "live" || this.state === "subscribing") {
      if (head.read(bytes, from, to) && head.op === "mcm") return this.#marketChange(bytes, from, to);
    }
    if (this.state !== "away") this.#other(bytes.toString("latin1", from, to));
  }

  identified(bytes: Uint8Array, from: number, to: number): void {
    if (to - from > EVENT_ID_BYTES_MAX) return;
    this.#eventId ??= new Uint8Array(EVENT_ID_BYTES_MAX);
    this.#eventIdLength = to - from;
    for (let i = from; i < to; i++) this.#eventId[i - from] = bytes[i] as number;
  }

  pinged(payload: Uint8Array): void {
    this.#send(this.#crowd.dialect.pong(payload));
  }

  closing(code: number | null, reason: string): void {
    const line = this.#line;
    const name = code === null ? "" : (CODES.get(code) ?? String(code));
    this.#part(name === "" ? this.#fault || reason : `${name}${reason === "" ? "" : `: ${reason}`}`);
    line?.end();
  }

  /** Asked again after calls that may have changed it. */
  get #isAway(): boolean {
    return this.state === "away";
  }

  #dataOnRest(bytes: Buffer): void {
    this.#keep(bytes);
    const whole = this.#rest.subarray(0, this.#restLength);
    const end = this.#unwrap(whole, whole.length);
    if (end === 0 || this.#isAway) return;
    whole.copyWithin(0, end);
    this.#restLength -= end;
    if (this.#restLength === 0) this.#rest = EMPTY;
  }

  #unwrap(bytes: Buffer, length: number): number {
    const isGreeted = this.state !== "greeting";
    return this.#crowd.dialect.unwrap(bytes, 0, length, isGreeted, this);
  }

  #keep(bytes: Uint8Array): void {
    const length = this.#restLength + bytes.length;
    if (length > this.#rest.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#restLength));
      this.#rest.copy(larger, 0, 0, this.#restLength);
      this.#rest = larger;
    }
    this.#rest.set(bytes, this.#restLength);
    this.#restLength = length;
  }

  #marketChange(bytes: Buffer, from: number, to: number): void {
    const { tally } = this.#crowd;
    if (head.status !== 0) tally.stale++;
    if (this.books !== null) this.books.read(bytes.toString("latin1", from, to));
    if (this.state === "subscribing" || head.ct === "SUB_IMAGE" || head.ct === "RESUB_DELTA") this.#image(bytes);
    else if (head.changes === -1) {
      tally.heartbeats++;
      this.#keepClk(bytes);
    } else this.#update(bytes, to);
  }

  /** A laggard's: whether it is told something that was merged, as it missed it. */
  #countMerged(bytes: Buffer): void {
    const isEnd = head.segment === "" || head.segment === "SEG_END";
    if (isEnd && bytes.subarray(head.changes, head.changes + CON_WITHIN).includes(CON)) this.merged++;
  }

  /** The image, or a part of it; what changed since, for one who resumes. */
  #image(bytes: Buffer): void {
    this.#keepClk(bytes);
    const isWhole = head.segment === "" || head.segment === "SEG_END";
    if (head.ct === "HEARTBEAT" || !isWhole || (head.initialTo === 0 && head.ct !== "RESUB_DELTA")) return;
    if (head.initialTo > 0) this.initialClk = text(bytes, head.initialFrom, head.initialTo);
    if (head.ct === "RESUB_DELTA") this.#crowd.tally.resumes++;
    else this.#crowd.tally.images++;
    if (this.kind === "ordinary") this.#crowd.peers?.startAnew(this.number);
    const wasLive = this.state === "live";
    this.state = "live";
    if (wasLive) this.#crowd.caughtUp(this);
    else this.#crowd.live(this);
  }

  #update(bytes: Buffer, to: number): void {
    const crowd = this.#crowd;
    if (this.kind !== "ordinary") this.#countMerged(bytes);
    else {
      crowd.tally.messages++;
      const ms = crowd.wall - head.pt;
      crowd.quickest(ms);
      if (crowd.latencies !== null) crowd.latencies.add(ms - crowd.offsetMs);
      if (crowd.stormLatencies !== null && !this.wasShaken) crowd.stormLatencies.add(ms - crowd.offsetMs);
    }
    const peers = this.kind === "ordinary" ? crowd.peers : null;
    const clk = head.clkTo > 0 ? hashed(bytes, head.clkFrom, head.clkTo) : head.pt | 0;
    this.#keepClk(bytes);
    for (let at = head.changes; bytes[at] === BRACE; ) {
      const next = bytes.indexOf(ENTRY, at + ENTRY.length);
      const isLast = next === -1 || next >= to;
      if (this.kind === "ordinary") crowd.tally.changes++;
      if (peers !== null)
        peers.told(this.number, bytes, at, isLast ? to - 2 : next - 1, at + ENTRY.length, clk, crowd.now);
      if (isLast) break;
      at = next;
    }
  }

  /** As at the exchange, the clk of a segment counts only at the end of them. */
  #keepClk(bytes: Buffer): void {
    const length = head.clkTo - head.clkFrom;
    if (length === 0 || length > CLK_BYTES_MAX || head.segment === "SEG" || head.segment === "SEG_START") return;
    for (let i = 0; i < length; i++) this.#clk[i] = bytes[head.clkFrom + i] as number;
    this.#clkLength = length;
  }

  /** What is not prices. */
  #other(message: string): void {
    const { dialect } = this.#crowd;
    let said: { op?: string; id?: number; statusCode?: string; errorCode?: string; errorMessage?: string };
    try {
      said = JSON.parse(message);
    } catch {
      this.#crowd.tally.odd++;
      return;
    }
    if (said.op === "connection" && this.state === "authenticating")
      return this.#send(dialect.wrap(this.#crowd.authentication(this)));
    if (said.op === "status" && said.statusCode === "FAILURE") {
      this.#fault = `${said.errorCode}: ${said.errorMessage ?? ""}`.slice(0, LAST_WORDS_MAX);
      // What leaves the connection open would leave us waiting.
      if (this.state !== "live") this.closing(null, this.#fault);
    } else if (said.op === "status" && said.id === 1 && this.state === "authenticating") {
      this.state = "subscribing";
      this.#send(dialect.wrap(this.#crowd.subscription(this)));
    } else if (said.op !== "status" && said.op !== "connection") this.#crowd.tally.odd++;
  }

  #send(bytes: Uint8Array): void {
    if (this.#line === null || bytes.length === 0) return;
    if (this.#unsent !== null) {
      this.#unsent = Buffer.concat([this.#unsent, bytes]);
      return;
    }
    const taken = Math.max(0, this.#line.write(bytes));
    if (taken < bytes.length) this.#unsent = bytes.subarray(taken);
  }

  #part(why: string): void {
    this.#over();
    this.#crowd.gone(this, why);
  }

  #over(): void {
    this.state = "away";
    if (this.#line !== null) this.#line.data = NOBODY;
    this.#line = null;
    this.#rest = EMPTY;
    this.#restLength = 0;
    this.#unsent = null;
    this.#fault = "";
  }
}

/** Two clks that differ in their last four letters never give the same. */
function hashed(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0;
  for (let i = from; i < to; i++) hash = (Math.imul(hash, 131) + (bytes[i] as number)) | 0;
  return hash;
}
