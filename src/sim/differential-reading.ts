import { type ExchangeMessage, Visitor } from "./exchange-visitor.ts";
import { type MarketChange, NaiveBook } from "./naive.ts";
import { wholeText } from "./oracle.ts";
import type { DoorName, TwoDoors } from "./two-doors.ts";

/** How a market changed by one message, as one sees it. */
export interface Seen {
  readonly text: string;
  readonly img: boolean;
  readonly con: boolean;
}

/** What a door said, with everything left out that may differ from door to door. */
export type Said =
  | { readonly kind: "status"; readonly fields: string; readonly failed: boolean }
  /** The answer to a subscription, segments glued. `markets`: those listed, in order of their ids. */
  | { readonly kind: "answer"; readonly ct: string; readonly terms: string; readonly markets: string }
  /** An image that nobody asked for. */
  | { readonly kind: "again" }
  | { readonly kind: "change"; readonly head: string; readonly markets: ReadonlyMap<string, Seen> }
  | { readonly kind: "closed" }
  /** Against a rule that holds at any door. */
  | { readonly kind: "broken"; readonly words: string };

/** What a client would resume with, and the books that belong to it. */
export interface Place {
  readonly initialClk: string;
  readonly clk: string;
  readonly books: readonly MarketChange[];
}

/** A planted mistake: what becomes of a message on its way to the reader, null: nothing; `n` counts them. */
export type Tamper = (message: ExchangeMessage, n: number) => ExchangeMessage | null;

/** A plain client at one of the doors: keeps books as existing clients do, and tells what was said. */
export class Reading {
  books = new Map<string, NaiveBook>();
  initialClk: string | null = null;
  clk: string | null = null;
  readonly #doors: TwoDoors;
  readonly #door: DoorName;
  readonly #name: string;
  readonly #tamper: Tamper | undefined;
  #visitor: Visitor | null = null;
  #read = 0;
  #messages = 0;
  #isOver = true;
  /** The subscription asked for last, and the one that was accepted last. */
  #asked: number | null = null;
  #id: number | null = null;
  #awaitsAnswer = false;
  /** Segments of a message that is not whole yet. */
  #segments: ExchangeMessage[] = [];

  constructor(doors: TwoDoors, door: DoorName, name: string, tamper?: Tamper) {
    this.#doors = doors;
    this.#door = door;
    this.#name = name;
    this.#tamper = tamper;
  }

  get isOpen(): boolean {
    return this.#visitor !== null && this.#visitor.closed === null;
  }

  get isSubscribed(): boolean {
    return this.isOpen && this.#id !== null && !this.#awaitsAnswer;
  }

  get place(): Place | null {
    const { initialClk, clk, books } = this;
    if (initialClk === null || clk === null) return null;
    return { initialClk, clk, books: [...books.values()].map((book) => book.image()) };
  }

  connect(): void {
    this.#visitor?.leave();
    const { dial, at } = this.#doors.dial(this.#door, this.#name);
    this.#visitor = new Visitor(dial, at);
    this.#read = 0;
    this.#isOver = this.#awaitsAnswer = false;
    this.#asked = this.#id = null;
    this.#segments = [];
  }

  send(request: Record<string, unknown>): void {
    if (request.op === "marketSubscription") this.#asked = request.id as number;
    this.#visitor?.send(request);
  }

  /** Goes back to what was known then. */
  restore(place: Place): void {
    this.books = new Map();
    for (const image of place.books) this.#apply(image);
  }

  /** What was said since last asked. */
  take(): Said[] {
    const visitor = this.#visitor;
    if (visitor === null) return [];
    const said = visitor.messages.slice(this.#read).flatMap((message) => {
      const tampered = this.#tamper === undefined ? message : this.#tamper(message, ++this.#messages);
      return tampered === null ? [] : this.#message(tampered);
    });
    this.#read = visitor.messages.length;
    if (visitor.closed === null || this.#isOver) return said;
    this.#isOver = true;
    return [...said, { kind: "closed" }];
  }

  #message(message: ExchangeMessage): Said[] {
    if (message.op === "status") return this.#status(message);
    if (message.op === "connection") return [];
    if (message.op !== "mcm") return broken(`an op that there is not: ${message.op}`);
    if (message.id !== this.#id)
      return broken(`a change of subscription ${message.id}, where ${this.#id} is asked for`);
    if (message.ct === "HEARTBEAT") return heartbeat(message);
    return this.#segment(message);
  }

  #status(message: ExchangeMessage): Said[] {
    const { id, statusCode, errorCode, connectionClosed, connectionsAvailable } = message;
    const fields = JSON.stringify({ id, statusCode, errorCode, connectionClosed, connectionsAvailable });
    const failed = statusCode !== "SUCCESS";
    if (id === this.#asked && !failed) {
      this.#id = id as number;
      this.#awaitsAnswer = true;
      this.#segments = [];
    }
    return [{ kind: "status", fields, failed }];
  }

  /** Glues a segmented message. Its clks stand at the end only, since before it has not been said whole. */
  #segment(message: ExchangeMessage): Said[] {
    const { segmentType, clk, initialClk } = message;
    const begins = segmentType === undefined || segmentType === "SEG_START";
    const ends = segmentType === undefined || segmentType === "SEG_END";
    if (begins !== (this.#segments.length === 0)) return broken(`${segmentType ?? "a whole message"} out of turn`);
    if (ends !== (clk !== undefined)) return broken(`clk ${clk} in ${segmentType ?? "a whole message"}`);
    if (!ends && initialClk !== undefined) return broken(`initialClk in ${segmentType}`);
    this.#segments.push(message);
    if (!ends) return [];
    return this.#whole(this.#segments.splice(0));
  }

  #whole(segments: readonly ExchangeMessage[]): Said[] {
    const [first, last] = [segments[0], segments.at(-1)] as [ExchangeMessage, ExchangeMessage];
    const changes = segments.flatMap(({ mc }) => mc ?? []);
    this.initialClk = last.initialClk ?? this.initialClk;
    this.clk = last.clk ?? this.clk;
    if (first.ct === undefined) return this.#change(first, changes);
    if (first.ct === "SUB_IMAGE") this.books = new Map();
    this.#seen(changes);
    const isFirst = ({ id }: MarketChange, i: number) => changes.findIndex((each) => each.id === id) === i;
    const bare = first.ct === "SUB_IMAGE" && changes.filter(isFirst).find(({ img }) => img !== true);
    if (bare) return broken(`an image of ${bare.id} without img`);
    if (last.initialClk === undefined) return broken(`${first.ct} without initialClk`);
    if (!this.#awaitsAnswer) return [{ kind: "again" }];
    this.#awaitsAnswer = false;
    const { id, conflateMs, heartbeatMs } = first;
    const markets = [...new Set(changes.map((change) => change.id))].sort();
    return [
      { kind: "answer", ct: first.ct, terms: JSON.stringify({ id, conflateMs, heartbeatMs }), markets: markets.join() },
    ];
  }

  #change({ id, pt, status }: ExchangeMessage, changes: readonly MarketChange[]): Said[] {
    if (this.#awaitsAnswer) return broken("a change before the image");
    const markets = this.#seen(changes);
    return markets.size === 0 ? [] : [{ kind: "change", head: JSON.stringify({ id, pt, status }), markets }];
  }

  /** Applies changes; which markets look different now. */
  #seen(changes: readonly MarketChange[]): Map<string, Seen> {
    const touched = new Map<string, { before: string; img: boolean; con: boolean }>();
    for (const change of changes) {
      const seen = touched.get(change.id) ?? { before: this.#text(change.id), img: false, con: false };
      touched.set(change.id, { ...seen, img: seen.img || change.img === true, con: seen.con || change.con === true });
      this.#apply(change);
    }
    const seen = new Map<string, Seen>();
    for (const id of [...touched.keys()].sort()) {
      const { before, img, con } = touched.get(id) as { before: string; img: boolean; con: boolean };
      const text = this.#text(id);
      if (text !== before) seen.set(id, { text, img, con });
    }
    return seen;
  }

  #text(id: string): string {
    const book = this.books.get(id);
    return book === undefined ? "" : wholeText(book);
  }

  #apply(change: MarketChange): void {
    let book = this.books.get(change.id);
    if (book === undefined) this.books.set(change.id, (book = new NaiveBook(change.id)));
    book.apply(change);
  }
}

function heartbeat({ clk, pt, mc, segmentType }: ExchangeMessage): Said[] {
  const isRight = clk !== undefined && pt !== undefined && mc === undefined && segmentType === undefined;
  return isRight ? [] : broken(`a heartbeat with ${JSON.stringify({ clk, pt, mc, segmentType })}`);
}

function broken(words: string): Said[] {
  return [{ kind: "broken", words }];
}
