import type { MarketFacts } from "./filter.ts";
import type { LadderKind, MarketId, ScalarKind } from "./types.ts";

/** What a change message is for, from its `ct`: a start image, the answer to a resume, a heartbeat, or a plain update. */
export type BatchKind = "image" | "resume" | "heartbeat" | "update";
/** Where a line stands in a segmented message. */
export type Segment = "whole" | "start" | "middle" | "end";

/** What the tape holds; `ChangeReader` in the cache walks it. Each mark is followed by the words named here. */
export const MARK = {
  /** index into `ids`, flags (bit 0 `img`, bit 1 `con`) */
  market: 1,
  /** value */
  marketTv: 2,
  /** index into `definitions` */
  definition: 3,
  /** id, hc */
  runner: 4,
  /** kind, value */
  scalar: 5,
  /** kind, count, then count × (price, size); a count of 0 is an empty list as sent */
  ladder: 6,
  /** kind, count, then count × (level, price, size) */
  levels: 7,
} as const;

export const MARKET_IMG = 1;
export const MARKET_CON = 2;

/**
 * One change message of any source, in the exchange's vocabulary: the one form in which changes travel inside Oddswire.
 *
 * It is a tape, not a tree: marks and numbers one after the other in one Float64Array, so that decoding a message allocates nothing
 * but its ids and definitions (a tree of objects cost 4 to 6 times as much, see docs/BENCHMARKS.md). A source fills it with the methods below in
 * the order market → (tv, definition, runners); a runner → (scalars, ladders); and reuses it for the next message.
 * Numbers are plain numbers; the strings "NaN" and "Infinity" that the exchange sends for spn and spf are NaN and Infinity here.
 */
export class ChangeBatch {
  kind: BatchKind = "update";
  segment: Segment = "whole";
  /** The source's publish time, milliseconds since the Unix epoch. */
  pt = 0;
  /** The source's own clk and initialClk, null when the message had none. */
  clk: string | null = null;
  initialClk: string | null = null;
  /** 503 when the source says that its data are unreliable, else null. */
  status: number | null = null;
  /** What the source says is in force, null when it says nothing. */
  conflateMs: number | null = null;
  heartbeatMs: number | null = null;
  /** The subscription's id as the source repeats it, null when absent. */
  id: number | null = null;

  tape = new Float64Array(1024);
  /** Words of `tape` in use. */
  length = 0;
  readonly ids: MarketId[] = [];
  /** Market definitions as the source wrote them: JSON text, ASCII only. */
  readonly definitions: string[] = [];
  /** What each definition says of the facts that filters and lists go by. */
  readonly facts: MarketFacts[] = [];
  /** How many market changes (`mc` entries) it holds. */
  changes = 0;
  /** Its number, where whoever sends it has numbered it; null: the next one. Stands until another is set. */
  sequence: number | null = null;
  /** Which of the source's streams it came by; groups and images are each stream's own. Stands until another is set. */
  shard = 0;

  #marketAt = 0;
  #runnerAt = 0;
  #listAt = 0;

  /** Makes it an empty update again. */
  clear(): void {
    this.kind = "update";
    this.segment = "whole";
    this.pt = 0;
    this.clk = this.initialClk = this.status = this.conflateMs = this.heartbeatMs = this.id = null;
    this.length = 0;
    // Lists of one or two, mostly: taking those out costs less than setting a length.
    while (this.ids.length > 0) this.ids.pop();
    while (this.definitions.length > 0) this.definitions.pop();
    while (this.facts.length > 0) this.facts.pop();
    this.changes = 0;
  }

  /** Begins a market change; the id may come later, by `marketId`. */
  market(id: MarketId = "", img = false, con = false): void {
    this.reserve(3);
    this.#marketAt = this.length;
    this.tape[this.length++] = MARK.market;
    this.tape[this.length++] = this.changes++;
    this.tape[this.length++] = (img ? MARKET_IMG : 0) | (con ? MARKET_CON : 0);
    this.ids.push(id);
  }

  /** Names the current market: JSON keys come in any order. */
  marketId(id: MarketId): void {
    this.ids[this.ids.length - 1] = id;
  }

  /** Adds `MARKET_IMG` or `MARKET_CON` to the current market. */
  marketFlag(flag: number): void {
    this.tape[this.#marketAt + 2] = (this.tape[this.#marketAt + 2] as number) | flag;
  }

  marketTv(value: number): void {
    this.reserve(2);
    this.tape[this.length++] = MARK.marketTv;
    this.tape[this.length++] = value;
  }

  /** The whole definition as JSON text, ASCII only (`\u` escapes), checked to be a JSON object by whoever reads it, with the facts it holds. */
  definition(json: string, facts: MarketFacts): void {
    this.reserve(2);
    this.tape[this.length++] = MARK.definition;
    this.tape[this.length++] = this.definitions.length;
    this.definitions.push(json);
    this.facts.push(facts);
  }

  /** A definition that stands at `index` of the lists of another batch, which this one's tape is played with. */
  definitionAt(index: number): void {
    this.reserve(2);
    this.tape[this.length++] = MARK.definition;
    this.tape[this.length++] = index;
  }

  /** Adds the changes of another batch behind its own. */
  append(other: ChangeBatch): void {
    const [ids, definitions] = [this.changes, this.definitions.length];
    let i = this.length;
    this.copy(other.tape, 0, other.length);
    for (; i < this.length; i += wordsAt(this.tape, i)) {
      if (this.tape[i] === MARK.market) (this.tape[i + 1] as number) += ids;
      if (this.tape[i] === MARK.definition) (this.tape[i + 1] as number) += definitions;
    }
    for (const id of other.ids) this.ids.push(id);
    for (const definition of other.definitions) this.definitions.push(definition);
    for (const facts of other.facts) this.facts.push(facts);
    this.changes += other.changes;
  }

  /** Takes words of another tape over as they are. */
  copy(tape: Float64Array, from: number, to: number): void {
    this.reserve(to - from);
    this.tape.set(tape.subarray(from, to), this.length);
    this.length += to - from;
  }

  /** Begins a runner change of the current market. */
  runner(id = 0, hc = 0): void {
    this.reserve(3);
    this.#runnerAt = this.length;
    this.tape[this.length++] = MARK.runner;
    this.tape[this.length++] = id;
    this.tape[this.length++] = hc;
  }

  runnerId(id: number): void {
    this.tape[this.#runnerAt + 1] = id;
  }

  runnerHc(hc: number): void {
    this.tape[this.#runnerAt + 2] = hc;
  }

  scalar(kind: ScalarKind, value: number): void {
    this.reserve(3);
    this.tape[this.length++] = MARK.scalar;
    this.tape[this.length++] = kind;
    this.tape[this.length++] = value;
  }

  /** Begins a ladder (keyed by price: `level` follows with price, size; keyed by level: `entry` with level, price, size). */
  ladder(kind: LadderKind, keyedByLevel: boolean): void {
    this.reserve(3);
    this.#listAt = this.length;
    this.tape[this.length++] = keyedByLevel ? MARK.levels : MARK.ladder;
    this.tape[this.length++] = kind;
    this.tape[this.length++] = 0;
  }

  level(price: number, size: number): void {
    this.reserve(2);
    this.tape[this.length++] = price;
    this.tape[this.length++] = size;
    (this.tape[this.#listAt + 2] as number)++;
  }

  entry(level: number, price: number, size: number): void {
    this.reserve(3);
    this.tape[this.length++] = level;
    this.tape[this.length++] = price;
    this.tape[this.length++] = size;
    (this.tape[this.#listAt + 2] as number)++;
  }

  /** Makes room for `words` more. */
  reserve(words: number): void {
    if (this.length + words <= this.tape.length) return;
    const larger = new Float64Array(Math.max(this.tape.length * 2, this.length + words));
    larger.set(this.tape.subarray(0, this.length));
    this.tape = larger;
  }
}

/** How many words the mark at `i` and what follows it take. */
export function wordsAt(tape: Float64Array, i: number): number {
  switch (tape[i]) {
    case MARK.ladder:
      return 3 + 2 * (tape[i + 2] as number);
    case MARK.levels:
      return 3 + 3 * (tape[i + 2] as number);
    case MARK.marketTv:
    case MARK.definition:
      return 2;
    default:
      return 3;
  }
}
