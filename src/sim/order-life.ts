/** Pence, and hundredths of a price: whole numbers, so that sums of money are exact. */
export type Pence = number;
export type Hundredths = number;

export type Side = "BACK" | "LAY";
export type OrderType = "LIMIT" | "LIMIT_ON_CLOSE" | "MARKET_ON_CLOSE";
export type Persistence = "LAPSE" | "PERSIST" | "MARKET_ON_CLOSE";
/** Those of the exchange's reasons that this one has occasion for. */
export type LapseReason = "MKT_SUSPENDED" | "SP_IN_PLAY" | "TIME_ELAPSED";

/** What somebody asked for. */
export interface OrderTerms {
  readonly marketId: string;
  readonly selectionId: number;
  readonly handicap: number;
  readonly side: Side;
  readonly orderType: OrderType;
  /** The limit; 0 for MARKET_ON_CLOSE. */
  readonly price: Hundredths;
  /** Of a LIMIT order; 0 for the on-close ones, whose size is known when their price is. */
  readonly size: Pence;
  /** Of the on-close orders: the most that can be lost. */
  readonly liability: Pence;
  readonly persistence: Persistence;
  /** Fill or kill: at least so much at once, or nothing; null: an ordinary order. */
  readonly fillAtLeast: Pence | null;
  /** customerOrderRef and customerStrategyRef; "" is none. */
  readonly orderRef: string;
  readonly strategyRef: string;
}

/** An entry of `uo`: an order whole, as the stream tells it (exchange-protocol.md §3). */
export type StreamOrder = Readonly<Record<string, string | number>>;

/**
 * One order's life, in whole pence:
 *
 *     placed ──> executable (E) ──matched, cancelled, lapsed, voided: all of it──> execution complete (EC)
 *
 * At every moment size = matched + remaining + lapsed + cancelled + voided. An on-close order is E with no size until the starting price is
 * there; what it is matched for then becomes its size.
 */
export class Order {
  readonly betId: string;
  readonly terms: OrderTerms;
  readonly placedAt: number;
  size: Pence;
  remaining: Pence;
  matched: Pence = 0;
  lapsed: Pence = 0;
  cancelled: Pence = 0;
  voided: Pence = 0;
  persistence: Persistence;
  /** What was matched, by price; emptied when it is voided. */
  readonly fills = new Map<Hundredths, Pence>();
  /** Milliseconds since the Unix epoch; null: it never was. */
  matchedAt: number | null = null;
  cancelledAt: number | null = null;
  lapsedAt: number | null = null;
  lapseReason: LapseReason | null = null;
  /** Waits for the starting price. */
  #onClose: boolean;

  constructor(betId: string, terms: OrderTerms, at: number) {
    this.betId = betId;
    this.terms = terms;
    this.placedAt = at;
    this.size = this.remaining = terms.size;
    this.persistence = terms.persistence;
    this.#onClose = terms.orderType !== "LIMIT";
  }

  get executable(): boolean {
    return this.remaining > 0 || this.#onClose;
  }

  /** Null while nothing is matched; exact to what was. */
  get averagePrice(): number | null {
    if (this.matched === 0) return null;
    let notional = 0;
    for (const [price, size] of this.fills) notional += price * size;
    return notional / this.matched / 100;
  }

  match(price: Hundredths, size: Pence, at: number): void {
    this.remaining -= size;
    this.matched += size;
    this.fills.set(price, (this.fills.get(price) ?? 0) + size);
    this.matchedAt = at;
    this.#mustAddUp();
  }

  /** Cancels at most `size` of what remains, and says how much that was. */
  cancel(size: Pence, at: number): Pence {
    const cancelled = Math.min(size, this.remaining);
    this.remaining -= cancelled;
    this.cancelled += cancelled;
    this.cancelledAt = at;
    this.#mustAddUp();
    return cancelled;
  }

  lapse(at: number, reason: LapseReason | null): void {
    this.lapsed += this.remaining;
    this.remaining = 0;
    this.#onClose = false;
    this.lapsedAt = at;
    this.lapseReason = reason;
    this.#mustAddUp();
  }

  /** The runner is out of it: what was matched and what waits count for nothing. */
  void(): void {
    this.voided += this.matched + this.remaining;
    this.matched = this.remaining = 0;
    this.#onClose = false;
    this.fills.clear();
    this.#mustAddUp();
  }

  /**
   * The starting price is there: matches at it what waits for it and may have it, lapses what may not. Returns the size matched.
   * A lay is for its liability, so what it is matched for depends on the price; the order's size follows.
   */
  reconcile(startingPrice: Hundredths | null, at: number): Pence {
    const { side, orderType, price, liability } = this.terms;
    const limited = orderType === "LIMIT_ON_CLOSE" && startingPrice !== null;
    const tooFar = limited && (side === "BACK" ? startingPrice < price : startingPrice > price);
    if (startingPrice === null || startingPrice <= 100 || tooFar) {
      this.lapse(at, null);
      return 0;
    }
    const atRisk = orderType !== "LIMIT" ? liability : riskOf(side, price, this.remaining);
    const size = side === "BACK" ? atRisk : Math.round((atRisk * 100) / (startingPrice - 100));
    this.size += size - this.remaining;
    this.remaining = size;
    this.#onClose = false;
    if (size > 0) this.match(startingPrice, size, at);
    return size;
  }

  /** As the order stream tells it. */
  streamed(): StreamOrder {
    const { terms } = this;
    return {
      id: this.betId,
      p: terms.price / 100,
      s: this.size / 100,
      ...(terms.liability > 0 && { bsp: terms.liability / 100 }),
      side: terms.side === "BACK" ? "B" : "L",
      status: this.executable ? "E" : "EC",
      ...(terms.orderType === "LIMIT" && { pt: PERSISTENCE_LETTERS[this.persistence] }),
      ot: TYPE_LETTERS[terms.orderType],
      pd: this.placedAt,
      ...(this.matchedAt !== null && { md: this.matchedAt }),
      ...(this.cancelledAt !== null && { cd: this.cancelledAt }),
      ...(this.lapsedAt !== null && { ld: this.lapsedAt }),
      ...(this.lapseReason !== null && { lsrc: this.lapseReason }),
      ...(this.matched > 0 && { avp: this.averagePrice as number }),
      sm: this.matched / 100,
      sr: this.remaining / 100,
      sl: this.lapsed / 100,
      sc: this.cancelled / 100,
      sv: this.voided / 100,
      rac: "",
      rc: REGULATOR,
      rfo: terms.orderRef,
      rfs: terms.strategyRef,
    };
  }

  #mustAddUp(): void {
    const parts = [this.matched, this.remaining, this.lapsed, this.cancelled, this.voided];
    const sum = parts.reduce((a, b) => a + b);
    if (sum !== this.size || parts.some((part) => part < 0))
      throw new Error(`order ${this.betId} of ${this.size} pence is in parts of ${parts.join(", ")}`);
  }
}

export const REGULATOR = "REG_GGC";
const PERSISTENCE_LETTERS = { LAPSE: "L", PERSIST: "P", MARKET_ON_CLOSE: "MOC" } as const;
const TYPE_LETTERS = { LIMIT: "L", LIMIT_ON_CLOSE: "LOC", MARKET_ON_CLOSE: "MOC" } as const;

function riskOf(side: Side, price: Hundredths, size: Pence): Pence {
  return side === "BACK" ? size : Math.round((size * (price - 100)) / 100);
}
