import type { Companion } from "./namespace.ts";
import type { Street, Way } from "./street.ts";

/** Of a flumine: of its strategy, and of its client by flumine's own names. */
export interface StrategyOptions {
  readonly filter?: object;
  readonly fields?: readonly string[];
  readonly conflate_ms?: number;
  readonly client?: { readonly market_recording_mode?: boolean; readonly order_stream?: boolean };
}

export interface StrategyState {
  /** It has started, and its market stream is connected. */
  readonly running: boolean;
  /** Market changes taken in, and market books handed to the strategy. */
  readonly updates: number;
  readonly handled: number;
  readonly initialClk: string | null;
  readonly clk: string | null;
  readonly markets: readonly string[];
  /** Market id → name, of the catalogues that it has been shown. */
  readonly catalogues: Readonly<Record<string, string>>;
  /** Streams that run, by class. */
  readonly threads: readonly string[];
}

/** Hashes of all market books that the strategy was shown, by market, and the books that stand at the end. */
export interface Seen {
  readonly seen: Readonly<Record<string, readonly string[]>>;
  readonly closed: Readonly<Record<string, readonly string[]>>;
  readonly books: readonly unknown[];
}

/** A real flumine in the namespace, with a strategy that watches all it is shown and bets on nothing. */
export class Strategy {
  readonly #asks: Companion;

  private constructor(asks: Companion) {
    this.#asks = asks;
  }

  /** Starts it; resolves when it runs and has the image. */
  static async start(street: Street, way: Way, python: string, options: StrategyOptions = {}): Promise<Strategy> {
    const strategy = new Strategy(street.clients(way, python, "strategy.py"));
    await strategy.#asks.ask("start", options);
    await strategy.until((state) => state.running && state.clk !== null);
    return strategy;
  }

  state(): Promise<StrategyState> {
    return this.#asks.ask("state");
  }

  /** Polls until it is so; the state then, or the last one when it was not so in time. */
  async until(holds: (state: StrategyState) => boolean, msMax = 15_000): Promise<StrategyState> {
    const deadline = performance.now() + msMax;
    for (;;) {
      const state = await this.state();
      if (holds(state) || performance.now() > deadline) return state;
      await Bun.sleep(2);
    }
  }

  seen(): Promise<Seen> {
    return this.#asks.ask("seen");
  }

  /** Ends it as its program would; flumine's workers make that take some seconds. */
  stop(): Promise<boolean> {
    return this.#asks.ask("stop");
  }

  /** Ends the whole program at once. */
  end(): Promise<unknown> {
    return this.#asks.program.end("SIGKILL");
  }

  /** All warnings and errors that were logged since last asked. */
  complaints(): Promise<string[]> {
    return this.#asks.ask("complaints");
  }
}
