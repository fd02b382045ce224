import { MarketBook } from "./book.ts";
import type { ChangeMessage, FieldName, MarketFilter } from "./messages.ts";

/** What to subscribe to. A resume asks for the same, as altered since by `change`, `addMarkets` and `removeMarkets`. */
export interface SubscriptionOptions {
  /** Absent: every market this session may see. */
  readonly filter?: MarketFilter;
  /** Absent: every field. */
  readonly fields?: readonly FieldName[];
  /** Depth of the level ladders, 1 to 10. */
  readonly ladderLevels?: number;
  /** 0 to 120,000; 0, the default, is every change as it comes. */
  readonly conflateMs?: number;
  /** 500 to 5,000, the default. Twice this of silence counts as a lost connection. */
  readonly heartbeatMs?: number;
  /** Default true: long messages come in pieces. */
  readonly segmentationEnabled?: boolean;
}

/** What can be changed of a running subscription; what is absent stays as it is. `fields: []` is every field. */
export type SubscriptionChange = Pick<SubscriptionOptions, "conflateMs" | "fields" | "ladderLevels">;

/**
 * How a request to alter something came out. `kept`: there is no connection just now, and it is asked for with the next one. `refused`: nothing has changed.
 */
export type Outcome =
  | { readonly kind: "accepted" }
  | { readonly kind: "kept" }
  | { readonly kind: "refused"; readonly code: string; readonly message: string };

export type Answered = (outcome: Outcome) => void;

/**
 * Where a subscription stands. `waiting`: no complete image yet. `live`: its books are right.
 * `stale`: its books stand, but may be old, because the connection is lost or not yet resumed, or because the server said so (503).
 * `refused` and `ended` are final.
 */
export type SubscriptionState =
  | { readonly kind: "waiting" }
  | { readonly kind: "live" }
  | { readonly kind: "stale"; readonly reason: "connection" | "upstream" }
  | { readonly kind: "refused"; readonly code: string; readonly message: string }
  | { readonly kind: "ended"; readonly reason: string };

/** What a subscription tells its owner. An error thrown here is reported to the connection's `error` and disturbs nothing. */
export interface SubscriptionHandlers {
  /**
   * Once for each message that changed something, after it is applied whole: the books it touched. A segmented message counts as many,
   * one for each segment; wait for `image` where a half-filled cache matters.
   */
  change?(books: readonly MarketBook[], message: ChangeMessage): void;
  /** A full image is complete: `books` is exactly what the server has. `removed`: books that went with it. */
  image?(removed: readonly MarketBook[]): void;
  status?(state: SubscriptionState): void;
  /** Every message of this subscription as it came, before it is applied. */
  raw?(message: ChangeMessage, text: string): void;
}

/** Counted since the subscription was made, across reconnects. */
export interface SubscriptionCounters {
  messages: number;
  heartbeats: number;
  /** Market changes (`mc` entries). */
  changes: number;
  /** Full images begun (SUB_IMAGE). */
  images: number;
  /** Resumes answered by what changed only (RESUB_DELTA). */
  resumes: number;
  /** Characters of JSON. */
  bytes: number;
}

/** A running subscription: its books, kept right across reconnects. */
export interface Subscription {
  /** The `id` it has on the wire, the same for its whole life. */
  readonly id: number;
  /** Every market it brought, by id. Closed ones stay until the server leaves them out of an image. */
  readonly books: ReadonlyMap<string, MarketBook>;
  readonly state: SubscriptionState;
  readonly counters: Readonly<SubscriptionCounters>;
  /** What the server says is in force; before its first answer, what was asked for. */
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  /** Where the next resume would start; null before the first image. Opaque. */
  readonly initialClk: string | null;
  readonly clk: string | null;
  unsubscribe(): void;
  /** Another cadence, or other fields or levels: of those a whole new image comes. `answered` is called once, in order with everything else. */
  change(change: SubscriptionChange, answered?: Answered): void;
  /** Only where the filter is `marketIds` alone. Each comes with an image of its own; the others go on. Throws where it is another filter. */
  addMarkets(marketIds: readonly string[], answered?: Answered): void;
  /** The same the other way: once accepted, their books are gone. Throws where none would be left: unsubscribe. */
  removeMarkets(marketIds: readonly string[], answered?: Answered): void;
}

/** What a subscription needs of its connection. */
export interface SubscriptionHost {
  monotonic(): number;
  /** Calls into the user's code and keeps what it throws away from the stream. */
  guard(callback: () => void): void;
  unsubscribe(id: number): void;
  /** Asks for something under a new id; `answered` is called once, also where it cannot be asked now. */
  ask(message: object, answered: Answered): void;
}

/** How long the first answer to a subscription may take: a large image is not put together at once. */
export const ANSWER_MS_MAX = 15_000;
const HEARTBEAT_MS_MIN = 500;
const HEARTBEAT_MS_MAX = 5_000;

/** The library's own side of a subscription: what `Connection` drives. */
export class MarketSubscription implements Subscription {
  readonly id: number;
  readonly books = new Map<string, MarketBook>();
  readonly counters: SubscriptionCounters = { messages: 0, heartbeats: 0, changes: 0, images: 0, resumes: 0, bytes: 0 };
  /** As wished for by now: what is being asked for is in it already. */
  #options: SubscriptionOptions;
  /** Gone from `books` while the clk is still that of a contract which had them. */
  readonly #removed = new Set<string>();
  readonly #on: SubscriptionHandlers;
  readonly #host: SubscriptionHost;
  readonly #feed = { stale: true };
  #state: SubscriptionState = { kind: "waiting" };
  #conflateMs: number;
  #heartbeatMs: number;
  #initialClk: string | null = null;
  #clk: string | null = null;
  /** The segmented message that is coming in, null between messages. */
  #open: Group | null = null;
  /** The server has answered this connection's request with a complete image or resume. */
  #answered = false;
  #heardAt = Number.POSITIVE_INFINITY;
  #heard = false;

  constructor(id: number, options: SubscriptionOptions, on: SubscriptionHandlers, host: SubscriptionHost) {
    this.id = id;
    this.#options = options;
    this.#on = on;
    this.#host = host;
    this.#conflateMs = options.conflateMs ?? 0;
    this.#heartbeatMs = clamp(options.heartbeatMs ?? HEARTBEAT_MS_MAX, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX);
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  get conflateMs(): number {
    return this.#conflateMs;
  }

  get heartbeatMs(): number {
    return this.#heartbeatMs;
  }

  get initialClk(): string | null {
    return this.#initialClk;
  }

  get clk(): string | null {
    return this.#clk;
  }

  unsubscribe(): void {
    this.#host.unsubscribe(this.id);
  }

  change(change: SubscriptionChange, answered?: Answered): void {
    const before = this.#options;
    const wished = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
    this.#options = { ...before, ...wished };
    const { conflateMs, fields, ladderLevels } = this.#options;
    const isData = "fields" in wished || "ladderLevels" in wished;
    const message = {
      op: "change",
      ...("conflateMs" in wished && { conflateMs }),
      ...(isData && { marketDataFilter: { fields, ladderLevels } }),
    };
    const undo = Object.fromEntries(Object.keys(wished).map((name) => [name, before[name as keyof typeof change]]));
    this.#ask(message, answered, { refused: () => (this.#options = { ...this.#options, ...undo }) });
  }

  addMarkets(marketIds: readonly string[], answered?: Answered): void {
    const had = this.#marketIds();
    const added = marketIds.filter((id) => !had.has(id));
    this.#name([...had, ...added]);
    // What it remembers is older than their going: only an image brings them back.
    if (added.some((id) => this.#removed.has(id))) this.forgetClk();
    const refused = () => this.#name([...this.#marketIds()].filter((id) => !added.includes(id)));
    this.#ask({ op: "addMarkets", marketIds }, answered, { refused });
  }

  removeMarkets(marketIds: readonly string[], answered?: Answered): void {
    const had = this.#marketIds();
    const removed = marketIds.filter((id) => had.delete(id));
    if (had.size === 0) throw new RangeError("no market would be left: unsubscribe");
    this.#name([...had]);
    const refused = () => this.#name([...this.#marketIds(), ...removed]);
    this.#ask({ op: "removeMarkets", marketIds }, answered, { refused, accepted: () => this.#remove(removed) });
  }

  #remove(marketIds: readonly string[]): void {
    const wished = this.#marketIds();
    for (const id of marketIds) {
      this.books.delete(id);
      this.#removed.add(id);
      if (wished.has(id)) this.forgetClk();
    }
  }

  #marketIds(): Set<string> {
    const { marketIds, ...rest } = this.#options.filter ?? {};
    if (marketIds === undefined || marketIds.length === 0 || Object.values(rest).some((value) => value !== undefined))
      throw new TypeError("the filter is not by marketIds alone: it says which markets there are");
    return new Set(marketIds);
  }

  #name(marketIds: readonly string[]): void {
    this.#options = { ...this.#options, filter: { marketIds } };
  }

  /** Asks to be altered, unless it is over: what has been refused is taken back. */
  #ask(message: object, answered: Answered = () => {}, then: { accepted?: () => void; refused?: () => void }): void {
    const done = (outcome: Outcome) => {
      if (outcome.kind === "accepted") then.accepted?.();
      if (outcome.kind === "refused") then.refused?.();
      this.#host.guard(() => answered(outcome));
    };
    const { kind } = this.#state;
    if (kind === "refused" || kind === "ended")
      done({ kind: "refused", code: "ENDED", message: `the subscription is ${kind}` });
    else this.#host.ask({ ...message, subscription: this.id }, done);
  }

  /** The request to send, new or as a resume; from here on an answer is waited for. */
  request(): object {
    this.#heard = false;
    this.#heardAt = this.#host.monotonic();
    const { filter, fields, ladderLevels, segmentationEnabled } = this.#options;
    return {
      op: "marketSubscription",
      id: this.id,
      marketFilter: filter ?? {},
      marketDataFilter: { fields, ladderLevels },
      segmentationEnabled: segmentationEnabled ?? true,
      conflateMs: this.#options.conflateMs ?? 0,
      heartbeatMs: this.#options.heartbeatMs ?? HEARTBEAT_MS_MAX,
      ...(this.#initialClk !== null && this.#clk !== null && { initialClk: this.#initialClk, clk: this.#clk }),
    };
  }

  /** The moment (monotonic) at which its silence means that the connection is dead; Infinity while nothing is asked for. */
  get deadline(): number {
    return this.#heardAt + (this.#heard ? 2 * this.#heartbeatMs : ANSWER_MS_MAX);
  }

  /** Takes one message. Throws where it makes no sense; the books may then be half changed and only a fresh image helps. */
  receive(message: ChangeMessage, text: string): void {
    this.#heardAt = this.#host.monotonic();
    this.#heard = true;
    this.#count(message, text);
    if (this.#on.raw) this.#host.guard(() => this.#on.raw?.(message, text));
    this.#conflateMs = message.conflateMs ?? this.#conflateMs;
    this.#heartbeatMs = message.heartbeatMs ?? this.#heartbeatMs;
    const group = this.#groupOf(message);
    const touched = this.#apply(message, group);
    const removed = isLast(message) ? this.#complete(group) : null;
    if (this.#answered) this.#enter(message.status === 503 ? { kind: "stale", reason: "upstream" } : { kind: "live" });
    if (removed !== null) this.#host.guard(() => this.#on.image?.(removed));
    if (touched.length > 0) this.#host.guard(() => this.#on.change?.(touched, message));
  }

  /** The connection is gone: what stands here may be old from now on. */
  lost(): void {
    this.#answered = false;
    this.#heardAt = Number.POSITIVE_INFINITY;
    this.#open = null;
    if (this.#state.kind === "live" || this.#state.kind === "stale")
      this.#enter({ kind: "stale", reason: "connection" });
  }

  /** The next request is to ask for a full image. The books stay as they are until it comes. */
  forgetClk(): void {
    this.#initialClk = this.#clk = null;
  }

  /** It will not go on, for a reason of the server's or of the user's. */
  finish(state: SubscriptionState & { kind: "refused" | "ended" }): void {
    this.#answered = false;
    this.#enter(state);
  }

  #count(message: ChangeMessage, text: string): void {
    this.counters.messages++;
    this.counters.bytes += text.length;
    this.counters.changes += message.mc?.length ?? 0;
    if (message.ct === "HEARTBEAT") this.counters.heartbeats++;
  }

  /**
   * The group that a message belongs to. A whole message is a group of its own, even between two segments: a suspension may
   * overtake a long image. Any clk it has is not taken then, so that a cut always brings the open group again.
   */
  #groupOf(message: ChangeMessage): Group {
    if (message.segmentType === "SEG" || message.segmentType === "SEG_END") {
      if (this.#open === null) throw new Error("a segment came without the start of its message");
      return this.#open;
    }
    const group = new Group(message.ct === "SUB_IMAGE" ? "image" : message.ct === "RESUB_DELTA" ? "resume" : "update");
    if (group.kind === "image") this.counters.images++;
    if (group.kind === "resume") this.counters.resumes++;
    if (message.segmentType === "SEG_START") this.#open = group;
    else if (group.kind === "image") this.#open = null;
    return group;
  }

  #apply(message: ChangeMessage, group: Group): MarketBook[] {
    group.initialClk = message.initialClk ?? group.initialClk;
    group.clk = message.clk ?? group.clk;
    const touched = new Set<MarketBook>();
    for (const change of message.mc ?? []) {
      // an image replaces the whole cache, so a market's first entry in it does so whether or not it says img
      const replaces = group.markets !== null && !group.markets.has(change.id);
      const book = this.#book(change.id);
      book.apply(replaces && !change.img ? { ...change, img: true } : change, message.pt);
      touched.add(book);
      group.markets?.add(change.id);
      this.#open?.markets?.add(change.id);
    }
    return [...touched];
  }

  #book(id: string): MarketBook {
    let book = this.books.get(id);
    if (book === undefined) this.books.set(id, (book = new MarketBook(id, this.#feed)));
    return book;
  }

  /** Its last part came: its clk counts now and not before, for a cut in the middle must bring the whole group again. */
  #complete(group: Group): MarketBook[] | null {
    if (group === this.#open) this.#open = null;
    if (this.#open === null) {
      if (group.initialClk !== null) this.#removed.clear();
      this.#initialClk = group.initialClk ?? this.#initialClk;
      this.#clk = group.clk ?? this.#clk;
    }
    if (group.kind !== "update") this.#answered = true;
    return group.markets && this.#removeAllBut(group.markets);
  }

  #removeAllBut(kept: ReadonlySet<string>): MarketBook[] {
    const removed = [...this.books.values()].filter((book) => !kept.has(book.id));
    for (const book of removed) this.books.delete(book.id);
    return removed;
  }

  #enter(state: SubscriptionState): void {
    const before = this.#state;
    if (before.kind === "refused" || before.kind === "ended" || sameState(before, state)) return;
    this.#state = state;
    this.#feed.stale = state.kind !== "live";
    this.#host.guard(() => this.#on.status?.(state));
  }
}

/** One message, however many segments it comes in. */
class Group {
  readonly kind: "image" | "resume" | "update";
  /** The markets seen, where it matters: what an image leaves out is gone. */
  readonly markets: Set<string> | null;
  initialClk: string | null = null;
  clk: string | null = null;

  constructor(kind: "image" | "resume" | "update") {
    this.kind = kind;
    this.markets = kind === "image" ? new Set() : null;
  }
}

function isLast(message: ChangeMessage): boolean {
  return message.segmentType !== "SEG_START" && message.segmentType !== "SEG";
}

function sameState(a: SubscriptionState, b: SubscriptionState): boolean {
  return a.kind === b.kind && (a.kind !== "stale" || a.reason === (b as { reason: string }).reason);
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}
