import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Address, Dial, Socket } from "../base/socket.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { Follower, Source, SourceState } from "../market/types.ts";
import type { EndedToken } from "../tenancy/sessions.ts";
import { LineReader } from "../wire/lines.ts";
import { BUS_LINE_BYTES_MAX, BUS_VERSION, type ControlLine, controlLine, readBusLine } from "./lines.ts";
import { Wishes } from "./wishes.ts";

export interface FollowerOptions {
  /** Who this is, for the publisher's log. */
  readonly name: string;
  readonly at: Address;
  /** So long without a line is a dead publisher: three of its heartbeats. */
  readonly silenceMs?: number;
  /** The publisher carries what is wanted: it is to be told. */
  readonly demand?: boolean;
}

export interface EndedTokens {
  /** All that are known here. */
  ended(): Iterable<EndedToken>;
  endedElsewhere(token: EndedToken): void;
}

export interface FollowerWorld {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const BUS_SILENCE_MS = 3_000;
const RETRY = { firstMs: 100, maxMs: 1_000 };
/** More than this, beyond what is said at first, waits to be said to the publisher: the connection is begun anew, and all that is still wanted is said once. */
const UNSAID_BYTES_MAX = 16 * 1024 * 1024;

/**
 * The bus's far end: one more Source. All books come with each connection, then batches, whose numbers must follow each other: after a gap it begins anew.
 * Whatever is lost meanwhile, users are told that prices are stale, and then what changed.
 */
export class BusFollower implements Source {
  readonly name: string;
  sourceState: SourceState = "down";
  connects = 0;
  /** Synchronisations completed. */
  images = 0;
  resumes = 0;
  bytes = 0;
  messages = 0;
  invalidLines = 0;
  gaps = 0;
  /** Who has all books by the same publisher, this one too, as far as it last said. */
  followers: readonly string[] = [];
  /** Present where only wanted markets are carried: somebody wants these, until the function that comes back is called. */
  readonly want?: (filter: MarketFilter) => () => void;
  /** Where tokens of logins are ended before their time: the other followers are told, and theirs are told here. To be set before the start. */
  tokens: EndedTokens | null = null;
  readonly #wishes = new Wishes((line) => this.#tell(line));
  /** What the socket did not take yet. */
  #unsaid: Buffer[] = [];
  #unsaidBytes = 0;
  #unsaidBytesMax = UNSAID_BYTES_MAX;
  #isOpen = false;
  readonly #options: FollowerOptions;
  readonly #world: FollowerWorld;
  readonly #backoff: Backoff;
  readonly #batch = new ChangeBatch();
  #sink: Follower | null = null;
  #socket: Socket | null = null;
  #timer: Timer | null = null;
  #heardAt = 0;
  /** The number of the last batch; null before the publisher's hello. */
  #sequence: number | null = null;
  #isSynced = false;
  /** What the publisher last said of its source. */
  #said: { state: SourceState; reason: string } = { state: "down", reason: "not connected yet" };

  constructor(options: FollowerOptions, world: FollowerWorld) {
    this.name = options.name;
    this.#options = options;
    this.#world = world;
    this.#backoff = new Backoff(RETRY, world.random);
    if (options.demand) this.want = (filter) => this.#wishes.want(filter);
  }

  /** All books have come once. */
  get isComplete(): boolean {
    return this.images > 0;
  }

  start(sink: Follower): void {
    if (this.#sink !== null) throw new Error(`${this.name} is started already`);
    this.#sink = sink;
    this.#connect();
  }

  stop(): void {
    this.#sink = null;
    this.#timer?.cancel();
    this.#drop();
    this.sourceState = "down";
  }

  get #silenceMs(): number {
    return this.#options.silenceMs ?? BUS_SILENCE_MS;
  }

  #connect(): void {
    const reader = new LineReader(BUS_LINE_BYTES_MAX);
    this.#sequence = null;
    this.#isSynced = false;
    this.#heardAt = this.#world.clock.monotonic();
    const socket: Socket = this.#world.dial(this.#options.at, {
      open: (opened) => {
        if (this.#socket !== socket) return opened.destroy();
        this.connects++;
        this.#isOpen = true;
        // However much there is to say to one that knows nothing, it is to be said.
        this.#unsaidBytesMax = Number.POSITIVE_INFINITY;
        this.#tell(controlLine({ op: "join", version: BUS_VERSION, name: this.name, hasBooks: this.isComplete }));
        this.#wishes.sayAll();
        for (const token of this.tokens?.ended() ?? []) this.tellEnded(token);
        this.#unsaidBytesMax = this.#unsaidBytes + UNSAID_BYTES_MAX;
      },
      drain: () => {
        if (this.#socket === socket) this.#flush();
      },
      data: (_, bytes) => {
        if (this.#socket === socket) this.#read(reader, bytes);
      },
      close: (_, error) => {
        if (this.#socket === socket) this.#lost(error?.message ?? "the bus closed the connection");
      },
    });
    this.#socket = socket;
    this.#watch(this.#silenceMs);
  }

  #read(reader: LineReader, bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.#heardAt = this.#world.clock.monotonic();
    const socket = this.#socket;
    const fits = reader.push(bytes, (chunk, start, end) => {
      if (this.#socket === socket && end > start) this.#line(chunk, start, end);
    });
    if (!fits && this.#socket === socket) this.#lost("a line of the bus without end");
    if (this.#isSynced) this.#sink?.settled();
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    this.messages++;
    const line = readBusLine(bytes, start, end, this.#batch);
    switch (line.kind) {
      case "batch":
        return this.#batchCame();
      case "piece":
        return this.#sequence === null ? this.#invalid("a piece before the hello") : this.#sink?.piece(this.#batch);
      case "control":
        return this.#control(line.line);
      case "invalid":
        return this.#invalid(line.reason);
    }
  }

  #batchCame(): void {
    const batch = this.#batch;
    const sequence = batch.sequence as number;
    if (this.#sequence === null) return this.#invalid("a batch before the hello");
    const expected = batch.kind === "heartbeat" ? this.#sequence : this.#sequence + 1;
    if (sequence !== expected) {
      this.gaps++;
      return this.#lost(`batch ${sequence} came where ${expected} was due`);
    }
    this.#sequence = sequence;
    this.#sink?.batch(batch);
  }

  #control(line: ControlLine): void {
    switch (line.op) {
      case "hello":
        if (line.version !== BUS_VERSION) return this.#invalid(`the bus speaks version ${line.version}`);
        this.#sequence = line.sequence;
        return this.#sink?.syncing(line);
      case "synced":
        this.#isSynced = true;
        this.images++;
        this.#backoff.reset();
        this.#sink?.synced();
        return this.#say(this.#said.state, this.#said.reason);
      case "state":
        this.#said = { state: line.state, reason: line.reason };
        if (this.#isSynced) this.#say(line.state, line.reason);
        return;
      case "ended":
        return this.tokens?.endedElsewhere(line.token);
      case "followers":
        this.followers = line.names;
        return;
      case "heartbeat":
        if (this.#isSynced) this.#sink?.current();
        return;
      default:
        this.#invalid(`a line that is not for followers: ${line.op}`);
    }
  }

  #invalid(reason: string): void {
    this.invalidLines++;
    this.#lost(reason);
  }

  #lost(reason: string): void {
    this.#drop();
    this.#sink?.cutOff();
    this.#say(this.isComplete ? "stale" : "down", reason);
    const ms = this.#backoff.next();
    this.#world.log.warn({ source: this.name, reason, ms: Math.round(ms) }, "the bus is lost; coming back");
    this.#timer?.cancel();
    this.#timer = this.#world.clock.after(ms, () => this.#connect());
  }

  /** To all who follow the same publisher, and those who will. */
  tellEnded(token: EndedToken): void {
    this.#tell(controlLine({ op: "ended", token }));
  }

  /** To a publisher that is there; one that comes is told everything. */
  #tell(line: string): void {
    if (!this.#isOpen) return;
    const bytes = Buffer.from(line);
    this.#unsaid.push(bytes);
    this.#unsaidBytes += bytes.length;
    if (this.#unsaid.length === 1) this.#flush();
    if (this.#unsaidBytes > this.#unsaidBytesMax) this.#lost("the bus takes no words");
  }

  #flush(): void {
    while (this.#unsaid.length > 0) {
      const first = this.#unsaid[0] as Buffer;
      const taken = (this.#socket as Socket).write(first);
      this.#unsaidBytes -= taken;
      if (taken < first.length) {
        this.#unsaid[0] = first.subarray(taken);
        return;
      }
      this.#unsaid.shift();
    }
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#isOpen = false;
    this.#unsaid = [];
    this.#unsaidBytes = 0;
    socket?.destroy();
  }

  #say(state: SourceState, reason: string): void {
    this.sourceState = state;
    this.#sink?.state(state, reason);
  }

  /** One timer for any number of lines: it looks when the last came, and sleeps for the rest. */
  #watch(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#world.clock.after(ms, () => {
      const quietMs = this.#world.clock.monotonic() - this.#heardAt;
      if (quietMs >= this.#silenceMs) this.#lost(`nothing from the bus for ${this.#silenceMs} ms`);
      else this.#watch(this.#silenceMs - quietMs);
    });
  }
}
