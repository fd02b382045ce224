import type { Clock, Timer } from "../base/clock.ts";
import type { Goodbye } from "../base/errors.ts";
import { Wheel } from "../base/wheel.ts";
import type { SourceState } from "../market/types.ts";
import type { Account } from "../tenancy/tokens.ts";
import type { OrderBatch } from "../wire/orders.ts";
import { CONFLATE_MS_MAX, type OrderSubscribeRequest } from "../wire/requests.ts";
import { ordersSince, type Since } from "./changes.ts";
import { Ledger, type MarketOrders } from "./ledger.ts";
import { scopeOf } from "./scope.ts";
import { clkOf, initialClkOf, type OrderSession, OrderSubscription, type Pass, sequenceOf } from "./subscription.ts";

export interface DeskOptions {
  /** Names who numbers the changes: new with each start. */
  readonly epoch: string;
  readonly clock: Clock;
  readonly retentionMs: number;
  readonly forgetMs: number;
  /** The largest message of a segmented image, and of one that is not. */
  readonly segmentBytesMax?: number;
  readonly messageBytesMax?: number;
}

const SWEEP_MS = 1_000;
/** Who has its changes merged is told of every order that ended meanwhile. */
const RETENTION_MS_MIN = 2 * CONFLATE_MS_MAX;
/** The wheel turns every 100 ms: a heartbeat that is due before its next turn is said now. */
const TURN_MS = 100;
/** Room for a message's head. */
const HEAD_CHARS_MAX = 512;
/** A reader that knows nothing, and hears of no order that is over. */
const NOTHING_KNOWN = Number.MAX_SAFE_INTEGER;
const NO_MARKETS: ReadonlySet<MarketOrders> = new Set();

/**
 * Where the account's orders are handed out: takes the exchange's order stream as a sink, and tells each subscription what is its own.
 *
 * A message of the exchange is told on at once, or merged within `conflateMs`. Whose socket is full misses messages and is told what changed when there is
 * room; whoever is new or resumes waits for the exchange's first image. An image in mid-stream is everybody's image. The clk of a message says that everything up to it
 * was said, so only the last message of a pass has one.
 */
export class OrderDesk {
  readonly ledger: Ledger;
  readonly subscriptions = new Set<OrderSubscription>();
  /** 503 while the exchange's word cannot be relied on. */
  status: number | null = 503;

  // counters, read by ops
  messagesOut = 0;
  images = 0;
  resumes = 0;
  /** Times that a market was looked through for somebody. */
  encodes = 0;

  readonly #clock: Clock;
  readonly #segmentBytesMax: number;
  readonly #messageBytesMax: number;
  readonly #heartbeats: Wheel<OrderSubscription>;
  readonly #beats: Wheel<OrderSubscription>;
  /** What the exchange's last message touched, and what it comes to for each scope. */
  #touched: ReadonlySet<MarketOrders> = new Set();
  readonly #news = new Map<string, readonly string[]>();
  /** There is news that was not told yet. */
  #isHeld = false;
  #sweep: Timer;

  constructor(options: DeskOptions) {
    const { epoch, clock, segmentBytesMax = 64 * 1024, messageBytesMax = 1024 * 1024 } = options;
    const retentionMs = Math.max(options.retentionMs, RETENTION_MS_MIN);
    this.ledger = new Ledger({ epoch, clock, retentionMs, forgetMs: Math.max(options.forgetMs, retentionMs) });
    this.#clock = clock;
    this.#segmentBytesMax = segmentBytesMax;
    this.#messageBytesMax = messageBytesMax;
    this.#heartbeats = new Wheel(clock, (subscription) => this.#heartbeat(subscription));
    this.#beats = new Wheel(clock, (subscription) => this.#beat(subscription));
    this.#sweep = clock.after(SWEEP_MS, () => this.#sweepNow());
  }

  // ---- the exchange's side ----

  batch(batch: OrderBatch): void {
    if (batch.kind === "heartbeat") return;
    this.#touched = this.ledger.apply(batch);
    this.#news.clear();
    // What makes the exchange live again comes before that is said, and is not to go out as unreliable.
    if (this.status !== null) this.#isHeld = true;
    else for (const subscription of this.subscriptions) this.#changed(subscription);
  }

  settled(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    for (const subscription of this.subscriptions) this.#changed(subscription);
  }

  state(state: SourceState): void {
    const status = state === "live" ? null : 503;
    if (status === this.status) return;
    this.status = status;
    for (const subscription of this.subscriptions) {
      // That all is well is not said, to those who wait for their beat either, before they have what came since.
      if (status === null) this.#tell(subscription);
      else this.#sayHeartbeat(subscription);
    }
  }

  stop(): void {
    this.#sweep.cancel();
    this.#heartbeats.stop();
    this.#beats.stop();
    for (const subscription of this.subscriptions) this.#end(subscription);
  }

  // ---- the users' side ----

  /** Says `accepted` before anything else; or gives the reason why not, and has said nothing. */
  subscribe(
    account: Account,
    request: OrderSubscribeRequest,
    session: OrderSession,
    accepted: string,
  ): { drained(): void; end(): void } | Goodbye {
    const scope = scopeOf(account, request.filter);
    if ("code" in scope) return scope;
    const subscription = new OrderSubscription(request, scope, session, this.#clock.monotonic());
    this.subscriptions.add(subscription);
    this.#heartbeats.add(subscription, request.heartbeatMs);
    session.say(accepted);
    // Decided now, also where nothing can be said yet: what it resumes from stays in reach.
    if (this.ledger.isWhole) subscription.pass = this.#first(subscription);
    this.#pump(subscription);
    return { drained: () => this.#pump(subscription), end: () => this.#end(subscription) };
  }

  #end(subscription: OrderSubscription): void {
    subscription.ended = true;
    subscription.pass = null;
    this.subscriptions.delete(subscription);
  }

  // ---- telling ----

  /** There is news, for some. */
  #changed(subscription: OrderSubscription): void {
    const { request, waits, toldAt, epoch } = subscription;
    if (request.conflateMs === 0 || epoch !== this.ledger.epoch) return this.#pump(subscription);
    if (waits) return;
    const rest = toldAt + request.conflateMs - this.#clock.monotonic();
    if (rest <= 0) return this.#pump(subscription);
    subscription.waits = true;
    this.#beats.add(subscription, rest);
  }

  /** The wheel asks: returns when to ask again. */
  #beat(subscription: OrderSubscription): number | null {
    const { ended, waits, toldAt, request } = subscription;
    if (ended || !waits) return null;
    const rest = toldAt + request.conflateMs - this.#clock.monotonic();
    if (rest > 0) return rest;
    this.#tell(subscription);
    return null;
  }

  #tell(subscription: OrderSubscription): void {
    subscription.waits = false;
    this.#pump(subscription);
  }

  /** Says what a subscription does not know, as far as its socket takes it. */
  #pump(subscription: OrderSubscription): void {
    if (!this.ledger.isWhole) return;
    while (!subscription.ended && subscription.session.isClear) {
      subscription.pass = this.#due(subscription);
      if (subscription.pass === null) break;
      this.#step(subscription, subscription.pass);
    }
    // What it missed may have been nothing but this.
    if (subscription.pass === null && subscription.status !== this.status) this.#sayHeartbeat(subscription);
  }

  /** The pass to go on with; null where there is nothing to tell, or not yet. */
  #due(subscription: OrderSubscription): Pass | null {
    const { epoch, pass, told, waits } = subscription;
    if (epoch !== this.ledger.epoch) return this.#first(subscription);
    if (pass !== null) return pass.begun ? pass : this.#pass(pass.kind, pass.from);
    return told < this.ledger.sequence && !waits ? this.#next(subscription) : null;
  }

  /** How it begins in this epoch. */
  #first(subscription: OrderSubscription): Pass {
    const isNew = subscription.epoch === null;
    const from = isNew ? this.#resumable(subscription) : null;
    subscription.epoch = this.ledger.epoch;
    subscription.waits = false;
    // Who was here before is told of orders that the image itself says are over.
    if (isNew) subscription.told = from ?? NOTHING_KNOWN;
    if (from === null) this.images++;
    else this.resumes++;
    return this.#pass(from === null ? "image" : "resume", subscription.told);
  }

  /** How it goes on; null where nothing is new for it. */
  #next(subscription: OrderSubscription): Pass | null {
    const { told } = subscription;
    const { sequence, reach } = this.ledger;
    if (told < reach) {
      this.images++;
      return this.#pass("image", told);
    }
    if (told < sequence - 1) return this.#pass("change", told);
    const news = this.#newsFor(subscription);
    if (news.length > 0) return { ...this.#pass("change", told, NO_MARKETS.values()), entries: [...news] };
    subscription.told = sequence;
    return null;
  }

  /** What the exchange has just said is the same for all of a scope who were in step. */
  #newsFor(subscription: OrderSubscription): readonly string[] {
    const { request, scope } = subscription;
    const key = `${scope.key} ${request.segmentationEnabled}`;
    let news = this.#news.get(key);
    if (news !== undefined) return news;
    const since = { sequence: this.ledger.sequence - 1, isImage: false };
    news = [...this.#touched].flatMap((market) => this.#entries(market, since, subscription));
    this.#news.set(key, news);
    return news;
  }

  #entries(market: MarketOrders, since: Since, subscription: OrderSubscription): string[] {
    this.encodes++;
    return ordersSince(market, since, subscription.scope, this.#charsMax(subscription) / 2);
  }

  #pass(kind: Pass["kind"], from: number, markets: Iterator<MarketOrders> = this.ledger.markets.values()): Pass {
    return { kind, from, to: this.ledger.sequence, markets, entries: [], begun: false };
  }

  /** The sequence from which to go on, null when only an image will do. */
  #resumable({ request: { initialClk, clk }, scope }: OrderSubscription): number | null {
    const { epoch, sequence, reach } = this.ledger;
    if (initialClk !== initialClkOf(epoch, scope)) return null;
    const since = clk === null ? null : sequenceOf(clk);
    return since === null || since === 0 || since > sequence || since < reach ? null : since;
  }

  /** Says the next message of a pass, or ends one that has nothing to say. */
  #step(subscription: OrderSubscription, pass: Pass): void {
    const { texts, isLast } = this.#fill(subscription, pass);
    if (isLast) {
      subscription.told = pass.to;
      subscription.pass = null;
      if (pass.kind === "change" && !pass.begun && texts.length === 0) return;
    }
    const head = this.#head(subscription, pass, isLast);
    subscription.toldAt = this.#clock.monotonic();
    pass.begun = true;
    this.#say(subscription, `${head}${texts.length > 0 ? `,"oc":[${texts.join(",")}]` : ""}}`);
  }

  /** Entries for one message. */
  #fill(subscription: OrderSubscription, pass: Pass): { texts: string[]; isLast: boolean } {
    const max = this.#charsMax(subscription) - HEAD_CHARS_MAX;
    const since = { sequence: pass.from, isImage: pass.kind === "image" };
    const texts: string[] = [];
    let chars = 0;
    for (;;) {
      for (let text = pass.entries[0]; text !== undefined; text = pass.entries[0]) {
        if (texts.length > 0 && chars + text.length > max) return { texts, isLast: false };
        chars += text.length + 1;
        texts.push(text);
        pass.entries.shift();
      }
      const next = pass.markets.next();
      if (next.done) return { texts, isLast: true };
      pass.entries.push(...this.#entries(next.value, since, subscription));
    }
  }

  #charsMax({ request }: OrderSubscription): number {
    return request.segmentationEnabled ? this.#segmentBytesMax : this.#messageBytesMax;
  }

  /** A whole pass in one message, or its segments; where the client takes none, a message that begins and others that go on. */
  #head(subscription: OrderSubscription, pass: Pass, isLast: boolean): string {
    const { request, scope } = subscription;
    const { kind, begun } = pass;
    const starts = kind !== "change";
    const isSegment = request.segmentationEnabled && !(isLast && !begun);
    const ct =
      !starts || (begun && !request.segmentationEnabled)
        ? ""
        : `,"ct":"${kind === "image" ? "SUB_IMAGE" : "RESUB_DELTA"}"`;
    const segment = isSegment ? `,"segmentType":"${isLast ? "SEG_END" : begun ? "SEG" : "SEG_START"}"` : "";
    const terms = starts && !begun ? `,"conflateMs":${request.conflateMs},"heartbeatMs":${request.heartbeatMs}` : "";
    const initial = starts && isLast ? `,"initialClk":"${initialClkOf(this.ledger.epoch, scope)}"` : "";
    // Without segments the first part of an image replaces all that the client had: its old clk is void, and clk 0 claims nothing.
    const voids = kind === "image" && !begun && !request.segmentationEnabled;
    const clk = isLast ? `,"clk":"${clkOf(subscription.told)}"` : voids ? `,"clk":"${clkOf(0)}"` : "";
    // What is told late is late by the exchange's clock only where it says something new.
    const pt = starts ? Math.floor(this.#clock.wall()) : this.ledger.pt;
    // That all is well again is said with the last part.
    if (isLast || this.status !== null) subscription.status = this.status;
    return `{"op":"ocm","id":${request.id}${ct}${initial}${clk},"pt":${pt}${status(subscription.status)}${terms}${segment}`;
  }

  #say(subscription: OrderSubscription, message: string): void {
    subscription.saidAt = this.#clock.monotonic();
    this.messagesOut++;
    subscription.session.say(message);
  }

  // ---- heartbeats ----

  /** The wheel asks: returns when to ask again. */
  #heartbeat(subscription: OrderSubscription): number | null {
    if (subscription.ended) return null;
    const { heartbeatMs } = subscription.request;
    const rest = subscription.saidAt + heartbeatMs - this.#clock.monotonic();
    if (rest > TURN_MS) return rest;
    this.#sayHeartbeat(subscription);
    return heartbeatMs;
  }

  /** Nothing is said between the messages of a pass, nor to a full socket: whoever drains it hears the rest. */
  #sayHeartbeat(subscription: OrderSubscription): void {
    if (subscription.ended || subscription.pass !== null || !subscription.session.isClear) return;
    subscription.status = this.status;
    const { request, told } = subscription;
    const pt = Math.floor(this.#clock.wall());
    const clk = `"clk":"${clkOf(told)}"`;
    this.#say(subscription, `{"op":"ocm","id":${request.id},"ct":"HEARTBEAT",${clk},"pt":${pt}${status(this.status)}}`);
  }

  #sweepNow(): void {
    this.ledger.sweep();
    this.#sweep = this.#clock.after(SWEEP_MS, () => this.#sweepNow());
  }
}

function status(code: number | null): string {
  return code === null ? "" : `,"status":${code}`;
}
