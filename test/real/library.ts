import type { Companion } from "./namespace.ts";
import type { Credentials, Street, Way } from "./street.ts";

/** Of a stream, by the names that betfairlightweight has for its parameters. */
export interface StreamOptions {
  readonly filter?: object;
  /** An order filter: a stream of orders it is to be, and a lightweight one. */
  readonly orders?: object;
  readonly fields?: readonly string[];
  readonly ladderLevels?: number;
  readonly conflate_ms?: number;
  readonly heartbeat_ms?: number;
  readonly segmentation_enabled?: boolean;
  readonly initial_clk?: string | null;
  readonly clk?: string | null;
  /** Seconds of silence after which the library gives up. */
  readonly timeout?: number;
  readonly buffer_size?: number;
  readonly host?: string;
  readonly lightweight?: boolean;
  /** Keeps a hash of every book that is put out. */
  readonly hashed?: boolean;
}

/** How a stream of the library's stands. */
export interface StreamState {
  /** Why its thread has ended; null while it reads. */
  readonly end: string | null;
  readonly running: boolean;
  readonly host: string;
  readonly connectionId: string | null;
  readonly connectionsAvailable: number | null;
  /** Market changes taken in. */
  readonly updates: number;
  /** Change messages by `ct`. */
  readonly changes: Readonly<Record<string, number>>;
  readonly heartbeats: readonly (string | null)[];
  readonly replies: readonly { readonly id: number; readonly statusCode: string; readonly errorCode?: string }[];
  /** Change messages with another id than that of the subscription accepted last. */
  readonly late: number;
  /** Of the last message, without its CRLF. */
  readonly length: number;
  readonly initialClk: string | null;
  readonly clk: string | null;
}

/** What a stream's cache holds, and what `snap` makes of it. */
export interface StreamBooks {
  readonly books: readonly BookSeen[];
  readonly snap: Readonly<Record<string, SnapSeen>>;
}

export interface BookSeen {
  readonly market: string;
  readonly status: string;
  readonly runners: readonly { readonly id: number; readonly ltp: number | null; readonly atb: readonly number[][] }[];
}

export interface SnapSeen {
  readonly marketDefinition: { readonly eventName?: string };
  readonly runners: readonly { readonly ex: { readonly availableToBack: readonly { readonly price: number }[] } }[];
}

export interface OrderSeen {
  readonly betId: string;
  readonly status: string;
  readonly customerStrategyRef: string;
}

interface Until {
  readonly updates?: number;
  readonly changes?: Readonly<Record<string, number>>;
  readonly end?: true;
}

/** The real betfairlightweight in the namespace: a program with one account and any number of streams. */
export class Library {
  readonly #asks: Companion;

  private constructor(asks: Companion) {
    this.#asks = asks;
  }

  /** Starts it and logs in by name and password. */
  static async start(street: Street, way: Way, python: string, account?: Credentials): Promise<Library> {
    const library = new Library(street.clients(way, python, "clients.py", account));
    await library.login("interactive");
    return library;
  }

  login(how: "interactive" | "certificate"): Promise<{ status: string; token: string }> {
    return this.#asks.ask("login", { how });
  }

  keepAlive(): Promise<{ status: string; token: string }> {
    return this.#asks.ask("keepAlive");
  }

  logout(): Promise<{ status: string; token: string | null }> {
    return this.#asks.ask("logout");
  }

  /** Goes on with this session token. */
  useToken(value: string): Promise<void> {
    return this.#asks.ask("token", { value });
  }

  /** Opens a stream and waits for its image; with `after`, on the listener of an earlier one and with its clocks, as a program that reconnects. */
  async open(name: string, options: StreamOptions = {}, after?: string): Promise<StreamState> {
    const before = after === undefined ? null : await this.state(after);
    const clocks = before && { initial_clk: before.initialClk, clk: before.clk };
    await this.#asks.ask("open", { name, options: { ...clocks, ...options }, after: after ?? null });
    const answered = (before?.changes.SUB_IMAGE ?? 0) + (before?.changes.RESUB_DELTA ?? 0) + 1;
    return this.#asks.ask("wait", { name, until: { answered } });
  }

  /** Subscribes once more on the same connection. */
  subscribe(name: string, options: StreamOptions): Promise<number> {
    return this.#asks.ask("subscribe", { name, options });
  }

  heartbeat(name: string): Promise<number> {
    return this.#asks.ask("heartbeat", { name });
  }

  state(name: string): Promise<StreamState> {
    return this.#asks.ask("state", { name });
  }

  /** The state once it is so, or at the end of the time. */
  wait(name: string, until: Until, seconds?: number): Promise<StreamState> {
    return this.#asks.ask("wait", { name, until, ...(seconds !== undefined && { seconds }) });
  }

  books(name: string): Promise<StreamBooks> {
    return this.#asks.ask("books", { name });
  }

  /** The orders that it holds, by market. */
  orders(name: string): Promise<Record<string, readonly OrderSeen[]>> {
    return this.#asks.ask("orders", { name });
  }

  /** Market changes taken in, over all streams. */
  updates(): Promise<number> {
    return this.#asks.ask("updates");
  }

  /** Of what each stream's cache holds, by the stream's name. */
  digests(): Promise<Record<string, string>> {
    return this.#asks.ask("digests");
  }

  /** Of every book it put out, by market. */
  hashes(name: string): Promise<Record<string, string[]>> {
    return this.#asks.ask("hashes", { name });
  }

  close(name: string): Promise<void> {
    return this.#asks.ask("close", { name });
  }

  closeAll(): Promise<void> {
    return this.#asks.ask("closeAll");
  }

  /** One of the betting API's calls: as JSON, or as the names of the library's own classes. */
  betting<Answer>(method: string, options: object, lightweight = true): Promise<Answer> {
    return this.#asks.ask("betting", { method, arguments: options, lightweight });
  }

  /** Ends the whole program at once. */
  end(): Promise<unknown> {
    return this.#asks.program.end("SIGKILL");
  }

  /** All warnings and errors that it logged since last asked. */
  complaints(): Promise<string[]> {
    return this.#asks.ask("complaints");
  }
}
