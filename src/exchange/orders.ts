import type { SourceState } from "../market/types.ts";
import type { ServerMessage } from "../wire/esa.ts";
import { decodeOrderLine, OrderBatch, type OrderMarketChange } from "../wire/orders.ts";
import { ExchangeStream, type ExchangeWorld, type StreamOptions } from "./stream.ts";

/** Where the account's orders go. */
export interface OrderSink {
  /** One whole change message: segments are glued before. It is the stream's again when the call returns. */
  batch(batch: OrderBatch): void;
  /** All that came in one piece (one read of a socket) was handed over. */
  settled(): void;
  /** `reason` is for people. */
  state(state: SourceState, reason: string): void;
}

/** All segments of one message together; an account has some thousand orders of 300 bytes. */
const GROUP_BYTES_MAX = 64 * 1024 * 1024;

/** Segments that wait for their end. Whatever was begun on another connection is void. */
interface Group {
  readonly connection: number;
  readonly kind: OrderBatch["kind"];
  readonly markets: OrderMarketChange[];
  bytes: number;
}

/** The account's one order stream: everything, so that everybody can be given what is theirs. */
export class OrderClient extends ExchangeStream {
  readonly #options: StreamOptions;
  readonly #batch: OrderBatch;
  #group: Group | null = null;
  #sink: OrderSink | null = null;

  constructor(options: StreamOptions, world: ExchangeWorld) {
    const batch = new OrderBatch();
    super(options, world, batch);
    this.#options = options;
    this.#batch = batch;
  }

  start(sink: OrderSink): void {
    if (this.#sink !== null) throw new Error(`${this.name} is started already`);
    this.#sink = sink;
    this.begin();
  }

  /** Lets go of everything, the session too; no call to the sink afterwards. */
  stop(): void {
    this.#sink = null;
    this.#group = null;
    this.halt();
  }

  protected subscription(): object {
    return {
      op: "orderSubscription",
      orderFilter: { includeOverallPosition: true, partitionMatchedByStrategyRef: true },
      segmentationEnabled: true,
      conflateMs: 0,
      heartbeatMs: this.#options.settings.heartbeatMs,
    };
  }

  protected decode(bytes: Uint8Array, start: number, end: number): ServerMessage {
    const message = decodeOrderLine(bytes, start, end, this.#batch);
    return message.kind === "change" ? this.#collect(message, end - start) : message;
  }

  /** A message in segments is put together here and handed on with its last. */
  #collect(message: ServerMessage, bytes: number): ServerMessage {
    const { segment, kind, markets } = this.#batch;
    if (segment === "whole") return message;
    if (segment === "start") this.#group = { connection: this.connects, kind, markets: [], bytes: 0 };
    const group = this.#group;
    if (group === null || group.connection !== this.connects)
      return { kind: "invalid", reason: "a segment of a message that never began" };
    group.bytes += bytes;
    if (group.bytes > GROUP_BYTES_MAX)
      return { kind: "invalid", reason: `a segmented message of more than ${GROUP_BYTES_MAX} bytes` };
    group.markets.push(...markets);
    return message;
  }

  protected deliver(): void {
    const batch = this.#batch;
    if (batch.segment === "end" && this.#group !== null) {
      batch.markets = this.#group.markets;
      batch.kind = this.#group.kind;
      this.#group = null;
    }
    if (batch.segment === "whole" || batch.segment === "end") this.#sink?.batch(batch);
  }

  protected settled(): void {
    this.#sink?.settled();
  }

  protected told(state: SourceState, reason: string): void {
    this.#sink?.state(state, reason);
  }
}
