import type { Clock } from "../base/clock.ts";
import type { OrderBatch, OrderMarketChange, OrderRunnerChange } from "../wire/orders.ts";
import { type Bury, RunnerOrders } from "./runner.ts";

export interface LedgerOptions {
  /** Names who numbers the changes; each image in mid-stream adds to it. */
  readonly epoch: string;
  readonly clock: Pick<Clock, "monotonic">;
  /** How long it is remembered how orders ended, for those who were behind or away. Milliseconds. */
  readonly retentionMs: number;
  /** How long a market in which nothing happens any more is kept, once it is closed or nothing is left in it. Milliseconds. */
  readonly forgetMs: number;
  /** How many such remains are kept at the same time, the newest ones. */
  readonly remainsMax?: number;
}

/** What an account that trades all day leaves behind in a quarter of an hour; 10 MB of them. */
const REMAINS_MAX = 20_000;

/** Something that is over, since when, and how it is forgotten. */
interface Remain {
  readonly at: number;
  readonly sequence: number;
  readonly forget: () => void;
}

/** The account's orders in one market. */
export class MarketOrders {
  readonly id: string;
  readonly runners = new Map<string, RunnerOrders>();
  accountId: number | null = null;
  isClosed = false;
  closedChanged = 0;
  last: number;
  /** By the monotonic clock. */
  touchedAt = 0;

  constructor(id: string, sequence: number) {
    this.id = id;
    this.last = sequence;
  }

  apply(change: OrderMarketChange, isImage: boolean, images: Set<RunnerOrders>, sequence: number, bury: Bury): void {
    this.last = sequence;
    this.accountId = change.accountId ?? this.accountId;
    const isClosed = change.closed ?? (this.isClosed && !isImage);
    if (isClosed !== this.isClosed) this.closedChanged = sequence;
    this.isClosed = isClosed;
    const listed = new Set(change.runners.map(keyOf));
    if (isImage) {
      for (const [key, runner] of this.runners)
        if (!listed.has(key)) runner.apply(emptied(runner), true, sequence, bury);
    }
    for (const runnerChange of change.runners) {
      const runner = this.#runner(runnerChange, sequence);
      // In a market's image the first word on a runner is all there is of it, whether it says so or not.
      const isFirst = isImage && !images.has(runner);
      if (isFirst) images.add(runner);
      runner.apply(runnerChange, isFirst || runnerChange.fullImage, sequence, bury);
    }
  }

  prune(): void {
    for (const [key, runner] of this.runners) {
      runner.prune();
      if (runner.partitions.size === 0 && runner.overall.isEmpty) this.runners.delete(key);
    }
  }

  #runner(change: OrderRunnerChange, sequence: number): RunnerOrders {
    const key = keyOf(change);
    let runner = this.runners.get(key);
    if (runner === undefined) this.runners.set(key, (runner = new RunnerOrders(change.id, change.hc, sequence)));
    return runner;
  }
}

/**
 * All orders of the account, as the exchange's order stream tells them, and the one place where its changes get their position.
 *
 * Each value knows the sequence of its last change, so that "what changed since S" is one question, whoever asks it. What is over leaves remains for
 * `retentionMs`: how an order ended, a price at which nothing is matched any more. Who knows less than `reach` cannot be told what changed.
 */
export class Ledger {
  /** Changes applied; what heartbeats and empty messages say changes nothing. */
  sequence = 0;
  pt = 0;
  /** The exchange's first image has come. */
  isWhole = false;
  /** The newest change of which something has been forgotten. */
  reach = 0;
  readonly markets = new Map<string, MarketOrders>();

  readonly #options: LedgerOptions;
  readonly #remains: Remain[] = [];
  #forgotten = 0;
  #generation = 0;
  readonly #bury: Bury = (forget) => {
    this.#remains.push({ at: this.#options.clock.monotonic(), sequence: this.sequence, forget });
  };

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** New whenever the exchange began anew: what happened in between, nobody knows. */
  get epoch(): string {
    return `${this.#options.epoch}-${this.#generation}`;
  }

  get remains(): number {
    return this.#remains.length - this.#forgotten;
  }

  /** Applies a whole message (segments are glued before); returns the markets it touched, each once. */
  apply(batch: OrderBatch): ReadonlySet<MarketOrders> {
    const touched = new Set<MarketOrders>();
    if (batch.kind === "heartbeat") return touched;
    this.sequence++;
    this.pt = batch.pt;
    const isImage = batch.kind === "image";
    const images = new Set<RunnerOrders>();
    for (const change of batch.markets) {
      const market = this.#market(change.id);
      market.apply(change, change.fullImage || (isImage && !touched.has(market)), images, this.sequence, this.#bury);
      this.#touch(market, touched);
    }
    if (isImage) this.#beginAnew(touched);
    this.#forgetBeyond(Number.NEGATIVE_INFINITY);
    return touched;
  }

  /** Housekeeping, about once a second. */
  sweep(): void {
    const { clock, retentionMs, forgetMs } = this.#options;
    const now = clock.monotonic();
    this.#forgetBeyond(now - retentionMs);
    for (const market of this.markets.values()) if (market.touchedAt <= now - forgetMs) this.#prune(market);
  }

  /** What an image does not list is gone. */
  #beginAnew(listed: Set<MarketOrders>): void {
    if (this.isWhole) this.#generation++;
    this.isWhole = true;
    const images = new Set<RunnerOrders>();
    for (const market of this.markets.values()) {
      if (listed.has(market)) continue;
      const { id, accountId, isClosed: closed } = market;
      const nothing = { id, accountId, closed, fullImage: true, runners: [] };
      market.apply(nothing, true, images, this.sequence, this.#bury);
      this.#touch(market, listed);
    }
  }

  #market(id: string): MarketOrders {
    let market = this.markets.get(id);
    if (market === undefined) this.markets.set(id, (market = new MarketOrders(id, this.sequence)));
    return market;
  }

  #touch(market: MarketOrders, touched: Set<MarketOrders>): void {
    market.touchedAt = this.#options.clock.monotonic();
    touched.add(market);
  }

  #forgetBeyond(horizon: number): void {
    const { remainsMax = REMAINS_MAX } = this.#options;
    for (; this.#forgotten < this.#remains.length; this.#forgotten++) {
      const oldest = this.#remains[this.#forgotten] as Remain;
      if (oldest.at > horizon && this.remains <= remainsMax) break;
      oldest.forget();
      this.reach = Math.max(this.reach, oldest.sequence);
    }
    if (this.#forgotten * 2 < this.#remains.length) return;
    this.#remains.splice(0, this.#forgotten);
    this.#forgotten = 0;
  }

  #prune(market: MarketOrders): void {
    if (market.isClosed) market.runners.clear();
    else market.prune();
    if (market.runners.size === 0) this.markets.delete(market.id);
    this.reach = Math.max(this.reach, market.last);
  }
}

function emptied({ id, hc }: RunnerOrders): OrderRunnerChange {
  return { id, hc, fullImage: true, orders: [], strategies: [], mb: [], ml: [] };
}

function keyOf({ id, hc }: { readonly id: number; readonly hc: number }): string {
  return `${id} ${hc}`;
}
