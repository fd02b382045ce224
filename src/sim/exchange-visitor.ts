import { Buffer } from "node:buffer";
import type { Address, Dial, Socket } from "../base/socket.ts";
import { type MarketChange, NaiveBook } from "./naive.ts";

/** Any message of the exchange, as JSON.parse gives it. */
export interface ExchangeMessage {
  readonly op: string;
  readonly id?: number;
  readonly ct?: string;
  readonly segmentType?: string;
  readonly clk?: string;
  readonly initialClk?: string;
  readonly pt?: number;
  readonly status?: number;
  readonly conflateMs?: number;
  readonly heartbeatMs?: number;
  readonly mc?: readonly MarketChange[];
  readonly statusCode?: string;
  readonly errorCode?: string;
  readonly errorMessage?: string;
  readonly connectionClosed?: boolean;
  readonly connectionsAvailable?: number;
  readonly connectionId?: string;
}

const CRLF = Buffer.from("\r\n");

/** A plain ESA client for the exchange's own tests: remembers every message, and keeps naive books from market changes. */
export class Visitor {
  readonly messages: ExchangeMessage[] = [];
  readonly books: Map<string, NaiveBook>;
  initialClk: string | null = null;
  clk: string | null = null;
  /** How it ended, once it has. */
  closed: Error | "quietly" | null = null;
  /** Writes as they arrived, one entry a `data` call. */
  readonly chunks: string[] = [];
  readonly #socket: Socket;
  /** Takes characters that are cut by a read. */
  readonly #utf8 = new TextDecoder();
  #received = "";
  #unsent = Buffer.alloc(0);
  #segments: MarketChange[] = [];

  /** `before`: an earlier visit, whose books and clocks this one goes on with. */
  constructor(dial: Dial, to: Address, before?: Visitor) {
    this.books = before?.books ?? new Map();
    this.initialClk = before?.initialClk ?? null;
    this.clk = before?.clk ?? null;
    this.#socket = dial(to, {
      open: () => this.#write(),
      data: (_socket, bytes) => this.#data(this.#utf8.decode(bytes, { stream: true })),
      drain: () => this.#write(),
      close: (_socket, error) => {
        this.closed = error ?? "quietly";
      },
    });
  }

  get last(): ExchangeMessage {
    return this.messages.at(-1) as ExchangeMessage;
  }

  /** Sends a request, or a line as it is. */
  send(request: Record<string, unknown> | string | Uint8Array): void {
    const isLine = typeof request === "string" || request instanceof Uint8Array;
    const line = isLine ? Buffer.from(request as string) : Buffer.from(JSON.stringify(request));
    this.#unsent = Buffer.concat([this.#unsent, line, CRLF]);
    this.#write();
  }

  authenticate(appKey: string, session: string): void {
    this.send({ op: "authentication", id: 1, appKey, session });
  }

  /** Subscribes, going on from the clocks it has. */
  subscribe(fields: Record<string, unknown> = {}): void {
    const { initialClk, clk } = this;
    this.send({ op: "marketSubscription", id: 2, initialClk, clk, ...fields });
  }

  leave(): void {
    this.#socket.destroy();
  }

  #write(): void {
    this.#unsent = this.#unsent.subarray(this.#socket.write(this.#unsent));
  }

  #data(text: string): void {
    this.chunks.push(text);
    const lines = (this.#received + text).split("\r\n");
    this.#received = lines.pop() as string;
    for (const line of lines) this.#message(JSON.parse(line) as ExchangeMessage);
  }

  #message(message: ExchangeMessage): void {
    this.messages.push(message);
    if (message.op !== "mcm") return;
    // A segmented message counts when its end is there; until then a cut leaves books and clocks as they were.
    this.#segments.push(...(message.mc ?? []));
    if (message.segmentType === "SEG_START" || message.segmentType === "SEG") return;
    if (message.ct === "SUB_IMAGE") this.books.clear();
    for (const change of this.#segments) this.#book(change.id).apply(change);
    this.#segments = [];
    this.initialClk = message.initialClk ?? this.initialClk;
    this.clk = message.clk ?? this.clk;
  }

  #book(id: string): NaiveBook {
    let book = this.books.get(id);
    if (book === undefined) this.books.set(id, (book = new NaiveBook(id)));
    return book;
  }
}
