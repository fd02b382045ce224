import type { MarketBook } from "../../client/book.ts";
import { type Connection, type ConnectOptions, connect } from "../../client/connection.ts";
import type { Subscription } from "../../client/subscription.ts";
import type { Clock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import type { MarketChange } from "./naive.ts";

/** A market of no exchange's, whose last traded price counts up: who has seen it has seen all that was published before it. */
const MARK_MARKET = "0.1";
const MARK_RUNNER = 1;
/** How long a mark may take from the exchange to the client. */
const SEEN_MS_MAX = 30_000;

/** The change that sets the mark; 0 is the first, with all that makes a market. */
export function mark(count: number): MarketChange {
  const rc = [{ id: MARK_RUNNER, ltp: count }];
  if (count > 0) return { id: MARK_MARKET, rc };
  const runners = [{ id: MARK_RUNNER, sortPriority: 1, status: "ACTIVE" }];
  return { id: MARK_MARKET, img: true, marketDefinition: { status: "OPEN", inPlay: false, version: 1, runners }, rc };
}

/** A client that subscribes to everything, unconflated, and can tell how much of the stream it has seen. */
export class Onlooker {
  readonly #clock: Clock;
  readonly #connection: Connection;
  readonly #subscription: Subscription;
  #wake: (() => void) | null = null;

  constructor(options: ConnectOptions & { readonly clock: Clock }) {
    this.#clock = options.clock;
    const wake = () => this.#wake?.();
    this.#connection = connect({ ...options, state: wake });
    this.#subscription = this.#connection.subscribe({ conflateMs: 0 }, { change: wake, status: wake });
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
      const timer = this.#clock.after(SEEN_MS_MAX, () => settle(this.#tooLate()));
      this.#wake = () => {
        if ((this.book(MARK_MARKET)?.runner(MARK_RUNNER)?.ltp ?? -1) >= count) settle(null);
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
      `what was published did not reach the client within ${SEEN_MS_MAX / 1000} s: ${where}`,
    );
  }
}
