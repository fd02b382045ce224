import process from "node:process";
import type { MarketBook } from "../../client/book.ts";
import { type Connection, type ConnectionState, connect } from "../../client/connection.ts";
import type { OpenWire } from "../../client/wire.ts";
import { type Clock, systemClock, type Timer } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { changeLine, connectionWords, ladderLines, missing, type Paper, type Sight } from "./ladder-text.ts";
import { askNames, type MarketNames } from "./watch-names.ts";

/** Where the ladder is drawn: what `process.stdout` is. */
export interface Screen {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

export interface WatchOptions {
  /** The WebSocket door, `ws://…`; or the page's address, `http://…`, which knows where the door is and in a demo how to get in. */
  readonly url: string;
  readonly market: string;
  readonly session?: string;
  readonly appKey?: string;
  readonly out: Screen;
  /** Prints the book once and ends. */
  readonly once?: boolean;
  /** Ends the watching; by default Ctrl-C does. */
  readonly signal?: AbortSignal;
  readonly color?: boolean;
  readonly clock?: Clock;
  readonly wire?: OpenWire;
  /** Asks what the market is called, where its definition does not say; null: not known yet. By default the page is asked. */
  readonly names?: () => Promise<MarketNames | null>;
}

/** A terminal is drawn at most this often, milliseconds: ten times a second is as fast as anybody reads. */
const DRAW_MS_MIN = 100;
/** And at least this often, so that the age of the last message is right. */
const DRAW_MS_MAX = 200;
/** How long the gateway may take to say where its door is, milliseconds. */
const INFO_MS_MAX = 5_000;
/** How long until a name that was not known is asked for again, milliseconds: a new market has it within seconds. */
const NAMES_MS = 2_000;
/** How long `once` waits for a book, milliseconds. */
const ONCE_MS_MAX = 20_000;
/** What the person at the terminal can do about a refusal. */
const WHAT_TO_DO: Readonly<Record<string, string>> = {
  NO_SESSION: ": give yours with --session TOKEN",
  INVALID_SESSION_INFORMATION: ": give another one with --session TOKEN",
  NO_APP_KEY: ": give yours with --app-key KEY",
  INVALID_APP_KEY: ": give another one with --app-key KEY",
};
/** What a screen that does not say is taken for. */
const COLUMNS = 100;
const ROWS = 40;
const FIELDS = ["EX_ALL_OFFERS", "EX_TRADED_VOL", "EX_LTP", "EX_MARKET_DEF"] as const;

/** Shows a market's live ladder until Ctrl-C. Resolves to the exit code: 1 where the gateway refused, or `once` found no such market. */
export async function watch(options: WatchOptions): Promise<number> {
  const door: Door = options.wire ? { url: options.url } : await findDoor(options.url);
  const all = { ...door, ...defined(options), url: door.url };
  const names = options.names ?? namesFrom(options, all.session);
  const known = names === undefined ? null : await names();
  return new Promise((resolve) => new Watching({ ...all, ...(names && { names }) }, known, resolve));
}

/** The page's list has names; a WebSocket door has none. */
function namesFrom({ url, market, wire }: WatchOptions, session: string | undefined): WatchOptions["names"] {
  return wire === undefined && url.startsWith("http") && session !== undefined
    ? () => askNames(url, session, market)
    : undefined;
}

interface Door {
  readonly url: string;
  readonly session?: string;
  readonly appKey?: string;
}

/** Asks the page's address where its WebSocket door is; any other address is the door's own. Throws INVALID_REQUEST or CONNECTION_FAILED. */
export async function findDoor(url: string, get: typeof fetch = fetch): Promise<Door> {
  const { protocol } = URL.canParse(url) ? new URL(url) : { protocol: "" };
  if (!["http:", "https:", "ws:", "wss:"].includes(protocol))
    throw new OddswireError(
      "INVALID_REQUEST",
      `${url} is no address of a gateway: give one like http://127.0.0.1:8080/`,
    );
  if (protocol.startsWith("ws")) return { url };
  const info = await askInfo(url, get);
  if (info.websocket === undefined)
    throw new OddswireError("CONNECTION_FAILED", `${url} serves no users (its role is ${info.role}): ask an edge`);
  const door = new URL(info.websocket.url ?? url);
  if (info.websocket.url === undefined) {
    door.protocol = door.protocol === "https:" ? "wss:" : "ws:";
    door.port = String(info.websocket.port ?? door.port);
    door.pathname = info.websocket.path ?? "/";
    door.hash = "";
  }
  return { ...info.demo, url: door.href };
}

interface Info {
  readonly role?: string;
  readonly websocket?: { readonly url?: string; readonly port?: number; readonly path?: string };
  readonly demo?: { readonly session?: string; readonly appKey?: string };
}

async function askInfo(url: string, get: typeof fetch): Promise<Info> {
  let answer: unknown;
  try {
    const response = await get(new URL("/v1/info", url), { signal: AbortSignal.timeout(INFO_MS_MAX) });
    answer = response.ok ? await response.json() : `it answered ${response.status}`;
  } catch (error) {
    answer = (error as { code?: string }).code ?? (error as Error).message;
  }
  if (typeof answer === "object" && answer !== null && ("websocket" in answer || "role" in answer))
    return answer as Info;
  const reason = typeof answer === "string" ? ` (${answer})` : "";
  throw new OddswireError(
    "CONNECTION_FAILED",
    `there is no Oddswire gateway at ${url}${reason}: is it running, and is this the address of its page?`,
  );
}

class Watching {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #connection: Connection;
  #state: ConnectionState = { kind: "connecting" };
  readonly #end: (code: number) => void;
  #names: MarketNames | null;
  #namesTimer: Timer | null = null;
  readonly #stop = () => this.#finish(0);
  #book: MarketBook | null = null;
  #loaded = false;
  #refusal: string | null = null;
  #drawn = 0;
  #drawnColumns = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | null = null;
  #told = "";
  #finished = false;

  constructor(options: WatchOptions, names: MarketNames | null, end: (code: number) => void) {
    this.#options = options;
    this.#names = names;
    this.#end = end;
    this.#clock = options.clock ?? systemClock;
    this.#connection = connect({
      url: options.url,
      wire: options.wire,
      session: options.session ?? "",
      appKey: options.appKey,
      clock: options.clock,
      state: (state) => this.#connectionChanged(state),
    });
    this.#subscribe();
    if (options.signal) options.signal.addEventListener("abort", this.#stop);
    // and stays: through a launcher one Ctrl-C comes twice, and the second is not to kill us while we say goodbye
    else for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, this.#stop);
    if (options.once) this.#timer = this.#clock.after(ONCE_MS_MAX, () => this.#giveUp());
    else this.#draw();
    this.#askNames();
  }

  /** Until they are known. */
  #askNames(): void {
    const { names, once } = this.#options;
    if (this.#names !== null || names === undefined || once || this.#finished) return;
    this.#namesTimer = this.#clock.after(NAMES_MS, async () => {
      this.#names = await names();
      if (this.#names !== null && !this.#finished) this.#drawSoon();
      this.#askNames();
    });
  }

  #subscribe(): void {
    const { market } = this.#options;
    const subscription = this.#connection.subscribe(
      { filter: { marketIds: [market] }, fields: FIELDS },
      {
        image: () => {
          this.#loaded = true;
          this.#book = subscription.books.get(market) ?? null;
          this.#changed();
        },
        change: ([book]) => {
          this.#book = book;
          if (this.#loaded) this.#changed();
        },
        status: (state) => {
          if (state.kind === "refused") this.#refuse(`${state.code}: ${state.message}`);
          else if (!this.#options.once) this.#drawSoon();
        },
      },
    );
  }

  #changed(): void {
    if (this.#finished) return;
    if (this.#options.once) this.#printOnce();
    else if (this.#options.out.isTTY) this.#drawSoon();
    else this.#tell(this.#book === null ? missing(this.#options.market) : changeLine(this.#book, this.#names));
  }

  #connectionChanged(state: ConnectionState): void {
    this.#state = state;
    if (state.kind === "closed") this.#refuse(`${state.reason}${WHAT_TO_DO[state.code] ?? ""}`);
    else if (!this.#options.once) this.#drawSoon();
  }

  #printOnce(): void {
    const lines = this.#book === null ? [missing(this.#options.market)] : ladderLines(this.#sight(), this.#paper());
    this.#options.out.write(`${lines.join("\n")}\n`);
    this.#finish(this.#book === null ? 1 : 0);
  }

  #giveUp(): void {
    this.#refuse(`no book within ${ONCE_MS_MAX / 1_000} s: ${connectionWords(this.#sight())}`);
  }

  #refuse(reason: string): void {
    if (this.#finished) return;
    this.#refusal = reason;
    if (this.#options.once || !this.#options.out.isTTY) this.#options.out.write(`${reason}\n`);
    else this.#draw();
    this.#finish(1);
  }

  /** A line, where there is no terminal to draw on; the same twice is no news. */
  #tell(line: string): void {
    if (line === this.#told) return;
    this.#told = line;
    this.#options.out.write(`${line}\n`);
  }

  #drawSoon(): void {
    if (this.#finished) return;
    if (!this.#options.out.isTTY) return this.#tellState();
    const due = this.#drawnAt + DRAW_MS_MIN - this.#clock.monotonic();
    this.#timer?.cancel();
    this.#timer = this.#clock.after(due, () => this.#draw());
  }

  #tellState(): void {
    if (this.#state.kind === "waiting") this.#tell(connectionWords(this.#sight()));
  }

  /** Over what was drawn before, line by line: clearing all of it first would flicker. */
  #draw(): void {
    if (this.#finished || !this.#options.out.isTTY) return;
    const lines = ladderLines(this.#sight(), this.#paper());
    const { columns } = this.#paper();
    // a terminal of another width has wrapped or cut what stood there: begin on a clear one
    const resized = this.#drawn > 0 && columns !== this.#drawnColumns;
    this.#drawnColumns = columns;
    const up = resized ? "\x1b[2J\x1b[H" : this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "\x1b[?25l";
    this.#options.out.write(`${up}\r${lines.map((line) => `${line}\x1b[K\n`).join("")}\x1b[J`);
    this.#drawn = lines.length;
    this.#drawnAt = this.#clock.monotonic();
    this.#timer?.cancel();
    this.#timer = this.#clock.after(DRAW_MS_MAX, () => this.#draw());
  }

  #sight(): Sight {
    return {
      market: this.#options.market,
      book: this.#book,
      names: this.#names,
      loaded: this.#loaded,
      state: this.#state,
      // the first change of state comes while it is being made
      messageAgeMs: this.#connection?.messageAgeMs ?? null,
      refusal: this.#refusal,
    };
  }

  #paper(): Paper {
    const { out, color } = this.#options;
    return {
      columns: out.columns || COLUMNS,
      rows: out.isTTY ? out.rows || ROWS : Infinity,
      color: color ?? out.isTTY === true,
    };
  }

  #finish(code: number): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#timer?.cancel();
    this.#namesTimer?.cancel();
    this.#options.signal?.removeEventListener("abort", this.#stop);
    if (this.#drawn > 0) this.#options.out.write("\x1b[?25h");
    this.#connection?.close();
    this.#end(code);
  }
}

/** Without what is undefined, so that it does not hide what the gateway said of itself. */
function defined<Options extends object>(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
}
