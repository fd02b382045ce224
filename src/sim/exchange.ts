import type { Clock } from "../base/clock.ts";
import type { EsaErrorCode } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type Random, randomInt, seededRandom } from "../base/random.ts";
import type { Listen, Listener, ListenOptions } from "../base/socket.ts";
import { Audience } from "./exchange-audience.ts";
import { ExchangeBooks, type ExchangeMarket, type Published } from "./exchange-books.ts";
import { initialClkOf, positionOf } from "./exchange-clk.ts";
import { type Account, type Counter, ExchangeConnection, type Refusal } from "./exchange-connection.ts";
import { fieldChoice } from "./exchange-fields.ts";
import { marketTest } from "./exchange-filter.ts";
import { Follower, type StreamSource } from "./exchange-follower.ts";
import { OrderView } from "./exchange-orders.ts";
import type { AuthenticationRequest, MarketSubscriptionRequest, SideSubscriptionRequest } from "./exchange-requests.ts";
import { type SportChange, type SportOp, SportStream } from "./exchange-sports.ts";
import { type Floor, Subscriber } from "./exchange-subscriber.ts";
import type { MarketChange } from "./naive.ts";
import { OrderBooks } from "./orders.ts";

export interface ExchangeLimits {
  /** Connections an account may have open at once. */
  readonly connectionsMax: number;
  /** Markets (not closed) a subscription may match; Infinity: as many as there are. */
  readonly marketsMax: number;
  /** Authentications of an account within a minute. */
  readonly authenticationsPerMinuteMax: number;
  /** A connection that is not subscribed and says nothing is closed after this. */
  readonly idleMs: number;
  /** About how large a segment is. */
  readonly segmentBytes: number;
  /** How far back a resume may reach, in messages and in market changes. */
  readonly logMessagesMax: number;
  readonly logChangesMax: number;
  /** A closed market is forgotten after this. */
  readonly forgetClosedMs: number;
}

export const EXCHANGE_LIMITS: ExchangeLimits = {
  connectionsMax: 10,
  marketsMax: 200,
  authenticationsPerMinuteMax: Number.POSITIVE_INFINITY,
  idleMs: 15_000,
  segmentBytes: 100_000,
  logMessagesMax: 20_000,
  logChangesMax: 100_000,
  forgetClosedMs: 10 * 60_000,
};

export interface SimExchangeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Whose session a token is, or null when it is nobody's (any more): the identity service. */
  readonly sessions: { accountOf(token: string): string | null };
  readonly appKeys: readonly string[];
  /** App keys whose data come 180 s late, as free ones do: conflateMs is forced. */
  readonly delayedAppKeys?: readonly string[];
  /** App keys that may bet, and follow their orders; absent: all. */
  readonly orderAppKeys?: readonly string[];
  /** App keys that may have races and cricket; absent: none. */
  readonly sportsAppKeys?: readonly string[];
  /** Where they differ from `EXCHANGE_LIMITS`. */
  readonly limits?: Partial<ExchangeLimits>;
}

export interface ExchangeCounters {
  /** Connections ever made, open now, and the most open at once. */
  connectionsEver: number;
  connections: number;
  connectionsMost: number;
  authentications: number;
  authenticationsRefused: number;
  /** Subscriptions answered by a full image, and by what changed since a clk. */
  images: number;
  resumes: number;
  bytes: number;
}

export interface ExchangeKnobs {
  /** What change messages say of the exchange's own health: 503, its data are late. */
  status: 503 | null;
  /** No heartbeats, whatever was promised. */
  heartbeatsPaused: boolean;
  /** What to do with a clk that is out of reach or not ours. The real one is said to do either. */
  staleClk: "image" | "INVALID_CLOCK";
}

/** A subscription was answered. */
export interface ServedSubscription {
  readonly connection: ExchangeConnection;
  readonly kind: "image" | "resume";
  /** Markets in the answer. */
  readonly markets: number;
  readonly request: MarketSubscriptionRequest;
}

const DELAYED_CONFLATE_MS = 180_000;
/** A feed whose pt is nearer to the wall clock than this is live: then images and heartbeats carry the time, else its last pt. */
const LIVE_WITHIN_MS = 10_000;
const MINUTE_MS = 60_000;

/**
 * The exchange, simulated: speaks ESA to any client as the real one does (exchange-protocol.md §1 to §4), over whatever sockets it is given.
 * Feeds (`World`, `Replay`) call `publish`; everything else is what clients ask for, and knobs for those who test what clients survive.
 */
export class SimExchange {
  readonly counters: ExchangeCounters = {
    connectionsEver: 0,
    connections: 0,
    connectionsMost: 0,
    authentications: 0,
    authenticationsRefused: 0,
    images: 0,
    resumes: 0,
    bytes: 0,
  };
  readonly connections = new Set<ExchangeConnection>();
  /** What everybody has ordered; orders live by what is published. */
  readonly orders: OrderBooks;
  readonly knobs: ExchangeKnobs = { status: null, heartbeatsPaused: false, staleClk: "image" };
  /** Told of each subscription that was answered. */
  onServed: ((served: ServedSubscription) => void) | null = null;

  readonly #options: SimExchangeOptions;
  readonly #limits: ExchangeLimits;
  readonly #books: ExchangeBooks;
  readonly #epoch: string;
  readonly #sports = { rcm: new SportStream("rcm"), ccm: new SportStream("ccm") };
  readonly #audiences = new Map<string, Audience>();
  readonly #listeners = new Set<Listener>();
  readonly #closedAt = new Map<ExchangeMarket, number>();
  readonly #authenticatedAt = new Map<string, number[]>();
  readonly #settling = new Set<() => void>();
  readonly #floor: Floor;
  readonly #counter: Counter;
  #refusing: { readonly code: EsaErrorCode; times: number } | null = null;
  #accepted = 0;
  #pt = 0;
  #live = true;

  constructor(options: SimExchangeOptions) {
    this.#options = options;
    this.#limits = { ...EXCHANGE_LIMITS, ...options.limits };
    this.#books = new ExchangeBooks(this.#limits);
    const chance = randomInt(options.random, 2 ** 32);
    this.#epoch = `S${chance.toString(36)}`;
    const { clock } = options;
    this.orders = new OrderBooks({
      clock,
      // Its own chance: who connects when has no say in what happens to orders.
      random: seededRandom(chance),
      now: () => this.#now(),
      image: (id) => this.image(id),
    });
    const { segmentBytes, idleMs } = this.#limits;
    this.#floor = {
      clock,
      books: this.#books,
      segmentBytes,
      knobs: this.knobs,
      pt: () => this.#now(),
      caughtUp: () => this.#caughtUp(),
      left: (audience) => this.#leave(audience),
    };
    this.#counter = {
      clock,
      idleMs,
      opened: (connection) => this.#opened(connection),
      authenticate: (request) => this.#authenticate(request),
      subscribe: (connection, request) => this.#subscribe(connection, request),
      follow: (connection, request) => this.#follow(connection, request),
      sent: (bytes) => {
        this.counters.bytes += bytes;
      },
      closed: (connection) => this.#closed(connection),
    };
  }

  /** Takes clients at one more address. */
  listen(listen: Listen, at: ListenOptions): Listener {
    const listener = listen(
      at,
      (socket) => new ExchangeConnection(this.#counter, socket, this.#connectionId()).handler,
    );
    this.#listeners.add(listener);
    return listener;
  }

  /** Closes everything, at once. */
  stop(): void {
    for (const listener of this.#listeners) listener.stop();
    for (const connection of [...this.connections]) connection.cut();
  }

  /** One message of the exchange, from a feed: goes to whom it concerns as it is. `pt`: milliseconds since the Unix epoch. */
  publish(pt: number, changes: readonly MarketChange[]): void {
    this.#passTime(pt);
    if (changes.length === 0) return;
    const published = this.#books.publish(changes);
    for (const audience of this.#audiences.values()) audience.publish(this.#books.position, pt, published);
    this.orders.publish(changes);
    this.#forgetClosed(published);
  }

  /** One message of the sports data: races or cricket matches, whole or what changed of them. */
  publishSport(op: SportOp, pt: number, changes: readonly SportChange[]): void {
    this.#passTime(pt);
    if (changes.length > 0) this.#sports[op].publish(changes);
  }

  #passTime(pt: number): void {
    this.#pt = pt;
    this.#live = Math.abs(this.#options.clock.wall() - pt) < LIVE_WITHIN_MS;
  }

  /** Markets known, closed ones that are not forgotten yet included. */
  get markets(): number {
    return this.#books.markets.size;
  }

  /** Ids of the markets known. */
  marketIds(): string[] {
    return [...this.#books.markets.keys()];
  }

  /** A market's whole book as it is now (an `mc` entry with `img`), or null when there is no such market. */
  image(id: string): MarketChange | null {
    const market = this.#books.markets.get(id);
    return market === undefined ? null : (JSON.parse(market.image()) as MarketChange);
  }

  /** Resolves when every subscriber has been sent all it is due: what paces a replay that goes as fast as its readers. */
  settled(): Promise<void> {
    if (this.#isSettled()) return Promise.resolve();
    return new Promise((resolve) => this.#settling.add(resolve));
  }

  /** Knob: breaks a connection without a word; all of them when none is named. */
  cut(connection?: ExchangeConnection): void {
    for (const each of connection ? [connection] : [...this.connections]) each.cut();
  }

  /** Knob: makes connections half-open (nothing heard, nothing said, not closed); all of them when none is named. New ones are not touched. */
  freeze(connection?: ExchangeConnection): void {
    for (const each of connection ? [connection] : this.connections) each.freeze();
    this.#caughtUp();
  }

  /** Knob: the next `times` authentications fail with this code; `times` 0 ends it. */
  refuseAuthentications(code: EsaErrorCode, times = Number.POSITIVE_INFINITY): void {
    this.#refusing = times > 0 ? { code, times } : null;
  }

  #opened(connection: ExchangeConnection): void {
    this.connections.add(connection);
    const { counters } = this;
    counters.connectionsEver++;
    counters.connections = this.connections.size;
    counters.connectionsMost = Math.max(counters.connectionsMost, counters.connections);
  }

  #closed(connection: ExchangeConnection): void {
    this.connections.delete(connection);
    this.counters.connections = this.connections.size;
    this.#caughtUp();
  }

  #authenticate(request: AuthenticationRequest): ReturnType<Counter["authenticate"]> {
    const outcome = this.#whyNot(request);
    if (typeof outcome !== "string") {
      this.counters.authenticationsRefused++;
      this.#options.log.info({ code: outcome.code }, "authentication refused");
      return outcome;
    }
    this.counters.authentications++;
    const appKey = request.appKey as string;
    const { delayedAppKeys, orderAppKeys, sportsAppKeys } = this.#options;
    const rights = {
      delayed: delayedAppKeys?.includes(appKey) ?? false,
      orders: orderAppKeys?.includes(appKey) ?? true,
      sports: sportsAppKeys?.includes(appKey) ?? false,
    };
    return { account: outcome, ...rights, connectionsAvailable: this.#limits.connectionsMax - this.#open(outcome) - 1 };
  }

  /** The account, or what is wrong. */
  #whyNot({ appKey, session }: AuthenticationRequest): string | Refusal {
    const { appKeys, delayedAppKeys = [], sessions } = this.#options;
    if (this.#refusing !== null) return this.#refuseOne(this.#refusing);
    if (!appKey) return { code: "NO_APP_KEY", message: "No app key was given" };
    if (!appKeys.includes(appKey) && !delayedAppKeys.includes(appKey))
      return { code: "INVALID_APP_KEY", message: "The app key is not known" };
    if (!session) return { code: "NO_SESSION", message: "No session token was given" };
    const account = sessions.accountOf(session);
    if (account === null) return { code: "INVALID_SESSION_INFORMATION", message: "The session token is not valid" };
    return this.#tooMany(account) ?? account;
  }

  #refuseOne(refusing: { readonly code: EsaErrorCode; times: number }): Refusal {
    if (--refusing.times <= 0) this.#refusing = null;
    return { code: refusing.code, message: "Refused on purpose" };
  }

  #tooMany(account: string): Refusal | null {
    const { connectionsMax, authenticationsPerMinuteMax } = this.#limits;
    const open = this.#open(account);
    if (open >= connectionsMax) {
      const limit = `You have exceeded your max connection limit which is: ${connectionsMax} connection(s).`;
      return {
        code: "MAX_CONNECTION_LIMIT_EXCEEDED",
        message: `${limit}You currently have: ${open} active connection(s).`,
      };
    }
    const now = this.#options.clock.monotonic();
    const recent = (this.#authenticatedAt.get(account) ?? []).filter((at) => now - at < MINUTE_MS);
    this.#authenticatedAt.set(account, [...recent, now].slice(-1 - Math.min(authenticationsPerMinuteMax, 10_000)));
    if (recent.length < authenticationsPerMinuteMax) return null;
    return { code: "TOO_MANY_REQUESTS", message: "Connecting too often" };
  }

  /** Authenticated connections of an account. */
  #open(account: string): number {
    let open = 0;
    for (const connection of this.connections) if (connection.account === account) open++;
    return open;
  }

  #subscribe(connection: ExchangeConnection, request: MarketSubscriptionRequest): ReturnType<Counter["subscribe"]> {
    const audience = this.#audience(request);
    const open = [...audience.members].filter((market) => !market.closed).length;
    const delayed = connection.rights?.delayed === true;
    const from = this.#resumeFrom(audience, request);
    const refusal = this.#refuseSubscription(open, from, request);
    if (refusal !== null) {
      this.#leave(audience);
      return refusal;
    }
    return { begin: () => this.#begin(connection, audience, request, from, delayed) };
  }

  #refuseSubscription(
    open: number,
    from: number | null,
    { clk, initialClk }: MarketSubscriptionRequest,
  ): Refusal | null {
    const { marketsMax } = this.#limits;
    if (open > marketsMax)
      return {
        code: "SUBSCRIPTION_LIMIT_EXCEEDED",
        message: `Trying to subscribe to ${open} markets, and the limit is ${marketsMax}`,
      };
    if (from === null && clk !== null && initialClk !== null && this.knobs.staleClk === "INVALID_CLOCK")
      return { code: "INVALID_CLOCK", message: "initialClk or clk is not valid any more" };
    return null;
  }

  #begin(
    connection: ExchangeConnection,
    audience: Audience,
    request: MarketSubscriptionRequest,
    from: number | null,
    delayed: boolean,
  ): Subscriber {
    const terms = {
      ...request,
      initialClk: this.#initialClk(audience),
      conflateMs: delayed ? DELAYED_CONFLATE_MS : request.conflateMs,
    };
    // Whoever it replaces may have been the last of the same audience.
    this.#audiences.set(audience.criteria, audience);
    const subscriber = new Subscriber(this.#floor, connection, audience, terms);
    const markets = from === null ? subscriber.image() : subscriber.resume(from);
    if (from === null) this.counters.images++;
    else this.counters.resumes++;
    this.onServed?.({ connection, kind: from === null ? "image" : "resume", markets, request });
    return subscriber;
  }

  /** The position to go on from, or null when only an image will do. */
  #resumeFrom(audience: Audience, { initialClk, clk }: MarketSubscriptionRequest): number | null {
    if (clk === null || initialClk !== this.#initialClk(audience)) return null;
    const position = positionOf(clk);
    if (position === null || position > this.#books.position || position < this.#books.logStart) return null;
    return position;
  }

  #follow(connection: ExchangeConnection, request: SideSubscriptionRequest): ReturnType<Counter["follow"]> {
    const { what, clk } = request;
    const { account, orders, sports } = connection.rights as Account;
    if (!(what.op === "ocm" ? orders : sports))
      return { code: "NOT_AUTHORIZED", message: `The app key may not have ${what.op} messages` };
    const source: StreamSource =
      what.op === "ocm" ? new OrderView(this.orders.account(account), what.filter) : this.#sports[what.op];
    const initialClk = initialClkOf(this.#epoch, JSON.stringify([what, account]));
    const at = clk === null || request.initialClk !== initialClk ? null : positionOf(clk);
    const from = at === null || at > source.position || at < source.logStart ? null : at;
    if (from === null && clk !== null && request.initialClk !== null && this.knobs.staleClk === "INVALID_CLOCK")
      return { code: "INVALID_CLOCK", message: "initialClk or clk is not valid any more" };
    return { begin: () => new Follower(this.#floor, connection, source, { ...request, initialClk }, from) };
  }

  #initialClk(audience: Audience): string {
    return initialClkOf(this.#epoch, audience.criteria);
  }

  #audience({ filter, fields, ladderLevels }: MarketSubscriptionRequest): Audience {
    const choice = fieldChoice(fields, ladderLevels);
    const criteria = JSON.stringify([filter, choice.key]);
    let audience = this.#audiences.get(criteria);
    if (audience === undefined) {
      audience = new Audience(criteria, marketTest(filter), choice, this.#books);
      this.#audiences.set(criteria, audience);
    }
    return audience;
  }

  /** An audience nobody is left in costs nothing. */
  #leave(audience: Audience): void {
    if (audience.subscribers.size > 0) return;
    if (this.#audiences.get(audience.criteria) === audience) this.#audiences.delete(audience.criteria);
  }

  #caughtUp(): void {
    if (this.#settling.size === 0 || !this.#isSettled()) return;
    for (const resolve of this.#settling) resolve();
    this.#settling.clear();
  }

  #isSettled(): boolean {
    for (const connection of this.connections) if (connection.behind) return false;
    return true;
  }

  #forgetClosed(published: readonly Published[]): void {
    const now = this.#options.clock.monotonic();
    for (const { market } of published) {
      if (!market.closed) this.#closedAt.delete(market);
      else if (!this.#closedAt.has(market)) this.#closedAt.set(market, now);
    }
    for (const [market, at] of this.#closedAt) {
      if (now - at < this.#limits.forgetClosedMs) return;
      this.#closedAt.delete(market);
      this.#books.forget(market.id);
      this.orders.forget(market.id);
      for (const audience of this.#audiences.values()) audience.forget(market);
    }
  }

  /** The publish time of what nobody published. */
  #now(): number {
    return this.#live ? Math.max(this.#pt, Math.trunc(this.#options.clock.wall())) : this.#pt;
  }

  /** In the shape of the real ones: "002-230915140112-174". */
  #connectionId(): string {
    const digits = new Date(this.#options.clock.wall()).toISOString().replace(/\D/g, "").slice(2, 14);
    return `101-${digits}-${++this.#accepted}`;
  }
}
