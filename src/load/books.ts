/** A market's book that somebody keeps, in the simplest way there is: `sim/naive.ts`, handed in. */
export interface Book {
  apply(change: Change): void;
  /** As plain JSON, in one order and spelling. */
  state(): { readonly status: string | null };
}

/** An `mc` entry as JSON.parse gives it. */
export interface Change {
  readonly id: string;
  readonly [key: string]: unknown;
}

interface Message {
  readonly ct?: string | null;
  readonly segmentType?: string | null;
  readonly mc?: readonly Change[] | null;
}

/** States of one market that a newcomer keeps to be compared with. */
const STATES_MAX = 4_096;

/** All books of somebody who reads every message; a newcomer also remembers how they came to be what they are. */
export class Books {
  readonly #newBook: (id: string) => Book;
  readonly #books = new Map<string, Book>();
  readonly #states: Map<string, Set<string>> | null;
  readonly #segments: Change[] = [];

  constructor(newBook: (id: string) => Book, remembers: boolean) {
    this.#newBook = newBook;
    this.#states = remembers ? new Map() : null;
  }

  get size(): number {
    return this.#books.size;
  }

  read(text: string): void {
    const { ct, segmentType, mc } = JSON.parse(text) as Message;
    if (ct === "SUB_IMAGE" && (segmentType == null || segmentType === "SEG_START")) this.#books.clear();
    this.#segments.push(...(mc ?? []));
    if (segmentType === "SEG_START" || segmentType === "SEG") return;
    for (const change of this.#segments.splice(0)) this.#apply(change);
  }

  /** Markets of which this reader's book is not one that the newcomer had since it came. */
  differences(newcomer: Books): string[] {
    const ids = new Set([...this.#books.keys(), ...newcomer.#books.keys()]);
    return [...ids].filter((id) => {
      const [held, right] = [this.#books.get(id), newcomer.#books.get(id)];
      // Closed long ago and forgotten: a newcomer is not told of it.
      if (right === undefined) return held?.state().status !== "CLOSED";
      if (held === undefined) return right.state().status !== "CLOSED";
      return newcomer.#states?.get(id)?.has(JSON.stringify(held.state())) !== true;
    });
  }

  #apply(change: Change): void {
    let book = this.#books.get(change.id);
    if (book === undefined) this.#books.set(change.id, (book = this.#newBook(change.id)));
    book.apply(change);
    if (this.#states === null) return;
    let states = this.#states.get(change.id);
    if (states === undefined) this.#states.set(change.id, (states = new Set()));
    states.add(JSON.stringify(book.state()));
    if (states.size > STATES_MAX) states.delete(states.values().next().value as string);
  }
}
