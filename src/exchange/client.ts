import { ChangeBatch } from "../market/batch.ts";
import type { MarketFilter } from "../market/filter.ts";
import { FIELD, type FieldName, type FieldSet, type Sink, type Source, type SourceState } from "../market/types.ts";
import { decodeServerLine, type ServerMessage } from "../wire/esa.ts";
import type { Marks } from "./connection.ts";
import type { Post } from "./identity.ts";
import { ExchangeStream, type ExchangeWorld, type StreamOptions } from "./stream.ts";

export interface ExchangeClientOptions extends StreamOptions {
  readonly filter: MarketFilter;
  readonly fields: FieldSet;
  readonly ladderLevels: number;
  /** 0 to 120,000: how long the exchange may hold changes back to merge them. */
  readonly conflateMs: number;
}

/** What fits the exchange's own limits and advice; everything but who, where and what. */
export const EXCHANGE_DEFAULTS = {
  ladderLevels: 10,
  conflateMs: 0,
  lineBytesMax: 16 * 1024 * 1024,
  settings: {
    heartbeatMs: 5_000,
    silenceFactor: 2,
    requestMs: 30_000,
    steadyMs: 10_000,
    refusedTokensMax: 3,
    waits: {
      retry: { firstMs: 1_000, maxMs: 60_000 },
      later: { firstMs: 60_000, maxMs: 120_000 },
      slow: { firstMs: 600_000, maxMs: 600_000 },
    },
  },
} as const satisfies Partial<ExchangeClientOptions>;

/** What the house asks of what carries the exchange's markets: one connection, or several. */
export interface Upstream extends Source {
  readonly sourceState: SourceState;
  /** Everything that is to be carried has come once. */
  readonly isComplete: boolean;
  readonly messages: number;
  readonly connects: number;
  readonly images: number;
  readonly resumes: number;
  readonly bytes: number;
  readonly invalidLines: number;
  /** Where each connection would resume from, as of the last batch; null: not all can. Absent where that is another process's business. */
  readonly allMarks?: readonly Marks[] | null;
  /** Present where only wanted markets are carried: somebody wants these, until the function that comes back is called. */
  readonly want?: (filter: MarketFilter) => () => void;
}

/** The most that one message in segments may come to: 256 MB of tape. */
const GROUP_WORDS_MAX = 32 * 1024 * 1024;

/** The one upstream as a `Source` of market changes. */
export class ExchangeClient extends ExchangeStream implements Upstream {
  readonly #options: ExchangeClientOptions;
  readonly #batch: ChangeBatch;
  #filter: MarketFilter;
  #sink: Sink | null = null;
  #isComplete: boolean;
  /** An image in segments was begun, and its end is still to come. */
  #isMidImage = false;
  /** Changes in segments, until they are whole: half of them would be a state that never was. */
  readonly #group = new ChangeBatch();
  #isCollecting = false;

  constructor(options: ExchangeClientOptions, world: ExchangeWorld) {
    const batch = new ChangeBatch();
    super(options, world, batch);
    this.#options = options;
    this.#filter = options.filter;
    this.#batch = batch;
    this.#isComplete = options.resumeFrom !== undefined;
  }

  start(sink: Sink): void {
    if (this.#sink !== null) throw new Error(`${this.name} is started already`);
    this.#sink = sink;
    this.begin();
  }

  stop(): void {
    this.#sink = null;
    this.halt();
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  get allMarks(): readonly Marks[] | null {
    return this.marks === null ? null : [this.marks];
  }

  /** Other markets from now on: what is subscribed to is replaced by them, and their image comes. */
  setFilter(filter: MarketFilter): void {
    this.#filter = filter;
    this.criteriaChanged();
  }

  protected subscription(): object {
    const { fields, ladderLevels, conflateMs, settings } = this.#options;
    return {
      op: "marketSubscription",
      marketFilter: this.#filter,
      marketDataFilter: { fields: fieldNames(fields), ladderLevels },
      segmentationEnabled: true,
      conflateMs,
      heartbeatMs: settings.heartbeatMs,
    };
  }

  protected decode(bytes: Uint8Array, start: number, end: number): ServerMessage {
    return decodeServerLine(bytes, start, end, this.#batch);
  }

  protected deliver(): void {
    const { kind, segment } = this.#batch;
    if (kind === "heartbeat") return this.#sink?.batch(this.#batch);
    if (segment === "start" && kind !== "image") return this.#collect();
    // What comes whole in between is taken in its turn: the segments before it are older.
    if (this.#isCollecting && kind !== "image") return this.#goOn();
    if (kind === "image") this.#isCollecting = false;
    this.#isMidImage = segment === "start" || segment === "middle";
    this.#sink?.batch(this.#batch);
  }

  #collect(): void {
    const { kind, pt, clk, initialClk } = this.#batch;
    this.#isMidImage = false;
    this.#isCollecting = true;
    this.#group.clear();
    Object.assign(this.#group, { kind, pt, clk, initialClk });
    this.#group.append(this.#batch);
  }

  #goOn(): void {
    const group = this.#group;
    const { segment, pt, clk, initialClk, status } = this.#batch;
    group.append(this.#batch);
    Object.assign(group, { pt, clk: clk ?? group.clk, initialClk: initialClk ?? group.initialClk, status });
    if (group.length > GROUP_WORDS_MAX)
      return this.garbled(`a message in segments of more than ${GROUP_WORDS_MAX} words`);
    if (segment !== "end") return;
    this.#isCollecting = false;
    this.#sink?.batch(group);
    group.clear();
  }

  /**
   * What came of changes in segments is forgotten: they come anew. An image is made of whole markets, so what came of it stays; but nobody is to wait for its end,
   * with other connections' markets, until there is a connection again.
   */
  protected override offline(): void {
    this.#isCollecting = false;
    if (!this.#isMidImage) return;
    this.#isMidImage = false;
    const end = new ChangeBatch();
    end.pt = this.lastPublishTime ?? 0;
    this.#sink?.batch(end);
    this.#sink?.settled();
  }

  protected settled(): void {
    this.#sink?.settled();
  }

  protected told(state: SourceState, reason: string): void {
    // Before everything has come once there is nothing to say but that it has not.
    if (state !== "down") this.#isComplete = true;
    this.#sink?.state(state, reason);
  }
}

function fieldNames(fields: FieldSet): FieldName[] {
  return (Object.keys(FIELD) as FieldName[]).filter((name) => (fields & FIELD[name]) !== 0);
}

/** An answer of the identity service is a few hundred bytes. */
const ANSWER_BYTES_MAX = 64 * 1024;

/** Bun's `fetch` as a `Post`: certificates verified (by `ca` where given), a client certificate shown where the request has one, answers bounded. */
export function bunPost(ca?: string, bytesMax = ANSWER_BYTES_MAX): Post {
  return async ({ url, headers, body, certificate, signal }) => {
    // Said, so that NODE_TLS_REJECT_UNAUTHORIZED in the environment changes nothing.
    const tls = { rejectUnauthorized: true, ...(ca !== undefined && { ca }), ...certificate };
    const response = await Bun.fetch(url, { method: "POST", headers, body, signal, redirect: "manual", tls });
    return { status: response.status, body: await text(response, bytesMax) };
  };
}

async function text(response: Response, bytesMax: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response.body ?? []) {
    length += piece.length;
    if (length > bytesMax) throw new Error(`the answer has more than ${bytesMax} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}
