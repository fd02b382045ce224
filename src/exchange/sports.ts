import type { SourceState } from "../market/types.ts";
import type { ServerMessage } from "../wire/esa.ts";
import { decodeSportLine, SPORTS, type Sport, SportBatch } from "../wire/sports.ts";
import { ExchangeStream, type ExchangeWorld, type StreamOptions } from "./stream.ts";

/** Where races or cricket go. */
export interface SportSink {
  /** One change message, one without changes too; it is the stream's again when the call returns. */
  batch(batch: SportBatch): void;
  /** `reason` is for people. */
  state(state: SourceState, reason: string): void;
}

export interface SportOptions extends StreamOptions {
  readonly sport: Sport;
  /** So long a silence is a dead connection. Null: two of the heartbeats that the exchange says it sends; as long as it says nothing of any, `SILENCE_MS`. */
  readonly silenceMs: number | null;
}

/** Clients give up after 64 s without a byte (betfairlightweight's default) and live with it: so long the exchange is never silent. */
export const SILENCE_MS = 60_000;

/**
 * The races or the cricket matches of the account, all of them: the request has no filter, and no other key that the exchange might not know.
 *
 * How such a stream begins is not documented. Some recordings begin with an image, most with whatever changes first; between races there may be nothing but
 * heartbeats for hours, or nothing at all. So the exchange's SUCCESS is taken for the image that the connection machine waits for, an empty one, and where
 * that does not come the first change or heartbeat. It makes no difference to whoever reads: an image here takes nothing back (`Games`).
 */
export class SportClient extends ExchangeStream {
  readonly sport: Sport;
  readonly #silenceMs: number | null;
  readonly #batch: SportBatch;
  #sink: SportSink | null = null;

  constructor(options: SportOptions, world: ExchangeWorld) {
    const batch = new SportBatch();
    const { settings, silenceMs, sport } = options;
    const heartbeatMs = (silenceMs ?? SILENCE_MS) / settings.silenceFactor;
    super({ ...options, settings: { ...settings, heartbeatMs } }, world, batch);
    this.sport = sport;
    this.#silenceMs = silenceMs;
    this.#batch = batch;
  }

  start(sink: SportSink): void {
    if (this.#sink !== null) throw new Error(`${this.name} is started already`);
    this.#sink = sink;
    this.begin();
  }

  /** Lets go of everything, the session too; no call to the sink afterwards. */
  stop(): void {
    this.#sink = null;
    this.halt();
  }

  protected subscription(): object {
    return { op: SPORTS[this.sport].subscription };
  }

  protected decode(bytes: Uint8Array, start: number, end: number): ServerMessage {
    const message = decodeSportLine(bytes, start, end, this.sport, this.#batch);
    if (this.#silenceMs !== null) this.#batch.heartbeatMs = null;
    return this.state.kind === "subscribing" ? this.#begins(message) : message;
  }

  #begins(message: ServerMessage): ServerMessage {
    const { kind } = this.#batch;
    if (message.kind === "change") {
      if (kind === "update" || kind === "heartbeat") this.#batch.kind = "image";
      return message;
    }
    const { subscription } = this.state.memory;
    if (message.kind !== "status" || message.statusCode !== "SUCCESS" || message.id !== subscription) return message;
    this.#batch.clear("image");
    return { kind: "change" };
  }

  protected deliver(): void {
    this.#sink?.batch(this.#batch);
  }

  protected settled(): void {}

  protected told(state: SourceState, reason: string): void {
    this.#sink?.state(state, reason);
  }
}
