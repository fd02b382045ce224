import { retryMs } from "./backoff.ts";
import { type Clock, type Random, systemClock, systemRandom, type Timer } from "./clock.ts";
import { afterClose, afterError, type ComeBack } from "./goodbyes.ts";
import type { ServerMessage, StatusMessage } from "./messages.ts";
import {
  type Answered,
  MarketSubscription,
  type Outcome,
  type Subscription,
  type SubscriptionHandlers,
  type SubscriptionHost,
  type SubscriptionOptions,
} from "./subscription.ts";
import { type OpenWire, type Wire, webSocketWire } from "./wire.ts";

export interface ConnectOptions {
  /** `ws://` or `wss://`; or bring a `wire` of your own. */
  readonly url?: string;
  readonly wire?: OpenWire;
  /** The session token, or how to get a fresh one; asked for before every authentication. */
  readonly session: string | (() => string | Promise<string>);
  readonly appKey?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Told of every change of state. */
  readonly state?: (state: ConnectionState) => void;
  /** Told of errors thrown by callbacks; by default they go to the console. */
  readonly error?: (error: unknown) => void;
}

/**
 * Where a connection stands.
 *
 *     connecting ── `connection` ──> authenticating ── SUCCESS ──> ready
 *         ^                │               │                         │    any loss, silence, 40xx
 *         └──── timer ── waiting <─────────┴─────────────────────────┘
 *
 * `idle` is `waiting` with nothing subscribed: it connects at the next `subscribe`. `closed` is for good: by `close`, or because
 * the server said that coming back would be of no use.
 */
export type ConnectionState =
  | { readonly kind: "connecting" }
  | { readonly kind: "authenticating" }
  | { readonly kind: "ready" }
  | { readonly kind: "waiting"; readonly waitMs: number; readonly reason: string }
  | { readonly kind: "idle"; readonly reason: string }
  | { readonly kind: "closed"; readonly code: string; readonly reason: string };

/** How long the server may take to greet, and to answer the authentication (getting a token included), milliseconds. */
export const STEP_MS_MAX = 15_000;
/** A connection that stood this long was a good one: the next wait is a short one again. */
export const STEADY_MS = 10_000;
/** Refused tokens in a row after which no more are asked for. */
export const TOKEN_REFUSALS_MAX = 5;
/** Subscriptions one connection carries. */
export const SUBSCRIPTIONS_MAX = 100;

/**
 * Opens a connection and keeps it, until `close` or a refusal for good: reconnects, authenticates afresh, resumes every subscription
 * where it was. Never throws because of the network; watch `state`.
 */
export function connect(options: ConnectOptions): Connection {
  return new Connection(options);
}

export class Connection {
  readonly #options: ConnectOptions;
  readonly #openWire: OpenWire;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #subscriptions = new Map<number, MarketSubscription>();
  readonly #host: SubscriptionHost;
  /** What was asked beside subscriptions and is not answered yet, by id. */
  readonly #asked = new Map<number, (outcome: Outcome, message?: StatusMessage) => void>();
  #bytesPerSecondWished: number | null = null;
  #bytesPerSecond: number | null = null;
  #state: ConnectionState = { kind: "connecting" };
  #wire: Wire | null = null;
  /** Numbers the wires: whatever an earlier one or its token request still says is not heard. */
  #attempt = 0;
  /** One timer: of the step while connecting and authenticating, of silence while ready, of the retry while waiting. */
  #timer: Timer | null = null;
  #connects = 0;
  #lastId = 0;
  #authenticationId = 0;
  #readyAt = 0;
  #losses = 0;
  #tokenRefusals = 0;
  #lastMessageAt: number | null = null;
  #connectionId: string | null = null;

  constructor(options: ConnectOptions) {
    if (!options.wire && !options.url) throw new TypeError("connect needs a url or a wire");
    this.#options = options;
    this.#openWire = options.wire ?? webSocketWire(options.url as string);
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#host = {
      monotonic: () => this.#clock.monotonic(),
      guard: (callback) => this.#guard(callback),
      unsubscribe: (id) => this.#unsubscribe(id),
      ask: (message, answered) => this.#ask(message, answered),
    };
    this.#connect();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** What the server calls this connection, for support; null before the first greeting. */
  get connectionId(): string | null {
    return this.#connectionId;
  }

  /** Milliseconds since the last message of any kind; null before the first. */
  get messageAgeMs(): number | null {
    return this.#lastMessageAt === null ? null : this.#clock.monotonic() - this.#lastMessageAt;
  }

  /** How often it had to start again. */
  get reconnects(): number {
    return this.#connects - 1;
  }

  /** Subscribes now, or as soon as the connection is ready. Its books fill by themselves; `on` tells when. */
  subscribe(options: SubscriptionOptions = {}, on: SubscriptionHandlers = {}): Subscription {
    if (this.#subscriptions.size >= SUBSCRIPTIONS_MAX)
      throw new RangeError(`more than ${SUBSCRIPTIONS_MAX} subscriptions`);
    const subscription = new MarketSubscription(++this.#lastId, options, on, this.#host);
    if (this.#state.kind === "closed") {
      subscription.finish({ kind: "ended", reason: this.#state.reason });
      return subscription;
    }
    this.#subscriptions.set(subscription.id, subscription);
    if (this.#state.kind === "ready") this.#request(subscription);
    if (this.#state.kind === "idle") this.#connect();
    return subscription;
  }

  /** So many bytes of prices a second at most, on this connection and those after it; null: as many as this session may have. */
  setLimits({ bytesPerSecond }: { readonly bytesPerSecond: number | null }, answered: Answered = () => {}): void {
    this.#bytesPerSecondWished = bytesPerSecond;
    this.#askLimits((outcome) => this.#guard(() => answered(outcome)));
  }

  /** What the server says is in force, once limits were set; null: no limit, or none was heard of. */
  get bytesPerSecond(): number | null {
    return this.#bytesPerSecond;
  }

  /** Ends it for good. */
  close(reason = "closed by its owner"): void {
    this.#end("CLOSED", reason);
  }

  // what happens

  #connect(): void {
    const attempt = ++this.#attempt;
    const here = () => attempt === this.#attempt;
    this.#connects++;
    this.#enter({ kind: "connecting" }, STEP_MS_MAX, () => this.#lost("the server did not greet in time"));
    try {
      this.#wire = this.#openWire({
        open() {},
        message: (text) => here() && this.#receive(text),
        close: (code, reason) =>
          here() && this.#leave(afterClose(code), `closed with ${code}`, reason || `closed with ${code}`),
      });
    } catch (error) {
      this.#end("INVALID_URL", String(error));
    }
  }

  #receive(text: string): void {
    this.#lastMessageAt = this.#clock.monotonic();
    let message: ServerMessage;
    try {
      message = JSON.parse(text);
    } catch {
      return this.#lost("a message was not JSON");
    }
    if (message?.op === "mcm") this.#subscriptions.get(message.id as number) && this.#change(message, text);
    else if (message?.op === "status") this.#status(message);
    else if (message?.op === "connection") this.#greeted(message.connectionId ?? null);
  }

  #greeted(connectionId: string | null): void {
    if (this.#state.kind !== "connecting") return;
    this.#connectionId = connectionId;
    const attempt = this.#attempt;
    const here = () => attempt === this.#attempt;
    this.#enter({ kind: "authenticating" }, STEP_MS_MAX, () =>
      this.#lost("the authentication was not answered in time"),
    );
    const { session } = this.#options;
    if (typeof session === "string") return this.#authenticate(session);
    Promise.resolve()
      .then(session)
      .then(
        (token) => here() && this.#authenticate(token),
        (error) => here() && this.#lost(`no session token: ${error}`),
      );
  }

  #authenticate(session: string): void {
    this.#authenticationId = ++this.#lastId;
    this.#send({ op: "authentication", id: this.#authenticationId, appKey: this.#options.appKey, session });
  }

  #status(message: StatusMessage): void {
    const asked = this.#asked.get(message.id as number);
    if (asked !== undefined) return this.#answered(message, asked);
    if (message.statusCode !== "FAILURE") {
      if (this.#state.kind === "authenticating" && message.id === this.#authenticationId) this.#ready();
      return;
    }
    const code = message.errorCode ?? "UNEXPECTED_ERROR";
    const reason = message.errorMessage ?? code;
    const subscription = this.#subscriptions.get(message.id as number);
    if (subscription) this.#refused(subscription, code, reason, message.connectionClosed !== false);
    else if (message.connectionClosed !== false || this.#state.kind === "authenticating")
      this.#leave(afterError(code), code, reason);
  }

  #answered(message: StatusMessage, asked: (outcome: Outcome, message: StatusMessage) => void): void {
    this.#asked.delete(message.id as number);
    const isRefused = message.statusCode === "FAILURE";
    const code = message.errorCode ?? "UNEXPECTED_ERROR";
    const reason = message.errorMessage ?? code;
    asked(isRefused ? { kind: "refused", code, message: reason } : { kind: "accepted" }, message);
    if (isRefused && message.connectionClosed !== false && this.#state.kind === "ready")
      this.#leave(afterError(code), code, reason);
  }

  #ready(): void {
    this.#tokenRefusals = 0;
    this.#readyAt = this.#clock.monotonic();
    const resumed = [...this.#subscriptions.values()];
    this.#enter({ kind: "ready" });
    if (this.#bytesPerSecondWished !== null && this.#state.kind === "ready") this.#askLimits(() => {});
    for (const subscription of resumed) if (this.#carries(subscription)) this.#request(subscription);
  }

  #change(message: ServerMessage & { op: "mcm" }, text: string): void {
    const subscription = this.#subscriptions.get(message.id as number) as MarketSubscription;
    const { deadline } = subscription;
    try {
      subscription.receive(message, text);
      // an answer may take longer than a heartbeat: once it is here, silence is to be noticed sooner than was planned for
      if (subscription.deadline < deadline && this.#carries(subscription)) this.#watch();
    } catch (error) {
      // half a message may be in its books now: only an image makes them right again
      subscription.forgetClk();
      this.#lost(`a message made no sense: ${error}`);
    }
  }

  /** One subscription was refused. Where it can never work it alone goes; the others come back without it. */
  #refused(subscription: MarketSubscription, code: string, reason: string, connectionClosed: boolean): void {
    const comeBack = afterError(code);
    if (comeBack !== "no") return this.#leave(comeBack, code, reason);
    this.#subscriptions.delete(subscription.id);
    subscription.finish({ kind: "refused", code, message: reason });
    if (connectionClosed) this.#leave(this.#subscriptions.size === 0 ? "no" : "yes", code, reason);
  }

  /** A callback may have ended it, or everything, just now. */
  #carries(subscription: MarketSubscription): boolean {
    return this.#state.kind === "ready" && this.#subscriptions.has(subscription.id);
  }

  /** Silence is looked at when the earliest deadline passes, not by a timer set anew with each message. */
  #watch(): void {
    const now = this.#clock.monotonic();
    const deadlines = Array.from(this.#subscriptions.values(), (subscription) => subscription.deadline);
    const earliest = Math.min(...deadlines);
    if (earliest <= now) return this.#lost("nothing came for too long");
    this.#timer?.cancel();
    this.#timer = earliest === Infinity ? null : this.#clock.after(earliest - now, () => this.#watch());
  }

  // what is done about it

  #request(subscription: MarketSubscription): void {
    if (this.#send(subscription.request())) this.#watch();
  }

  #unsubscribe(id: number): void {
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return;
    this.#subscriptions.delete(id);
    subscription.finish({ kind: "ended", reason: "unsubscribed" });
    if (this.#state.kind === "ready") this.#send({ op: "unsubscribe", id: ++this.#lastId, subscription: id });
  }

  #askLimits(answered: Answered): void {
    const message = { op: "limits", bytesPerSecond: this.#bytesPerSecondWished };
    this.#ask(message, (outcome, status) => {
      if (outcome.kind === "accepted") this.#bytesPerSecond = status?.bytesPerSecond ?? null;
      answered(outcome);
    });
  }

  /** Asks now, or says that it must wait for the next connection. */
  #ask({ op, ...rest }: { op?: string }, answered: (outcome: Outcome, message?: StatusMessage) => void): void {
    if (this.#state.kind === "closed")
      return answered({ kind: "refused", code: this.#state.code, message: this.#state.reason });
    if (this.#state.kind !== "ready") return answered({ kind: "kept" });
    const id = ++this.#lastId;
    this.#asked.set(id, answered);
    this.#send({ op, id, ...rest });
  }

  #send(message: object): boolean {
    try {
      this.#wire?.send(JSON.stringify(message));
      return true;
    } catch (error) {
      this.#lost(`sending failed: ${error}`);
      return false;
    }
  }

  #leave(comeBack: ComeBack, code: string, reason: string): void {
    if (comeBack === "no") return this.#end(code, reason);
    if (
      comeBack === "token" &&
      (typeof this.#options.session === "string" || ++this.#tokenRefusals >= TOKEN_REFUSALS_MAX)
    )
      return this.#end(code, reason);
    if (comeBack === "fresh") for (const subscription of this.#subscriptions.values()) subscription.forgetClk();
    this.#lost(reason);
  }

  #lost(reason: string): void {
    if (this.#state.kind === "closed") return;
    const steady = this.#state.kind === "ready" && this.#clock.monotonic() - this.#readyAt >= STEADY_MS;
    this.#letGo();
    const attempt = this.#attempt;
    for (const subscription of this.#subscriptions.values()) subscription.lost();
    this.#unanswered({ kind: "kept" });
    if (attempt !== this.#attempt) return; // a callback closed the connection
    this.#losses = steady ? 0 : this.#losses;
    if (this.#subscriptions.size === 0) return this.#enter({ kind: "idle", reason });
    const waitMs = retryMs(this.#losses++, this.#random);
    this.#enter({ kind: "waiting", waitMs, reason }, waitMs, () => this.#connect());
  }

  #end(code: string, reason: string): void {
    if (this.#state.kind === "closed") return;
    this.#letGo();
    const ended = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    this.#enter({ kind: "closed", code, reason });
    for (const subscription of ended) subscription.finish({ kind: "ended", reason });
    this.#unanswered({ kind: "refused", code, message: reason });
  }

  /** Nobody will answer any more what was asked on the connection that is gone. */
  #unanswered(outcome: Outcome): void {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const answered of asked) answered(outcome);
  }

  /** From here on nothing of this wire is heard. */
  #letGo(): void {
    const wire = this.#wire;
    this.#wire = null;
    this.#attempt++;
    try {
      wire?.close();
    } catch {
      // it was broken: that is why it goes
    }
  }

  #enter(state: ConnectionState, timerMs?: number, fire?: () => void): void {
    this.#timer?.cancel();
    this.#timer = timerMs === undefined || !fire ? null : this.#clock.after(timerMs, fire);
    this.#state = state;
    if (this.#options.state) this.#guard(() => this.#options.state?.(state));
  }

  #guard(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      if (this.#options.error) this.#options.error(error);
      else console.error("oddswire: a callback failed", error);
    }
  }
}
