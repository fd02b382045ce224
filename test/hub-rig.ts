import type { Timer } from "../src/base/clock.ts";
import type { Goodbye } from "../src/base/errors.ts";
import { Hub, type HubOptions } from "../src/delivery/hub.ts";
import type { Framing, Outlet } from "../src/delivery/outlet.ts";
import type { Session } from "../src/delivery/session.ts";
import { ChangeBatch } from "../src/market/batch.ts";
import { Cache } from "../src/market/cache.ts";
import type { MarketFilter } from "../src/market/filter.ts";
import { ALL_FIELDS } from "../src/market/types.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import type { Visitor } from "../src/tenancy/tokens.ts";
import { decodeServerLine } from "../src/wire/esa.ts";
import type { SubscribeRequest } from "../src/wire/requests.ts";

/** One message a line. */
export const LINES: Framing = {
  overheadMax: 1,
  before: () => 0,
  after(out, at) {
    out[at] = 10;
    return 1;
  },
};

export interface Message {
  op: string;
  id: number;
  ct?: string;
  segmentType?: string;
  initialClk?: string;
  clk?: string;
  pt: number;
  status?: number;
  conflateMs?: number;
  mc?: MarketChange[];
}

/** A plain ESA client behind a socket that takes only so much: books as a client builds them, and the clk it would resume with. */
export class User implements Outlet {
  readonly framing = LINES;
  readonly extensions = true;
  readonly books = new Map<string, NaiveBook>();
  readonly messages: Message[] = [];
  room = Number.POSITIVE_INFINITY;
  writes = 0;
  initialClk: string | null = null;
  clk: string | null = null;
  goodbye: Goodbye | null = null;
  /** What it does as its requests are answered, in turn. */
  readonly onAnswer: (() => void)[] = [];
  session!: Session;
  #text = "";
  #fresh: Map<string, NaiveBook> | null = null;

  write(bytes: Uint8Array): number {
    this.writes++;
    const taken = Math.min(bytes.length, this.room);
    this.room -= taken;
    this.#text += Buffer.from(bytes.subarray(0, taken)).toString("latin1");
    this.#read();
    return taken;
  }

  close(goodbye: Goodbye): void {
    this.goodbye = goodbye;
  }

  drain(room: number): void {
    this.room = room;
    this.session.drained();
  }

  request(id: number, options: Partial<SubscribeRequest> = {}): SubscribeRequest {
    const { initialClk, clk } = this;
    const base = {
      filter: {},
      fields: ALL_FIELDS,
      ladderLevels: 10,
      conflateMs: 0,
      heartbeatMs: 5000,
      segmentationEnabled: true,
    };
    return { id, ...base, initialClk, clk, ...options };
  }

  #read(): void {
    for (let end = this.#text.indexOf("\n"); end >= 0; end = this.#text.indexOf("\n")) {
      const message = JSON.parse(this.#text.slice(0, end)) as Message;
      this.#text = this.#text.slice(end + 1);
      this.messages.push(message);
      if (message.op === "status") this.onAnswer.shift()?.();
      else this.#apply(message);
    }
  }

  #apply(message: Message): void {
    if (message.ct === "SUB_IMAGE" && (message.segmentType ?? "SEG_START") === "SEG_START") this.#fresh = new Map();
    const last = (message.segmentType ?? "SEG_END") === "SEG_END";
    for (const change of message.mc ?? []) {
      const books = this.#fresh ?? this.books;
      if (!books.has(change.id)) books.set(change.id, new NaiveBook(change.id));
      books.get(change.id)?.apply(change);
    }
    if (last && this.#fresh !== null) {
      this.books.clear();
      for (const [id, book] of this.#fresh) this.books.set(id, book);
      this.#fresh = null;
    }
    this.initialClk = message.initialClk ?? this.initialClk;
    this.clk = message.clk ?? this.clk;
  }
}

export const VISITOR = { name: "a", tenant: "t", subscriptionsMax: 10, marketsMax: 1000 };

/** Virtual time that knows how many timers wait. */
export class CountingClock extends VirtualClock {
  waiting = 0;

  override after(ms: number, fire: () => void): Timer {
    this.waiting++;
    let isOver = false;
    const over = () => {
      if (!isOver) this.waiting--;
      isOver = true;
    };
    const timer = super.after(ms, () => {
      over();
      fire();
    });
    return {
      cancel() {
        over();
        timer.cancel();
      },
    };
  }
}

export class Rig {
  readonly clock = new CountingClock();
  readonly cache: Cache;
  readonly hub: Hub;
  readonly truth = new Map<string, NaiveBook>();
  readonly #batch = new ChangeBatch();

  constructor(options: Omit<HubOptions, "cache" | "clock"> = {}) {
    this.cache = new Cache({ epoch: "e1", clock: this.clock, retentionMs: 60_000, forgetMs: 60_000 });
    this.hub = new Hub({ cache: this.cache, clock: this.clock, ...options });
    this.hub.state("live");
  }

  send(mc: MarketChange[], head: Record<string, unknown> = {}, settle = true): void {
    const line = Buffer.from(JSON.stringify({ op: "mcm", pt: this.clock.wall(), ...head, mc }));
    const { kind } = decodeServerLine(line, 0, line.length, this.#batch);
    if (kind !== "change") throw new Error(`a line that is ${kind}`);
    this.hub.batch(this.#batch);
    if (settle) this.hub.settled();
    for (const change of mc) {
      if (!this.truth.has(change.id)) this.truth.set(change.id, new NaiveBook(change.id));
      this.truth.get(change.id)?.apply(change);
    }
  }

  join(visitor: Partial<Visitor> = {}): User {
    const user = new User();
    user.session = this.hub.join(user, { ...VISITOR, ...visitor });
    return user;
  }
}

export function change(id: string, rest: Record<string, unknown> = {}): MarketChange {
  return { id, ...rest } as unknown as MarketChange;
}

export function definition(rest: Record<string, unknown> = {}) {
  return {
    status: "OPEN",
    inPlay: false,
    version: 1,
    eventTypeId: "1",
    runners: [{ id: 5, status: "ACTIVE" }],
    ...rest,
  };
}

export function image(id: string, rest: Record<string, unknown> = {}): MarketChange {
  return change(id, { img: true, marketDefinition: definition(rest), rc: [{ id: 5, atb: [[2, 10]] }] });
}

/** Throws where the books are not those of the truth that pass the filter, whole. */
export function agree(books: Map<string, NaiveBook>, truth: Map<string, NaiveBook>, filter: MarketFilter): void {
  for (const [id, book] of truth) {
    const known = (book.image().marketDefinition as { eventTypeId?: string } | undefined)?.eventTypeId;
    if (filter.eventTypeIds !== undefined && !filter.eventTypeIds.includes(known ?? "")) {
      if (books.has(id)) throw new Error(`${id} is not in the filter, but with the user`);
      continue;
    }
    const held = books.get(id);
    if (held === undefined) throw new Error(`${id} is missing`);
    const difference = firstDifference(held.state(), book.state());
    if (difference !== null) throw new Error(`${id}: ${difference}`);
  }
}
