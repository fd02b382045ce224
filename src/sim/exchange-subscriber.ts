import type { Clock, Timer } from "../base/clock.ts";
import type { Audience } from "./exchange-audience.ts";
import type { ExchangeBooks, ExchangeMarket } from "./exchange-books.ts";
import { clkOf } from "./exchange-clk.ts";
import { type SegmentType, segments } from "./exchange-segments.ts";

/** Between two turns of the event loop, so that an image of 20,000 markets stalls nobody. */
const SEGMENTS_PER_TURN = 16;

/** What a subscriber needs of the exchange around it. */
export interface Floor {
  readonly clock: Clock;
  readonly books: ExchangeBooks;
  readonly segmentBytes: number;
  readonly knobs: { readonly status: number | null; readonly heartbeatsPaused: boolean };
  /** What a message that nobody published (image, heartbeat, merged change) says as its publish time. */
  pt(): number;
  /** The subscriber has nothing left to send. */
  caughtUp(): void;
  /** A subscriber of this audience is gone. */
  left(audience: Audience): void;
}

/** What a subscriber needs of its connection. */
export interface Wire {
  /** What was written was not all taken yet. */
  readonly full: boolean;
  write(line: string): void;
}

export interface SubscriberTerms {
  readonly id: number | null;
  readonly initialClk: string;
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
}

type ChangeType = "SUB_IMAGE" | "RESUB_DELTA" | null;

/**
 * One market subscription. In step it gets every message as it is published; conflated, or with a full socket, it only notes which markets
 * it missed, and gets them merged when time or room comes: the note is the bound, no message ever queues.
 *
 *     in step ──conflateMs, or socket full──> behind (missed markets) ──interval over, or drained──> sending ──> in step
 */
export class Subscriber {
  readonly #floor: Floor;
  readonly #wire: Wire;
  readonly #audience: Audience;
  readonly #terms: SubscriberTerms;
  readonly #missed = new Set<ExchangeMarket>();
  /** Everything up to this message has been written. */
  #position: number;
  #sending: { readonly lines: Iterator<string>; readonly to: number } | null = null;
  #flushedAt = Number.NEGATIVE_INFINITY;
  #wroteAt: number;
  #flush: Timer | null = null;
  #turn: Timer | null = null;
  #beat: Timer;

  constructor(floor: Floor, wire: Wire, audience: Audience, terms: SubscriberTerms) {
    this.#floor = floor;
    this.#wire = wire;
    this.#audience = audience;
    this.#terms = terms;
    this.#position = floor.books.position;
    this.#wroteAt = floor.clock.monotonic();
    this.#beat = floor.clock.after(terms.heartbeatMs, () => this.#heartbeat());
    audience.subscribers.add(this);
  }

  /** Messages can go out the moment they are published. */
  get inStep(): boolean {
    return this.#terms.conflateMs === 0 && !this.behind;
  }

  /** Something waits for room in the socket, or for its turn. */
  get behind(): boolean {
    return this.#wire.full || this.#sending !== null || (this.#terms.conflateMs === 0 && this.#missed.size > 0);
  }

  /** The start: everything, as images. Returns how many markets that are. */
  image(): number {
    const members = [...this.#audience.members];
    this.#begin("SUB_IMAGE", this.#images(members), this.#floor.pt());
    return members.length;
  }

  /** The start of one who has been here: what changed after `position`, which must be within the log. Returns how many markets did. */
  resume(position: number): number {
    const changed = [...this.#audience.members].filter((market) => market.changedAt > position);
    this.#begin("RESUB_DELTA", this.#changes(changed, position), this.#floor.pt());
    return changed.length;
  }

  /** One message of the exchange, for a subscriber in step. */
  update(position: number, pt: number, texts: readonly string[]): void {
    if (texts.length === 0) this.#position = position;
    else this.#begin(null, texts, pt);
  }

  /** A message it could not get: these markets changed. */
  miss(markets: Iterable<ExchangeMarket>): void {
    for (const market of markets) this.#missed.add(market);
    this.#catchUp();
  }

  /** The exchange has forgotten the market. */
  forget(market: ExchangeMarket): void {
    this.#missed.delete(market);
  }

  /** The socket has room again. */
  drained(): void {
    this.#pump();
    this.#catchUp();
  }

  stop(): void {
    this.#audience.subscribers.delete(this);
    for (const timer of [this.#flush, this.#turn, this.#beat]) timer?.cancel();
    this.#sending = null;
    this.#missed.clear();
    this.#floor.left(this.#audience);
  }

  *#images(markets: readonly ExchangeMarket[]): Generator<string> {
    for (const market of markets) yield this.#audience.imageOf(market);
  }

  *#changes(markets: readonly ExchangeMarket[], position: number): Generator<string> {
    const sayable = position >= this.#floor.books.logStart;
    for (const market of markets) {
      const change = sayable ? market.since(position) : null;
      const text = change === null ? this.#audience.imageOf(market) : this.#audience.textOf(change);
      if (text !== null) yield text;
    }
  }

  /** Sends what was missed, if there is room and the interval is over. */
  #catchUp(): void {
    if (this.#sending !== null || this.#wire.full) return;
    const { clock, books } = this.#floor;
    if (this.#missed.size === 0) {
      this.#position = books.position;
      return this.#floor.caughtUp();
    }
    const wait = this.#flushedAt + this.#terms.conflateMs - clock.monotonic();
    if (wait > 0) {
      this.#flush ??= clock.after(wait, () => {
        this.#flush = null;
        this.#catchUp();
      });
      return;
    }
    const missed = [...this.#missed];
    this.#missed.clear();
    this.#flushedAt = clock.monotonic();
    this.#begin(null, this.#changes(missed, this.#position), this.#floor.pt());
  }

  /** Begins a message about everything up to now. */
  #begin(ct: ChangeType, texts: Iterable<string>, pt: number): void {
    const to = this.#floor.books.position;
    this.#sending = { lines: this.#lines(ct, texts, pt, to), to };
    this.#pump();
  }

  /** Writes segments while there is room; a flush that turns out to hold nothing asked for writes nothing. */
  #pump(): void {
    for (let n = 0; this.#sending !== null && !this.#wire.full; n++) {
      if (n === SEGMENTS_PER_TURN) {
        this.#turn = this.#floor.clock.after(0, () => this.#pump());
        return;
      }
      const next = this.#sending.lines.next();
      if (next.done !== true) {
        this.#write(next.value);
        continue;
      }
      this.#position = this.#sending.to;
      this.#sending = null;
      this.#catchUp();
    }
  }

  *#lines(ct: ChangeType, texts: Iterable<string>, pt: number, to: number): Generator<string> {
    const bytesMax = this.#terms.segmentationEnabled ? this.#floor.segmentBytes : Number.POSITIVE_INFINITY;
    for (const { type, entries } of segments(texts, bytesMax)) {
      if (entries !== "" || ct !== null) yield this.#line(ct, type, entries, pt, to);
    }
  }

  /** clk and initialClk stand where everything before them has been said: on whole messages and at the end of segments. */
  #line(ct: ChangeType, segmentType: SegmentType, entries: string, pt: number, to: number): string {
    const { id, initialClk, conflateMs, heartbeatMs } = this.#terms;
    const first = segmentType === null || segmentType === "SEG_START";
    const last = segmentType === null || segmentType === "SEG_END";
    const head = JSON.stringify({
      op: "mcm",
      id: id ?? undefined,
      ...(ct !== null && last && { initialClk }),
      ...(last && { clk: clkOf(to) }),
      ...(ct !== null && first && { conflateMs, heartbeatMs }),
      pt,
      ct: ct ?? undefined,
      segmentType: segmentType ?? undefined,
      status: this.#floor.knobs.status ?? undefined,
    });
    return entries === "" ? head : `${head.slice(0, -1)},"mc":[${entries}]}`;
  }

  #heartbeat(): void {
    const { clock, books, knobs } = this.#floor;
    const { heartbeatMs, id } = this.#terms;
    const silentMs = clock.monotonic() - this.#wroteAt;
    const due = silentMs >= heartbeatMs;
    this.#beat = clock.after(due ? heartbeatMs : heartbeatMs - silentMs, () => this.#heartbeat());
    if (!due || knobs.heartbeatsPaused || this.#sending !== null || this.#wire.full) return;
    const clk = clkOf(this.#missed.size > 0 ? this.#position : books.position);
    const status = knobs.status ?? undefined;
    this.#write(JSON.stringify({ op: "mcm", id: id ?? undefined, clk, pt: this.#floor.pt(), ct: "HEARTBEAT", status }));
  }

  #write(line: string): void {
    this.#wroteAt = this.#floor.clock.monotonic();
    this.#wire.write(line);
  }
}
