import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Listen, Listener, ListenOptions, Socket, SocketHandler } from "../base/socket.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import { changesSince } from "../market/changes.ts";
import type { MarketFilter } from "../market/filter.ts";
import { ALL_FIELDS, LADDER_LEVELS_MAX, type Sink, type SourceState } from "../market/types.ts";
import type { EndedToken } from "../tenancy/sessions.ts";
import { LineReader } from "../wire/lines.ts";
import { TextWriter } from "../wire/text.ts";
import {
  BUS_LINE_BYTES_MAX,
  BUS_VERSION,
  type BusLine,
  controlLine,
  readBusLine,
  writeBatchLine,
  writePieceLine,
} from "./lines.ts";
import { HeldWishes } from "./wishes.ts";

export interface PublisherOptions {
  readonly cache: Cache;
  readonly clock: Clock;
  readonly log: Log;
  readonly listen: Listen;
  readonly at: ListenOptions;
  /** How often followers hear that they have everything. */
  readonly heartbeatMs?: number;
  /** A follower that is further behind than this is dropped: it comes back and begins anew. */
  readonly backlogBytesMax?: number;
  /** Where only what is wanted is carried: told what followers' users want, until the function that comes back is called. */
  readonly want?: ((filter: MarketFilter) => () => void) | undefined;
}

export const BUS_HEARTBEAT_MS = 1_000;
const SWEEP_MS = 1_000;
/** Books for newcomers are written for so long at a time, and then it is others' turn. */
const SLICE_MS = 5;
/** So many ended tokens are kept for followers that come later; of 150 bytes each. */
const ENDED_MAX = 20_000;
/** About how much a piece holds, in words of the tape. */
const PIECE_WORDS = 8_192;
const WHOLE = { fields: ALL_FIELDS, ladderLevels: LADDER_LEVELS_MAX };

/**
 * The bus's near end, where the upstream is held: keeps the books, numbers the batches, and sends them to every follower, each line made once and written once a turn.
 * A newcomer is sent all books in slices between the batches: whatever a piece holds is as of the last batch before it.
 */
export class BusPublisher implements Sink {
  readonly cache: Cache;
  // counters, read by ops
  joins = 0;
  drops = 0;
  readonly #options: PublisherOptions;
  readonly #listener: Listener;
  readonly #followers = new Set<FollowerLink>();
  /** Connected, and waiting for a moment in which the books are whole. */
  readonly #waiting = new Set<FollowerLink>();
  readonly #turn = new TextWriter();
  /** Tokens of logins that followers have ended before their time, in the order in which that was told. */
  readonly #ended = new Map<string, EndedToken>();
  #state: { state: SourceState; reason: string } = { state: "down", reason: "not connected yet" };
  #sweepTimer: Timer;
  #beatTimer: Timer;

  constructor(options: PublisherOptions) {
    this.cache = options.cache;
    this.#options = options;
    this.#listener = options.listen(options.at, (socket) => this.#accept(socket));
    this.#sweepTimer = options.clock.after(SWEEP_MS, () => this.#sweep());
    this.#beatTimer = options.clock.after(this.#heartbeatMs, () => this.#beat());
  }

  get port(): number {
    return this.#listener.port;
  }

  get followers(): number {
    return this.#followers.size;
  }

  batch(batch: ChangeBatch): void {
    this.cache.apply(batch);
    writeBatchLine(batch, this.cache.sequence - this.cache.base, this.#turn);
  }

  settled(): void {
    this.#write();
    for (const follower of this.#followers) follower.goOn();
    for (const link of this.#waiting) link.goOn();
  }

  state(state: SourceState, reason: string): void {
    this.#state = { state, reason };
    this.#turn.ascii(this.#stateLine());
    this.#write();
  }

  stop(): void {
    this.#sweepTimer.cancel();
    this.#beatTimer.cancel();
    this.#listener.stop();
    for (const link of [...this.#followers, ...this.#waiting]) link.drop("the publisher stops");
  }

  #stateLine(): string {
    return controlLine({ op: "state", ...this.#state });
  }

  #write(): void {
    const { bytes, length } = this.#turn;
    if (length === 0) return;
    for (const follower of this.#followers) follower.write(bytes.subarray(0, length));
    this.#turn.clear();
  }

  #accept(socket: Socket): SocketHandler {
    const { cache, clock, log, backlogBytesMax = 64 * 1024 * 1024, want } = this.#options;
    const wishes = want === undefined ? null : new HeldWishes(want);
    const link = new FollowerLink(socket, cache, clock, backlogBytesMax, {
      joined: (name) => {
        this.joins++;
        // What is pending was numbered before: it is not for the newcomer.
        this.#write();
        this.#waiting.delete(link);
        this.#followers.add(link);
        log.info({ follower: name, followers: this.#followers.size }, "a follower joined");
        return this.#stateLine();
      },
      wishes,
      synced: () => {
        for (const token of this.#ended.values()) link.write(Buffer.from(controlLine({ op: "ended", token })));
        this.#tellFollowers();
      },
      ended: (token) => this.#pass(token, link),
      left: (why) => {
        wishes?.releaseAll();
        this.#waiting.delete(link);
        if (!this.#followers.delete(link)) return;
        this.drops++;
        this.#tellFollowers();
        log.warn({ follower: link.name, why }, "a follower is gone");
      },
    });
    this.#waiting.add(link);
    return link;
  }

  /** From one follower to the others, and to those who come later. */
  #pass(token: EndedToken, from: FollowerLink): void {
    if (this.#ended.has(token.key)) return;
    this.#ended.set(token.key, token);
    const now = this.#options.clock.wall();
    for (const [key, { until }] of this.#ended) {
      if (until > now && this.#ended.size <= ENDED_MAX) break;
      this.#ended.delete(key);
    }
    const line = Buffer.from(controlLine({ op: "ended", token }));
    for (const link of this.#followers) if (link !== from && link.isSynced) link.write(line);
  }

  #tellFollowers(): void {
    const synced = [...this.#followers].filter((link) => link.isSynced);
    const line = Buffer.from(controlLine({ op: "followers", names: synced.map(({ name }) => name).sort() }));
    for (const link of synced) link.write(line);
  }

  get #heartbeatMs(): number {
    return this.#options.heartbeatMs ?? BUS_HEARTBEAT_MS;
  }

  #sweep(): void {
    this.#sweepTimer = this.#options.clock.after(SWEEP_MS, () => this.#sweep());
    this.cache.sweep();
  }

  #beat(): void {
    this.#beatTimer = this.#options.clock.after(this.#heartbeatMs, () => this.#beat());
    const heartbeat = controlLine({ op: "heartbeat" });
    this.#turn.ascii(heartbeat);
    this.#write();
    for (const link of this.#waiting) link.write(Buffer.from(heartbeat));
  }
}

interface LinkKeeper {
  /** It is to be sent batches from now on; gives the line that says how the source is doing. */
  joined(name: string): string;
  left(why: string): void;
  /** It has all books. */
  synced(): void;
  ended(token: EndedToken): void;
  /** What its users want; null where everything is carried. */
  readonly wishes: HeldWishes | null;
}

/** One follower's connection. */
class FollowerLink implements SocketHandler {
  name = "";
  #hasBooks = true;
  readonly #socket: Socket;
  readonly #cache: Cache;
  readonly #clock: Clock;
  readonly #keeper: LinkKeeper;
  readonly #backlogBytesMax: number;
  readonly #lines = new LineReader(BUS_LINE_BYTES_MAX);
  readonly #batch = new ChangeBatch();
  readonly #out = new TextWriter();
  /** What the socket did not take yet. */
  #backlog: Buffer[] = [];
  #backlogBytes = 0;
  #state: "new" | "asked" | "syncing" | "synced" | "gone" = "new";
  /** Books still to be sent. */
  #books: Book[] = [];
  #timer: Timer | null = null;

  constructor(socket: Socket, cache: Cache, clock: Clock, backlogBytesMax: number, keeper: LinkKeeper) {
    this.#socket = socket;
    this.#cache = cache;
    this.#clock = clock;
    this.#backlogBytesMax = backlogBytesMax;
    this.#keeper = keeper;
  }

  get isSynced(): boolean {
    return this.#state === "synced";
  }

  data(_: Socket, bytes: Uint8Array): void {
    const fits = this.#lines.push(bytes, (chunk, start, end) => {
      if (this.#state !== "gone") this.#heard(readBusLine(chunk, start, end, this.#batch));
    });
    if (!fits) this.drop("a line without end");
  }

  #heard(read: BusLine): void {
    if (read.kind !== "control") return this.drop("it said what no follower says");
    const { line } = read;
    if (line.op === "join" && this.#state === "new") return this.#join(line.version, line.name, line.hasBooks);
    const { wishes } = this.#keeper;
    if (line.op === "want" && this.#state !== "new") wishes?.hold(line.filter);
    else if (line.op === "ended" && this.#state !== "new") this.#keeper.ended(line.token);
    else if (line.op === "unwant" && this.#state !== "new") wishes?.release(line.filter);
    else this.drop("it said what no follower says");
  }

  #join(version: number, name: string, hasBooks: boolean): void {
    if (version !== BUS_VERSION) return this.drop(`it speaks version ${version}`);
    this.name = name;
    this.#hasBooks = hasBooks;
    this.#state = "asked";
    this.goOn();
  }

  drain(): void {
    while (this.#backlog.length > 0) {
      const first = this.#backlog[0] as Buffer;
      const taken = this.#socket.write(first);
      this.#backlogBytes -= taken;
      if (taken < first.length) {
        this.#backlog[0] = first.subarray(taken);
        return;
      }
      this.#backlog.shift();
    }
    this.goOn();
  }

  close(_: Socket, error?: Error): void {
    this.#over(error?.message ?? "it closed");
  }

  drop(why: string): void {
    this.#socket.destroy();
    this.#over(why);
  }

  /** The bytes are the caller's again afterwards. */
  write(bytes: Uint8Array): void {
    if (this.#state === "gone") return;
    const taken = this.#backlog.length > 0 ? 0 : this.#socket.write(bytes);
    if (taken === bytes.length) return;
    const rest = Buffer.from(bytes.subarray(taken));
    this.#backlog.push(rest);
    this.#backlogBytes += rest.length;
    if (this.#backlogBytes > this.#backlogBytesMax) this.drop(`more than ${this.#backlogBytesMax} bytes behind`);
  }

  /**
   * Begins a synchronisation where one was asked for, and goes on with one while the socket takes it. Not within a group: its books are half of this and half of
   * that. Nor with the books of before a restart alone where the follower has some: they may be newer.
   */
  goOn(): void {
    if (this.#cache.midGroup || (this.#hasBooks && !this.#cache.isConfirmed)) return;
    if (this.#state === "asked") this.#begin();
    if (this.#state === "syncing" && this.#timer === null && this.#backlog.length === 0) this.#slice();
  }

  #begin(): void {
    const state = this.#keeper.joined(this.name);
    const { epoch, sequence, base, unconfirmedFrom } = this.#cache;
    const unconfirmed = unconfirmedFrom === null ? {} : { unconfirmedFrom: unconfirmedFrom - base };
    this.#say(controlLine({ op: "hello", version: BUS_VERSION, epoch, sequence: sequence - base, ...unconfirmed }));
    this.#say(state);
    this.#books = [...this.#cache.books()];
    // One stream's markets together: a piece is of one.
    this.#books.sort((a, b) => b.shard - a.shard);
    this.#state = "syncing";
  }

  #slice(): void {
    const until = this.#clock.monotonic() + SLICE_MS;
    while (this.#books.length > 0 && this.#backlog.length === 0 && this.#clock.monotonic() < until) this.#piece();
    if (this.#state !== "syncing") return;
    if (this.#books.length === 0) {
      this.#state = "synced";
      this.#say(controlLine({ op: "synced" }));
      return this.#keeper.synced();
    }
    if (this.#backlog.length > 0) return;
    this.#timer = this.#clock.after(0, () => {
      this.#timer = null;
      this.goOn();
    });
  }

  #piece(): void {
    const piece = this.#batch;
    piece.clear();
    piece.kind = "image";
    piece.pt = this.#cache.pt;
    piece.shard = (this.#books.at(-1) as Book).shard;
    while (this.#books.length > 0 && piece.length < PIECE_WORDS) {
      const book = this.#books.at(-1) as Book;
      if (book.shard !== piece.shard) break;
      this.#books.pop();
      if (this.#cache.get(book.id) === book) changesSince(book, 0, WHOLE, piece);
    }
    if (piece.changes === 0) return;
    this.#out.clear();
    writePieceLine(piece, this.#out);
    this.write(this.#out.bytes.subarray(0, this.#out.length));
  }

  #say(line: string): void {
    this.write(Buffer.from(line));
  }

  #over(why: string): void {
    if (this.#state === "gone") return;
    this.#state = "gone";
    this.#timer?.cancel();
    this.#books = [];
    this.#backlog = [];
    this.#keeper.left(why);
  }
}
