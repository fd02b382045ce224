import type { MarketBook } from "../../client/book.ts";
import { type Connection, connect } from "../../client/connection.ts";
import type { Outcome, Subscription } from "../../client/subscription.ts";
import type { OpenWire } from "../../client/wire.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { pick, type Random, randomInt } from "../base/random.ts";
import type { Address, Dial, Socket } from "../base/socket.ts";
import { FIELD_FLAGS, type FieldFlag } from "./exchange-fields.ts";
import type { MarketFilter } from "./exchange-filter.ts";
import { type MarketChange, NaiveBook } from "./naive.ts";
import { differenceOf, type Oracle, type Wish, Witness, wholeText } from "./oracle.ts";

/** What a subscription asks for, beside its wish. */
export interface Terms {
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
}

/** One subscription of somebody's, and who watches it. */
export interface Watched {
  readonly wish: Wish;
  readonly terms: Terms;
  readonly witness: Witness;
  /** The user has every reason to believe what it shows. */
  readonly looksLive: boolean;
}

/** Somebody who watches prices through the house, over a link that bears their name. */
export interface User {
  readonly name: string;
  readonly kind: string;
  readonly watched: readonly Watched[];
  /** How long a dead link may look alive to it. */
  readonly noticeMs: number;
  readonly isHere: boolean;
  /** Comes, or comes back; what it remembers is its own affair. */
  come(): void;
  leave(): void;
  /** Sends its subscriptions again, over the connection it has. */
  askAgain(): void;
  /** Asks for something else in what runs, where it can; says what. */
  alter(random: Random): string | null;
  /** How late prices may be by what it may have or wants of bytes a second; stops are not. */
  readonly cappedMs: number;
  /** G1, within the client: what it shows is what the messages say. */
  compare(): void;
}

export interface UserWorld {
  readonly name: string;
  readonly oracle: Oracle;
  readonly clock: Clock;
  readonly random: Random;
  readonly session: string;
  /** What users may look at, for which the oracle has lenses. */
  readonly views: readonly View[];
  readonly bytesPerSecondMax: number | undefined;
}

/** Somebody with our client library. Closing is for good: who comes back begins anew. */
export class LibraryUser implements User {
  readonly name: string;
  readonly kind: string;
  readonly watched: LibraryWatched[];
  readonly noticeMs: number;
  readonly #world: UserWorld;
  readonly #wire: OpenWire;
  /** The ESA door knows no word to end a subscription, and carries one. */
  readonly #canAskAgain: boolean;
  #connection: Connection | null = null;
  /** The lowest limit that it ever asked for. */
  #bytesPerSecond: number;

  constructor(world: UserWorld, kind: "websocket" | "esa", wire: OpenWire, asked: readonly (Wish & Terms)[]) {
    this.name = world.name;
    this.kind = `library over ${kind}`;
    this.#world = world;
    this.#wire = wire;
    this.#canAskAgain = kind === "websocket";
    this.watched = asked.map((wish, i) => new LibraryWatched(world.oracle, `${world.name}/${i}`, wish, wish));
    this.#bytesPerSecond = world.bytesPerSecondMax ?? Number.POSITIVE_INFINITY;
    this.noticeMs = 2 * Math.max(...asked.map(({ heartbeatMs }) => heartbeatMs));
  }

  get isHere(): boolean {
    return this.#connection !== null;
  }

  come(): void {
    const { clock, random, session } = this.#world;
    const state = ({ kind }: { kind: string }) => {
      if (kind === "waiting" || kind === "closed") for (const { witness } of this.watched) witness.lost();
      if (kind === "closed" && this.#connection !== null) this.#sentAway();
    };
    this.#connection = connect({
      wire: this.#wire,
      session,
      clock,
      random,
      state,
      error: (error) => this.#failed(error),
    });
    for (const watched of this.watched) watched.subscribe(this.#connection);
  }

  leave(): void {
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
  }

  askAgain(): void {
    if (!this.#canAskAgain || this.#connection === null) return;
    for (const watched of this.watched) watched.subscribe(this.#connection);
  }

  get cappedMs(): number {
    return cappedMs(this.#bytesPerSecond);
  }

  alter(random: Random): string | null {
    if (!this.#canAskAgain || this.#connection === null) return null;
    if (random.next() < 0.7) return pick(random, this.watched).alter(random, this.#world.views);
    const bytesPerSecond = pick(random, BYTES_PER_SECOND);
    this.#bytesPerSecond = Math.min(this.#bytesPerSecond, bytesPerSecond ?? Number.POSITIVE_INFINITY);
    this.#connection.setLimits({ bytesPerSecond }, (outcome) => refusals(outcome, this.#world.oracle, this.name));
    return `wants ${bytesPerSecond} bytes a second`;
  }

  compare(): void {
    for (const watched of this.watched) {
      for (const difference of watched.differences())
        this.#world.oracle.accuse("G1 same book", `${watched.witness.name}: the library ${difference}`);
    }
  }

  #failed(error: unknown): void {
    this.#world.oracle.accuse("G1 same book", `${this.name}: a callback failed: ${(error as Error).stack}`);
  }

  #sentAway(): void {
    const state = this.#connection?.state;
    if (state?.kind !== "closed") return;
    this.#world.oracle.accuse("G3 no silent gap", `${this.name}: sent away for good, ${state.code}: ${state.reason}`);
  }
}

class LibraryWatched implements Watched {
  wish: Wish;
  terms: Terms;
  readonly witness: Witness;
  readonly #oracle: Oracle;
  #subscription: Subscription | null = null;

  constructor(
    oracle: Oracle,
    name: string,
    { filter, fields, ladderLevels }: Wish,
    { conflateMs, heartbeatMs, segmentationEnabled }: Terms,
  ) {
    const wish = { filter, fields, ladderLevels };
    this.wish = wish;
    this.terms = { conflateMs, heartbeatMs, segmentationEnabled };
    this.#oracle = oracle;
    this.witness = new Witness(oracle, name, wish, "library");
  }

  /** Another cadence, other fields and levels, or, where it names its markets, one more or less. */
  alter(random: Random, views: readonly View[]): string {
    const subscription = this.#subscription as Subscription;
    const { marketIds, ...rest } = this.wish.filter;
    const dice = random.next();
    if (marketIds !== undefined && Object.keys(rest).length === 0 && dice < 0.7)
      return this.#alterMarkets(subscription, random, marketIds);
    if (dice < 0.85) {
      const conflateMs = pick(random, CADENCES);
      subscription.change(
        { conflateMs },
        this.#then(subscription, () => (this.terms = { ...this.terms, conflateMs })),
      );
      return `conflates by ${conflateMs}`;
    }
    const { fields, ladderLevels } = pick(random, views);
    subscription.change(
      { fields, ladderLevels },
      this.#then(subscription, () => this.#become({ ...this.wish, fields, ladderLevels })),
    );
    return `looks at ${ladderLevels} levels of ${fields.join("+") || "all"}`;
  }

  #alterMarkets(subscription: Subscription, random: Random, had: readonly string[]): string {
    const id = pick(random, random.next() < 0.5 ? had : MARKET_IDS);
    const isLess = had.includes(id) && had.length > 2;
    const become = (outcome: Outcome) => {
      const others = (this.wish.filter.marketIds ?? []).filter((other) => other !== id);
      const filter = { marketIds: isLess ? others : [...others, id] };
      this.#become({ ...this.wish, filter }, isLess && outcome.kind === "accepted" ? [id] : []);
    };
    if (isLess) subscription.removeMarkets([id], this.#then(subscription, become));
    else subscription.addMarkets([id], this.#then(subscription, become));
    return `${isLess ? "takes out" : "adds"} ${id}`;
  }

  #become(wish: Wish, removed: readonly string[] = []): void {
    this.wish = wish;
    this.witness.altered(wish, removed);
  }

  /** What counts is the subscription of now. */
  #then(subscription: Subscription, become: (outcome: Outcome) => void): (outcome: Outcome) => void {
    return (outcome) => {
      if (subscription !== this.#subscription) return;
      if (outcome.kind === "refused") refusals(outcome, this.#oracle, this.witness.name);
      else become(outcome);
    };
  }

  /** Who wants no segments is shown markets before the whole image is there: only its clk says that it is. */
  get looksLive(): boolean {
    if (!this.terms.segmentationEnabled && !this.witness.isAnswered) return false;
    return this.#subscription?.state.kind === "live";
  }

  subscribe(connection: Connection): void {
    this.#subscription?.unsubscribe();
    const { wish, terms, witness } = this;
    witness.startAnew();
    this.#subscription = connection.subscribe(
      { ...wish, ...terms, fields: wish.fields.length === 0 ? undefined : wish.fields },
      { raw: (_, text) => witness.receive(text) },
    );
  }

  *differences(): Generator<string> {
    const { books } = this.#subscription as Subscription;
    for (const id of new Set([...books.keys(), ...this.witness.books.keys()])) {
      const [book, right] = [books.get(id), this.witness.books.get(id)];
      if (book === undefined || right === undefined) yield `${book ? "shows" : "lacks"} ${id}`;
      else if (libraryText(book) !== wholeText(right))
        yield `${id} ${differenceOf(libraryText(book), wholeText(right))}`;
    }
  }
}

/** Nothing that users ask for here may be refused, unless it is over before it is answered. */
function refusals(outcome: Outcome, oracle: Oracle, name: string): void {
  if (outcome.kind === "refused" && outcome.code !== "ENDED" && outcome.code !== "CLOSED")
    oracle.accuse("G1 same book", `${name}: an alteration was refused, ${outcome.code}: ${outcome.message}`);
}

/** The most that two subscriptions to all markets come to, as images. */
const PASS_BYTES_MAX = 60_000;

/** One pass may have to be paid for before the next begins, and that one too before it is through. */
function cappedMs(bytesPerSecond: number): number {
  return (2 * PASS_BYTES_MAX * 1000) / bytesPerSecond;
}

/** A book of the library's, as the oracle reads one. */
function libraryText(book: MarketBook): string {
  const named = (value: number | null) => (value === null || Number.isFinite(value) ? value : String(value));
  const rc = [...book.runners].map((runner) => ({ ...runner, spn: named(runner.spn), spf: named(runner.spf) }));
  const copy = new NaiveBook(book.id);
  copy.apply({ id: book.id, tv: book.totalMatched, marketDefinition: book.definition, rc } as unknown as MarketChange);
  return wholeText(copy);
}

/** How long somebody with a plain client waits before connecting again, at most. */
const RETRY_MS_MAX = 1_000;

/**
 * Somebody with a plain client of the exchange, as many were written long before us: one subscription over JSON lines, remembers its clks
 * over cuts and absences, takes an image market by market, hears no other id than its last.
 */
export class PlainUser implements User, Watched {
  readonly name: string;
  readonly kind = "plain ESA client";
  readonly watched: readonly Watched[] = [this];
  readonly wish: Wish;
  readonly terms: Terms;
  readonly witness: Witness;
  readonly noticeMs: number;
  readonly #world: UserWorld;
  readonly #dial: Dial;
  readonly #at: Address;
  #socket: Socket | null = null;
  #timer: Timer | null = null;
  #wanted = false;
  #subscribed = false;
  #answered = false;
  #text = "";
  #unsent = Buffer.alloc(0);
  #lastId = 0;
  #heardAt = 0;

  constructor(world: UserWorld, dial: Dial, at: Address, asked: Wish & Terms) {
    this.name = world.name;
    this.#world = world;
    this.#dial = dial;
    this.#at = at;
    this.wish = this.terms = asked;
    this.witness = new Witness(world.oracle, world.name, asked, "plain");
    this.noticeMs = 2 * asked.heartbeatMs;
  }

  get isHere(): boolean {
    return this.#wanted;
  }

  get looksLive(): boolean {
    return this.#answered && !this.witness.unreliable;
  }

  come(): void {
    this.#wanted = true;
    this.#connect();
  }

  leave(): void {
    this.#wanted = false;
    this.#lost();
  }

  alter(): null {
    return null;
  }

  get cappedMs(): number {
    return cappedMs(this.#world.bytesPerSecondMax ?? Number.POSITIVE_INFINITY);
  }

  /** A new subscription takes the old one's place and goes on from its clk. */
  askAgain(): void {
    if (this.#answered) this.#subscribe();
  }

  compare(): void {}

  #connect(): void {
    this.#text = "";
    this.#unsent = Buffer.alloc(0);
    const mine = (run: () => void) => {
      if (this.#socket === socket) run();
    };
    const socket = this.#dial(this.#at, {
      data: (_, bytes) => mine(() => this.#data(Buffer.from(bytes).toString("latin1"))),
      drain: () => mine(() => this.#flush()),
      close: () => mine(() => this.#lost()),
    });
    this.#socket = socket;
    this.#heardAt = this.#world.clock.monotonic();
    this.#watch();
  }

  #lost(): void {
    this.#socket?.destroy();
    this.#socket = null;
    this.#subscribed = this.#answered = false;
    this.witness.lost();
    this.#timer?.cancel();
    if (!this.#wanted) return;
    const { clock, random } = this.#world;
    this.#timer = clock.after(random.next() * RETRY_MS_MAX, () => this.#connect());
  }

  /** Silence of twice the heartbeat is a dead connection. */
  #watch(): void {
    const { clock } = this.#world;
    const rest = this.#heardAt + this.noticeMs - clock.monotonic();
    if (rest <= 0) return this.#lost();
    this.#timer?.cancel();
    this.#timer = clock.after(rest, () => this.#watch());
  }

  #data(text: string): void {
    this.#heardAt = this.#world.clock.monotonic();
    const lines = (this.#text + text).split("\r\n");
    this.#text = lines.pop() as string;
    const socket = this.#socket;
    for (const line of lines) if (this.#socket === socket) this.#line(line);
  }

  #line(line: string): void {
    const message = JSON.parse(line) as { op: string; id?: number; statusCode?: string; connectionClosed?: boolean };
    if (message.op === "connection")
      return this.#send({ op: "authentication", id: ++this.#lastId, appKey: "any", session: this.#world.session });
    if (message.op === "mcm") return this.#change(line, message.id);
    if (message.statusCode === "FAILURE") {
      if (message.connectionClosed) this.#lost();
    } else if (!this.#subscribed && message.id === this.#lastId) this.#subscribe();
  }

  #subscribe(): void {
    this.#subscribed = true;
    this.#answered = false;
    this.witness.lost();
    const { wish, terms } = this;
    const { initialClk, clk } = this.witness;
    this.#send({
      op: "marketSubscription",
      id: ++this.#lastId,
      marketFilter: wish.filter,
      marketDataFilter: { fields: wish.fields, ladderLevels: wish.ladderLevels },
      ...terms,
      initialClk,
      clk,
    });
  }

  #change(line: string, id: number | undefined): void {
    if (id !== this.#lastId) return;
    this.witness.receive(line);
    this.#answered ||= this.witness.isAnswered;
  }

  #send(request: object): void {
    this.#unsent = Buffer.concat([this.#unsent, Buffer.from(`${JSON.stringify(request)}\r\n`)]);
    this.#flush();
  }

  #flush(): void {
    this.#unsent = this.#unsent.subarray(this.#socket?.write(this.#unsent) ?? 0);
  }
}

const FILTERS: readonly MarketFilter[] = [
  {},
  {},
  { eventTypeIds: ["1"] },
  { eventIds: ["31", "32"] },
  { marketTypes: ["WIN"] },
  { bspMarket: true },
  { eventTypeIds: ["1", "2"], marketTypes: ["MATCH_ODDS"] },
  { raceTypes: ["NO_VALUE"] },
  { marketIds: ["1.1", "1.3", "1.9", "1.404"] },
  { marketIds: ["1.2", "1.3"] },
  { marketIds: ["1.1", "1.2", "1.10"], eventIds: ["31", "33"] },
];
const CADENCES = [0, 0, 0, 50, 100, 500, 1_000, 5_000];
const BYTES_PER_SECOND = [null, 4_000, 4_000, 20_000, 100_000];
/** As `OddMarkets` names them; one never comes. */
const MARKET_IDS = [...Array.from({ length: 12 }, (_, i) => `1.${i + 1}`), "1.404"];
const HEARTBEATS = [500, 1_000, 2_000, 5_000];

/** What is looked at of a book. */
export type View = Omit<Wish, "filter">;

/** Views of a book that the users of one run share: any fields, any depth. */
export function randomViews(random: Random, count: number): View[] {
  const everything = { fields: [], ladderLevels: 10 };
  const some = () => FIELD_FLAGS.filter(() => random.next() < 0.4) as FieldFlag[];
  const others = Array.from({ length: count - 1 }, () => ({ fields: some(), ladderLevels: 1 + randomInt(random, 10) }));
  return [everything, ...others];
}

export function randomWish(random: Random, views: readonly View[]): Wish & Terms {
  return {
    filter: pick(random, FILTERS),
    ...pick(random, views),
    conflateMs: pick(random, CADENCES),
    heartbeatMs: pick(random, HEARTBEATS),
    segmentationEnabled: random.next() < 0.7,
  };
}
