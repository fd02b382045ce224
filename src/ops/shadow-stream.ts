import { ExchangeStream, type ExchangeWorld, type StreamOptions } from "../exchange/stream.ts";
import type { BatchKind, Segment } from "../market/batch.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { FieldName, SourceState } from "../market/types.ts";
import type { ServerMessage } from "../wire/esa.ts";
import { isMarketChange, type MarketChange, ShadowBook } from "./shadow-book.ts";

export interface ShadowStreamOptions extends StreamOptions {
  readonly filter: MarketFilter;
  /** None: all. */
  readonly fields: readonly FieldName[];
  readonly ladderLevels: number;
  readonly conflateMs: number;
}

/** A market's book came to be another, one state more on this side; or merged changes came that left it the same (and it may have been elsewhere meanwhile). */
export interface Move {
  /** When its bytes came in, by the monotonic clock. */
  readonly at: number;
  /** The publish time that its message says. */
  readonly pt: number;
  /** It may be several changes in one, and says so: `con`, or an image. */
  readonly merged: boolean;
  readonly same: boolean;
  /** The hashes of what was set, as `ShadowBook.apply` gives them; null: an image, or more than `SAID_MAX`. */
  readonly said: readonly number[] | null;
}

/** Who watches a side. Calls are synchronous. */
export interface StreamWatcher {
  moved(book: ShadowBook, move: Move): void;
  /** An image came without it. */
  gone(book: ShadowBook): void;
  state(state: SourceState, reason: string): void;
}

/** Values of one change that are kept for the comparison, as many as a large book has that is cleared at a goal; of a larger one none are. */
const SAID_MAX = 4_096;

/**
 * One side of shadow mode: an ESA client that keeps its connection as the gateway's own does (login, resume, silence), but reads and keeps the books by
 * itself (see `ShadowBook`).
 */
export class ShadowStream extends ExchangeStream {
  readonly books = new Map<string, ShadowBook>();
  /** What the other end says is in force; null until it does. */
  conflateMs: number | null = null;
  readonly #options: ShadowStreamOptions;
  readonly #head: Head;
  readonly #watcher: StreamWatcher;
  /** The markets of an image that is coming in; null while none is. */
  #image: Set<string> | null = null;
  readonly #touched = new Map<ShadowBook, Touch>();

  constructor(options: ShadowStreamOptions, world: ExchangeWorld, watcher: StreamWatcher) {
    const head = new Head();
    super(options, world, head);
    this.#options = options;
    this.#head = head;
    this.#watcher = watcher;
  }

  start(): void {
    this.begin();
  }

  stop(): void {
    this.halt();
  }

  protected subscription(): object {
    const { filter, fields, ladderLevels, conflateMs, settings } = this.#options;
    return {
      op: "marketSubscription",
      marketFilter: filter,
      marketDataFilter: { ...(fields.length > 0 && { fields }), ladderLevels },
      segmentationEnabled: true,
      conflateMs,
      heartbeatMs: settings.heartbeatMs,
    };
  }

  protected decode(bytes: Uint8Array, start: number, end: number): ServerMessage {
    return this.#head.read(utf8.decode(bytes.subarray(start, end)));
  }

  protected deliver(): void {
    const { kind, segment, conflateMs, changes } = this.#head;
    this.conflateMs = conflateMs ?? this.conflateMs;
    if (kind === "heartbeat") return;
    if (segment === "whole" || segment === "start") this.#image = kind === "image" ? new Set() : null;
    for (const change of changes) this.#apply(change);
    if (segment === "whole" || segment === "end") this.#groupDone();
  }

  protected settled(): void {}

  protected told(state: SourceState, reason: string): void {
    this.#watcher.state(state, reason);
  }

  #apply(change: MarketChange): void {
    const { id } = change;
    let book = this.books.get(id);
    if (book === undefined) this.books.set(id, (book = new ShadowBook(id)));
    let touch = this.#touched.get(book);
    if (touch === undefined)
      this.#touched.set(book, (touch = { hash: book.hash, merged: false, replaced: false, said: [] }));
    // In an image a market's first entry replaces it, whether it says so or not.
    const replaces = change.img === true || (this.#image !== null && !this.#image.has(id));
    this.#image?.add(id);
    touch.merged ||= replaces || change.con === true;
    touch.replaced ||= replaces;
    book.apply(change, replaces, touch.said);
  }

  /** Of a segmented message only the end is a state: before it the books are half of this and half of that. */
  #groupDone(): void {
    const at = this.lastMessageAt as number;
    for (const [book, { hash, merged, replaced, said }] of this.#touched) {
      const same = book.hash === hash;
      if (same && !merged) continue;
      const known = !replaced && said.length <= SAID_MAX;
      this.#watcher.moved(book, { at, pt: this.#head.pt, merged, same, said: known ? said : null });
    }
    this.#touched.clear();
    if (this.#image === null) return;
    for (const book of this.books.values()) if (!this.#image.has(book.id)) this.forget(book);
    this.#image = null;
  }

  /** Lets go of a market. */
  forget(book: ShadowBook): void {
    this.books.delete(book.id);
    this.#watcher.gone(book);
  }
}

/** What happened to a book within a message. */
interface Touch {
  readonly hash: number;
  merged: boolean;
  replaced: boolean;
  readonly said: number[];
}

const utf8 = new TextDecoder();
const KINDS: Readonly<Record<string, BatchKind>> = {
  SUB_IMAGE: "image",
  RESUB_DELTA: "resume",
  HEARTBEAT: "heartbeat",
};
const SEGMENTS: Readonly<Record<string, Segment>> = { SEG_START: "start", SEG: "middle", SEG_END: "end" };

/** The change message at hand. */
class Head {
  kind: BatchKind = "update";
  segment: Segment = "whole";
  pt = 0;
  clk: string | null = null;
  initialClk: string | null = null;
  status: number | null = null;
  conflateMs: number | null = null;
  heartbeatMs: number | null = null;
  id: number | null = null;
  changes: readonly MarketChange[] = [];

  read(line: string): ServerMessage {
    let message: Record<string, unknown>;
    try {
      message = JSON.parse(line) as Record<string, unknown>;
    } catch {
      return { kind: "invalid", reason: "a line that is not JSON" };
    }
    const { op } = message ?? {};
    if (op === "connection") return { kind: "connection", connectionId: text(message.connectionId) ?? "" };
    if (op === "status") return statusOf(message);
    if (op === "mcm") return this.#readChange(message);
    return typeof op === "string" ? { kind: "other", op } : { kind: "invalid", reason: "a message without op" };
  }

  #readChange(message: Record<string, unknown>): ServerMessage {
    const changes = message.mc ?? [];
    if (!Array.isArray(changes) || !changes.every(isMarketChange))
      return { kind: "invalid", reason: "market changes that are not in the protocol's shape" };
    this.changes = changes;
    this.kind = KINDS[text(message.ct) ?? ""] ?? "update";
    this.segment = SEGMENTS[text(message.segmentType) ?? ""] ?? "whole";
    this.pt = number(message.pt) ?? 0;
    this.clk = text(message.clk);
    this.initialClk = text(message.initialClk);
    this.status = number(message.status);
    this.conflateMs = number(message.conflateMs);
    this.heartbeatMs = number(message.heartbeatMs);
    this.id = number(message.id);
    return { kind: "change" };
  }
}

function statusOf(message: Record<string, unknown>): ServerMessage {
  return {
    kind: "status",
    id: number(message.id),
    statusCode: message.statusCode === "SUCCESS" ? "SUCCESS" : "FAILURE",
    connectionClosed: message.connectionClosed === true,
    errorCode: text(message.errorCode),
    errorMessage: text(message.errorMessage),
    connectionsAvailable: number(message.connectionsAvailable),
  };
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function number(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}
