import type { Clock, Timer } from "../base/clock.ts";
import { clkOf } from "./exchange-clk.ts";
import { type SegmentType, segments } from "./exchange-segments.ts";

/** Between two turns of the event loop, so that an image of 20,000 markets stalls nobody. */
const SEGMENTS_PER_TURN = 16;

/** What the messages of a subscription need of the exchange around them. */
export interface TalkFloor {
  readonly clock: Clock;
  readonly segmentBytes: number;
  readonly knobs: { readonly status: number | null; readonly heartbeatsPaused: boolean };
  /** What a message that nobody published (image, heartbeat, merged change) says as its publish time. */
  pt(): number;
}

/** What a subscription needs of its connection. */
export interface Wire {
  /** What was written was not all taken yet. */
  readonly full: boolean;
  write(line: string): void;
}

export interface SubscriptionTerms {
  readonly id: number;
  readonly initialClk: string;
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
}

/** The stream's `op`, and the key that its entries stand under. */
export type StreamName =
  | { readonly op: "mcm"; readonly key: "mc" }
  | { readonly op: "ocm"; readonly key: "oc" }
  | { readonly op: "rcm"; readonly key: "rc" }
  | { readonly op: "ccm"; readonly key: "cc" };

export type ChangeType = "SUB_IMAGE" | "RESUB_DELTA" | null;

/** What is to be said, and who is told when it has been. */
export interface TalkHooks {
  /** How far a heartbeat may say that everything has been told. */
  heartbeatPosition(): number;
  /** The message is out whole. */
  said(): void;
}

/** The messages of one subscription: segments while the socket has room, clk where it belongs, heartbeats when there is silence. */
export class Talk {
  /** Everything up to this has been written. */
  position: number;
  readonly #floor: TalkFloor;
  readonly #wire: Wire;
  readonly #stream: StreamName;
  readonly #terms: SubscriptionTerms;
  readonly #hooks: TalkHooks;
  #saying: { readonly lines: Iterator<string>; readonly to: number } | null = null;
  #wroteAt: number;
  #turn: Timer | null = null;
  #beat: Timer;

  constructor(
    floor: TalkFloor,
    wire: Wire,
    stream: StreamName,
    terms: SubscriptionTerms,
    position: number,
    hooks: TalkHooks,
  ) {
    this.#floor = floor;
    this.#wire = wire;
    this.#stream = stream;
    this.#terms = terms;
    this.#hooks = hooks;
    this.position = position;
    this.#wroteAt = floor.clock.monotonic();
    this.#beat = floor.clock.after(terms.heartbeatMs, () => this.#heartbeat());
  }

  /** A message is under way, or waits for room. */
  get isBusy(): boolean {
    return this.#saying !== null || this.#wire.full;
  }

  /** A message is under way. */
  get isSaying(): boolean {
    return this.#saying !== null;
  }

  /** Begins a message about everything up to `to`; `said` is called when it is out, which may be before this returns. */
  say(ct: ChangeType, texts: Iterable<string>, pt: number, to: number): void {
    this.#saying = { lines: this.#lines(ct, texts, pt, to), to };
    this.pump();
  }

  /** Writes segments while there is room; a message that turns out to hold nothing asked for writes nothing. */
  pump(): void {
    for (let n = 0; this.#saying !== null && !this.#wire.full; n++) {
      if (n === SEGMENTS_PER_TURN) {
        this.#turn = this.#floor.clock.after(0, () => this.pump());
        return;
      }
      const next = this.#saying.lines.next();
      if (next.done !== true) {
        this.#write(next.value);
        continue;
      }
      this.position = this.#saying.to;
      this.#saying = null;
      this.#hooks.said();
    }
  }

  stop(): void {
    for (const timer of [this.#turn, this.#beat]) timer?.cancel();
    this.#saying = null;
  }

  *#lines(ct: ChangeType, texts: Iterable<string>, pt: number, to: number): Generator<string> {
    const bytesMax = this.#terms.segmentationEnabled ? this.#floor.segmentBytes : Number.POSITIVE_INFINITY;
    for (const { type, entries } of segments(texts, bytesMax)) {
      if (entries !== "" || ct !== null) yield this.#line(ct, type, entries, pt, to);
    }
  }

  /** clk and initialClk stand where everything before them has been said: on whole messages and at the end of segments. */
  #line(ct: ChangeType, segmentType: SegmentType, entries: string, pt: number, to: number): string {
    const { id, initialClk, conflateMs, heartbeatMs } = this.#terms;
    const first = segmentType === null || segmentType === "SEG_START";
    const last = segmentType === null || segmentType === "SEG_END";
    const head = JSON.stringify({
      op: this.#stream.op,
      id,
      ...(ct !== null && last && { initialClk }),
      ...(last && { clk: clkOf(to) }),
      ...(ct !== null && first && { conflateMs, heartbeatMs }),
      pt,
      ct: ct ?? undefined,
      segmentType: segmentType ?? undefined,
      status: this.#floor.knobs.status ?? undefined,
    });
    return entries === "" ? head : `${head.slice(0, -1)},"${this.#stream.key}":[${entries}]}`;
  }

  #heartbeat(): void {
    const { clock, knobs } = this.#floor;
    const { heartbeatMs, id } = this.#terms;
    const silentMs = clock.monotonic() - this.#wroteAt;
    const due = silentMs >= heartbeatMs;
    this.#beat = clock.after(due ? heartbeatMs : heartbeatMs - silentMs, () => this.#heartbeat());
    if (!due || knobs.heartbeatsPaused || this.isBusy) return;
    const clk = clkOf(this.#hooks.heartbeatPosition());
    const status = knobs.status ?? undefined;
    this.#write(JSON.stringify({ op: this.#stream.op, id, clk, pt: this.#floor.pt(), ct: "HEARTBEAT", status }));
  }

  #write(line: string): void {
    this.#wroteAt = this.#floor.clock.monotonic();
    this.#wire.write(line);
  }
}
