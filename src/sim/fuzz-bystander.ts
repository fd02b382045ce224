import type { OpenWire, Wire } from "../../client/wire.ts";
import type { ExchangeMessage } from "./exchange-visitor.ts";
import { firstDifference, NaiveBook } from "./naive.ts";
import { APP_KEY, SESSION } from "./two-doors.ts";

/** Somebody who watches everything, and whom nothing that others do may concern: each message of theirs is looked at, and their books are an independent one's. */
export class Bystander {
  readonly name: string;
  readonly books = new Map<string, NaiveBook>();
  /** Updates heard: one for each message of the exchange. */
  updates = 0;
  messages = 0;
  readonly #wire: Wire;
  readonly #accuse: (words: string) => void;
  #pt = 0;
  #isAnswered = false;
  #isLeaving = false;

  constructor(name: string, open: OpenWire, accuse: (words: string) => void) {
    this.name = name;
    this.#accuse = (words) => accuse(`${name}: ${words}`);
    this.#wire = open({
      open() {},
      message: (text) => this.#message(JSON.parse(text) as ExchangeMessage),
      close: (code, reason) => {
        if (!this.#isLeaving) this.#accuse(`cut off, ${code} ${reason}`);
      },
    });
  }

  leave(): void {
    this.#isLeaving = true;
    this.#wire.close();
  }

  /** The books are these, after so many updates. */
  compare(truth: ReadonlyMap<string, NaiveBook>, updates: number): void {
    if (this.updates !== updates) this.#accuse(`heard ${this.updates} updates of ${updates}`);
    for (const [id, book] of truth) {
      const mine = this.books.get(id);
      const difference = mine === undefined ? "is missing" : firstDifference(mine.state(), book.state());
      if (difference !== null) this.#accuse(`${id} ${difference}`);
    }
  }

  #message(message: ExchangeMessage): void {
    this.messages++;
    if (message.op === "connection")
      return this.#wire.send(JSON.stringify({ op: "authentication", id: 1, appKey: APP_KEY, session: SESSION }));
    if (message.op === "status") return this.#status(message);
    const { id, ct, pt = 0, status, mc = [] } = message;
    if (message.op !== "mcm" || id !== 2 || status !== undefined || pt < this.#pt)
      return this.#accuse(`was sent ${JSON.stringify(message).slice(0, 300)}`);
    if (ct === "HEARTBEAT") return;
    this.#pt = pt;
    if (ct === undefined) this.updates++;
    else if (ct !== "SUB_IMAGE" || this.#isAnswered) this.#accuse(`was sent a ${ct} that it did not ask for`);
    else this.#isAnswered = true;
    for (const change of mc) {
      if (change.con === true) this.#accuse(`had changes of ${change.id} merged`);
      let book = this.books.get(change.id);
      if (book === undefined) this.books.set(change.id, (book = new NaiveBook(change.id)));
      book.apply(change);
    }
  }

  #status({ id, statusCode, errorCode }: ExchangeMessage): void {
    if (statusCode !== "SUCCESS") this.#accuse(`was told of a failure, ${errorCode}`);
    if (id === 1) this.#wire.send(JSON.stringify({ op: "marketSubscription", id: 2, heartbeatMs: 500 }));
  }
}
