import type { MarketBook } from "../../client/book.ts";
import { type Connection, type ConnectOptions, connect } from "../../client/connection.ts";
import type { ChangeMessage } from "../../client/messages.ts";
import type { Subscription } from "../../client/subscription.ts";
import type { Clock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { type FieldFlag, LADDER_LEVELS_MAX } from "./exchange-fields.ts";
import type { LevelPriceSize, MarketChange, PriceSize } from "./naive.ts";

/** A market of no exchange's, whose values count up: who has seen it has seen all that was published before it. */
const MARK_MARKET = "0.1";
const MARK_RUNNER = 1;
/** How long a mark may take from the exchange to the client, conflation apart. */
const SEEN_MS_MAX = 30_000;

/** The change that sets the mark, in every field there is, as somebody may have asked for any one; 0 is the first. */
export function mark(count: number): MarketChange {
  const value = count + 1;
  const prices: PriceSize[] = [[2, value]];
  const levels: LevelPriceSize[] = [[0, 2, value]];
  const ladders = { atb: prices, trd: prices, spb: prices, batb: levels, bdatb: levels };
  const runners = [{ id: MARK_RUNNER, sortPriority: 1, status: "ACTIVE" }];
  return {
    id: MARK_MARKET,
    ...(count === 0 && { img: true }),
    tv: value,
    marketDefinition: { status: "OPEN", inPlay: false, version: value, runners },
    rc: [{ id: MARK_RUNNER, tv: value, ltp: value, spn: value, ...ladders }],
  };
}

/** The mark that a book shows, in whatever fields it has; -1 when none. */
function markIn(book: MarketBook | undefined): number {
  const runner = book?.runner(MARK_RUNNER);
  const sizes = [runner?.atb, runner?.trd, runner?.spb].map((ladder) => ladder?.[0]?.[1]);
  const levels = [runner?.batb, runner?.bdatb].map((ladder) => ladder?.[0]?.[2]);
  const values = [book?.version, book?.totalMatched, runner?.ltp, runner?.spn, ...sizes, ...levels];
  return Math.max(...values.map((value) => value ?? 0)) - 1;
}

/** What a client asks for of every market; `fields` empty: all. */
export interface Asked {
  readonly fields: readonly FieldFlag[];
  readonly ladderLevels: number;
  readonly conflateMs: number;
}

export const EVERYTHING: Asked = { fields: [], ladderLevels: LADDER_LEVELS_MAX, conflateMs: 0 };

interface OnlookerOptions extends ConnectOptions {
  readonly clock: Clock;
  /** Absent: everything, as it comes. */
  readonly asked?: Asked;
  /** After each message that changed something: the markets it spoke of, the mark's left out. */
  readonly told?: (message: ChangeMessage, markets: readonly string[]) => void;
}

/** A client that subscribes to every market, and can tell how much of the stream it has seen. */
export class Onlooker {
  readonly #clock: Clock;
  readonly #connection: Connection;
  readonly #subscription: Subscription;
  readonly #seenMsMax: number;
  #wake: (() => void) | null = null;

  constructor(options: OnlookerOptions) {
    this.#clock = options.clock;
    const { fields, ladderLevels, conflateMs } = options.asked ?? EVERYTHING;
    this.#seenMsMax = SEEN_MS_MAX + conflateMs;
    const wake = () => this.#wake?.();
    this.#connection = connect({ ...options, state: wake });
    const change = (books: readonly MarketBook[], message: ChangeMessage) => {
      const markets = books.map(({ id }) => id).filter((id) => id !== MARK_MARKET);
      options.told?.(message, markets);
      wake();
    };
    const named = fields.length === 0 ? undefined : fields;
    this.#subscription = this.#connection.subscribe(
      { fields: named, ladderLevels, conflateMs },
      { change, status: wake },
    );
  }

  /** What the messages came to, in bytes of JSON. */
  get bytes(): number {
    return this.#subscription.counters.bytes;
  }

  book(market: string): MarketBook | undefined {
    return this.#subscription.books.get(market);
  }

  /** How often it had to start again. */
  get reconnects(): number {
    return this.#connection.reconnects;
  }

  /** Resolves when the mark, and so everything before it, is in the books; an OddswireError when it does not come. */
  seen(count: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error: OddswireError | null) => {
        this.#wake = null;
        timer.cancel();
        if (error === null) resolve();
        else reject(error);
      };
      const timer = this.#clock.after(this.#seenMsMax, () => settle(this.#tooLate()));
      this.#wake = () => {
        if (markIn(this.book(MARK_MARKET)) >= count) settle(null);
        else if (this.#ended() !== null) settle(new OddswireError("CONNECTION_FAILED", this.#ended() as string));
      };
      this.#wake();
    });
  }

  close(): void {
    this.#connection.close();
  }

  #ended(): string | null {
    const [connection, subscription] = [this.#connection.state, this.#subscription.state];
    if (connection.kind === "closed") return `the client was sent away: ${connection.code}, ${connection.reason}`;
    if (subscription.kind === "refused")
      return `the subscription was refused: ${subscription.code}, ${subscription.message}`;
    return null;
  }

  #tooLate(): OddswireError {
    const { state } = this.#connection;
    const where = `connection ${state.kind}${"reason" in state ? ` (${state.reason})` : ""}, subscription ${this.#subscription.state.kind}`;
    return new OddswireError(
      "TIMEOUT",
      `what was published did not reach the client within ${this.#seenMsMax / 1000} s: ${where}`,
    );
  }
}
