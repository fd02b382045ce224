import { TextWriter } from "../wire/text.ts";
import type { Framing } from "./outlet.ts";
import type { Session } from "./session.ts";
import type { Subscription } from "./subscription.ts";

/** How a message goes on after its `{"op":"mcm","id":7`, the same for everybody in a flush. */
export interface Head {
  readonly text: string;
  readonly pt: number;
  /** What its clk says; null when it has none. */
  readonly sequence: number | null;
}

/** What a flush asks of the hub. */
export interface FlushHost {
  readonly status: number | null;
  /** The room that a segment has for entries. */
  readonly segmentRoom: number;
  headText(sequence: number | null, pt: number, said: number | null): string;
}

/** Some messages, framed. */
export interface Frames {
  readonly count: number;
  /** Up to which sequence they tell; null: they have no clk. */
  readonly told: number | null;
}

/** Put together once, for a chain of parts. */
interface Made {
  readonly id: number;
  readonly framing: Framing;
  readonly firstPart: number;
  readonly frames: Frames;
  readonly bytes: Buffer;
}

/** All entries of one flush together; beyond it users are caught up one by one. */
const SLAB_BYTES_MAX = 4 * 1024 * 1024;
/** Entries due to users, counted once for each; as with the slab. 64 MB. */
const PARTS_MAX = 4 * 1024 * 1024;
/** Room for so many parts is kept from one flush to the next. */
const PARTS_KEPT = 64 * 1024;
/** A part's words: which head it stands under, where its entry lies among the entries, how long that is, and which part comes next (-1: none). */
const WORDS = 4;
const [OFFSET, LENGTH, NEXT] = [1, 2, 3];
const MC = ',"mc":[';
const COMMA = 44;

/**
 * What is to be written next, and to whom: entries, each encoded once, and for each subscription a chain of parts that says which of them it gets. The chains lie in
 * one array, as a flush must not make an object for each user; users in a row who get the very same bytes get them put together once.
 */
export class Flush {
  /** Sessions with something pending, in the order in which they came to have it. */
  readonly sessions: Session[] = [];
  readonly entries = new TextWriter();
  readonly #heads: Head[] = [];
  #parts = new Int32Array(PARTS_KEPT * WORDS);
  #count = 0;
  readonly #host: FlushHost;

  readonly #out = new TextWriter();
  /** What was put together last, and for whom: it may be the same for the next one. */
  #made: Made | null = null;

  constructor(host: FlushHost) {
    this.#host = host;
  }

  /** There is no room for more entries. */
  get isFull(): boolean {
    return this.entries.length > SLAB_BYTES_MAX;
  }

  /** Puts down a head for the parts to come; returns its number. */
  head(text: string, pt: number, sequence: number | null): number {
    return this.#heads.push({ text, pt, sequence }) - 1;
  }

  /** Puts one of the entries down for a subscription. False: there is no room for it. */
  put(subscription: Subscription, head: number, offset: number, length: number): boolean {
    if (this.#count === PARTS_MAX * WORDS) return false;
    const part = this.#count;
    if (part === this.#parts.length) this.#grow();
    const parts = this.#parts;
    parts[part] = head;
    parts[part + OFFSET] = offset;
    parts[part + LENGTH] = length;
    parts[part + NEXT] = -1;
    this.#count += WORDS;
    if (subscription.firstPart < 0) this.#begin(subscription, part);
    else parts[subscription.lastPart + NEXT] = part;
    subscription.lastPart = part;
    return true;
  }

  #begin(subscription: Subscription, part: number): void {
    const { session } = subscription;
    subscription.firstPart = part;
    if (session.isDirty) return;
    session.isDirty = true;
    this.sessions.push(session);
  }

  /** Appends what a subscription has pending, as its door frames it. */
  append(subscription: Subscription, out: TextWriter): Frames {
    return this.#assemble(subscription, subscription.session.outlet.framing, out);
  }

  /** The same for one who is told nothing else at that time; good until the next call. */
  framed(subscription: Subscription): Pick<Made, "bytes" | "frames"> {
    const { firstPart, id, session } = subscription;
    const { framing } = session.outlet;
    const made = this.#made;
    if (made !== null && made.id === id && made.framing === framing && this.#isSame(made.firstPart, firstPart))
      return made;
    this.#out.clear();
    const frames = this.#assemble(subscription, framing, this.#out);
    const now: Made = { id, framing, firstPart, frames, bytes: this.#out.bytes.subarray(0, this.#out.length) };
    // In segments it is not the same for everybody.
    this.#made = now.bytes.length <= this.#host.segmentRoom ? now : null;
    return now;
  }

  /** Everything was written. */
  clear(): void {
    this.sessions.length = 0;
    this.entries.clear();
    this.#heads.length = 0;
    this.#count = 0;
    this.#made = null;
    if (this.#parts.length > PARTS_KEPT * WORDS) this.#parts = new Int32Array(PARTS_KEPT * WORDS);
  }

  #grow(): void {
    const larger = new Int32Array(this.#parts.length * 2);
    larger.set(this.#parts);
    this.#parts = larger;
  }

  /** Two chains say the same. */
  #isSame(one: number, other: number): boolean {
    const parts = this.#parts;
    let [a, b] = [one, other];
    while (a >= 0 && b >= 0) {
      if (parts[a] !== parts[b] || parts[a + OFFSET] !== parts[b + OFFSET]) return false;
      a = parts[a + NEXT] as number;
      b = parts[b + NEXT] as number;
    }
    return a === b;
  }

  /** One message for each head that the chain has parts under. */
  #assemble(subscription: Subscription, framing: Framing, out: TextWriter): Frames {
    const parts = this.#parts;
    let told: number | null = null;
    let count = 0;
    for (let first = subscription.firstPart; first >= 0; ) {
      const number = parts[first] as number;
      let length = 0;
      let end = first;
      for (; end >= 0 && parts[end] === number; end = parts[end + NEXT] as number)
        length += (parts[end + LENGTH] as number) + 1;
      const head = this.#heads[number] as Head;
      if (length <= this.#host.segmentRoom || !subscription.terms.segmentationEnabled) {
        this.#frame(subscription.id, framing, head.text, first, end, length, out);
        count++;
      } else count += this.#segments(subscription, framing, head, first, end, out);
      told = head.sequence ?? told;
      first = end;
    }
    return { count, told };
  }

  /**
   * One message in several, none longer than a segment may be; the clk is the last one's. A market is never cut, however long: clients in wide use show what they
   * have after each segment, and would show the half of it. Returns how many there are.
   */
  #segments(
    { id, said }: Subscription,
    framing: Framing,
    head: Head,
    from: number,
    end: number,
    out: TextWriter,
  ): number {
    const { segmentRoom, status } = this.#host;
    const parts = this.#parts;
    // That all is well again is said with the last part.
    const before = this.#host.headText(null, head.pt, status ?? said);
    let count = 0;
    let first = from;
    let length = 0;
    for (let part = from; part !== end; part = parts[part + NEXT] as number) {
      const entry = (parts[part + LENGTH] as number) + 1;
      if (length > 0 && length + entry > segmentRoom) {
        const type = count++ === 0 ? "SEG_START" : "SEG";
        this.#frame(id, framing, `${before},"segmentType":"${type}"`, first, part, length, out);
        first = part;
        length = 0;
      }
      length += entry;
    }
    const text = count === 0 ? head.text : `${head.text},"segmentType":"SEG_END"`;
    this.#frame(id, framing, text, first, end, length, out);
    return count + 1;
  }

  /** Appends a message with the entries from one part to another, `length` bytes with a comma after each. */
  #frame(id: number, framing: Framing, head: string, from: number, end: number, length: number, out: TextWriter): void {
    const parts = this.#parts;
    const prefix = prefixOf(id);
    const total = prefix.length + head.length + MC.length + length + 1;
    out.reserve(framing.overheadMax + total);
    out.length += framing.before(out.bytes, out.length, total);
    out.ascii(prefix);
    out.ascii(head);
    out.ascii(MC);
    for (let part = from; part !== end; part = parts[part + NEXT] as number) {
      if (part !== from) out.byte(COMMA);
      const offset = parts[part + OFFSET] as number;
      out.copy(this.entries.bytes, offset, offset + (parts[part + LENGTH] as number));
    }
    out.ascii("]}");
    out.reserve(framing.overheadMax);
    out.length += framing.after(out.bytes, out.length);
  }
}

/** How each message of a subscription begins. */
export function prefixOf(id: number): string {
  return `{"op":"mcm","id":${id}`;
}
