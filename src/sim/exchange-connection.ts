import { Buffer } from "node:buffer";
import type { Clock, Timer } from "../base/clock.ts";
import type { EsaErrorCode } from "../base/errors.ts";
import type { Socket, SocketHandler } from "../base/socket.ts";
import type { Follower } from "./exchange-follower.ts";
import type {
  AuthenticationRequest,
  ExchangeRequest,
  MarketSubscriptionRequest,
  SideSubscriptionRequest,
} from "./exchange-requests.ts";
import { parseRequest } from "./exchange-requests.ts";
import type { Subscriber } from "./exchange-subscriber.ts";
import type { Wire } from "./exchange-talk.ts";

/** No request is longer: 40,000 market ids fit. */
const LINE_BYTES_MAX = 1024 * 1024;
/** Who takes no byte for this long is cut off. */
const STALLED_MS_MAX = 120_000;
/** Answers waiting for room in the socket, beyond the message being written. */
const UNSENT_BYTES_MAX = 64 * 1024;

export interface Refusal {
  readonly code: EsaErrorCode;
  readonly message: string;
}

/** What a connection asks of its exchange. */
export interface Counter {
  readonly clock: Clock;
  readonly idleMs: number;
  opened(connection: ExchangeConnection): void;
  authenticate(request: AuthenticationRequest): (Account & { readonly connectionsAvailable: number }) | Refusal;
  /** Counts the markets first; the subscriber it gives has not begun yet. */
  subscribe(
    connection: ExchangeConnection,
    request: MarketSubscriptionRequest,
  ): { readonly begin: () => Subscriber } | Refusal;
  follow(
    connection: ExchangeConnection,
    request: SideSubscriptionRequest,
  ): { readonly begin: () => Follower } | Refusal;
  sent(bytes: number): void;
  closed(connection: ExchangeConnection): void;
}

export interface Account {
  readonly account: string;
  /** Its app key gets late data. */
  readonly delayed: boolean;
  /** Its app key may have orders, and races and cricket. */
  readonly orders: boolean;
  readonly sports: boolean;
}

type State =
  | { readonly kind: "connected" }
  | ({ readonly kind: "authenticated" } & Account)
  /** To markets, or to one of the streams beside them. */
  | ({ readonly kind: "subscribed"; readonly subscriber: Subscriber | null } & Account)
  | { readonly kind: "closed" };

/**
 * One client at the exchange: lines in, answers out.
 *
 *     connected ──authentication──> authenticated ──marketSubscription──> subscribed (a new one replaces the old)
 *
 * Orders, races and cricket each are a subscription of their own beside the markets, with nothing between them but the socket.
 * Every failure but a refused subscription closes the connection; so do 15 s without a word while not subscribed.
 */
export class ExchangeConnection implements Wire {
  readonly connectionId: string;
  readonly handler: SocketHandler;
  readonly #counter: Counter;
  readonly #socket: Socket;
  /** By `op` of their messages. */
  readonly #followers = new Map<string, Follower>();
  #state: State = { kind: "connected" };
  #frozen = false;
  #received = Buffer.alloc(0);
  /** What the socket did not take yet. */
  #unsent: Uint8Array = new Uint8Array(0);
  #idle: Timer | null = null;
  #stalled: Timer | null = null;

  constructor(counter: Counter, socket: Socket, connectionId: string) {
    this.#counter = counter;
    this.#socket = socket;
    this.connectionId = connectionId;
    this.handler = {
      open: () => this.#opened(),
      data: (_socket, bytes) => this.#data(bytes),
      drain: () => this.#drained(),
      close: () => this.#over(),
    };
  }

  get remote(): string {
    return this.#socket.remote;
  }

  get state(): State["kind"] {
    return this.#state.kind;
  }

  get account(): string | null {
    return "account" in this.#state ? this.#state.account : null;
  }

  /** Null until it is authenticated. */
  get rights(): Account | null {
    return "account" in this.#state ? this.#state : null;
  }

  /** Some stream has something for it that it could not take yet. */
  get behind(): boolean {
    return (this.subscriber?.behind ?? false) || [...this.#followers.values()].some(({ behind }) => behind);
  }

  get subscriber(): Subscriber | null {
    return this.#state.kind === "subscribed" ? this.#state.subscriber : null;
  }

  get full(): boolean {
    return this.#unsent.length > 0;
  }

  /** One line, in one write with its CRLF. */
  write(line: string): void {
    if (this.#frozen || this.#state.kind === "closed") return;
    const bytes = Buffer.from(`${line}\r\n`);
    this.#counter.sent(bytes.length);
    if (this.full && this.#unsent.length + bytes.length > UNSENT_BYTES_MAX) return this.cut();
    const taken = this.full ? 0 : this.#socket.write(bytes);
    if (taken === bytes.length) return;
    this.#unsent = this.full ? Buffer.concat([this.#unsent, bytes]) : bytes.subarray(taken);
    this.#watchStall();
  }

  /** Breaks the connection without a word, as a fault does. */
  cut(): void {
    this.#socket.destroy();
    this.#over();
  }

  /** Half-open from here on: hears nothing, says nothing, but does not close. */
  freeze(): void {
    this.#frozen = true;
    this.#stopStreams();
    this.#idle?.cancel();
    this.#stalled?.cancel();
  }

  #opened(): void {
    this.#counter.opened(this);
    this.write(JSON.stringify({ op: "connection", connectionId: this.connectionId }));
    this.#watchIdle();
  }

  #data(bytes: Uint8Array): void {
    if (this.#frozen) return;
    this.#received = Buffer.concat([this.#received, bytes]);
    for (let end = this.#received.indexOf(10); end !== -1; end = this.#received.indexOf(10)) {
      const line = textOf(this.#received.subarray(0, this.#received[end - 1] === 13 ? end - 1 : end));
      this.#received = this.#received.subarray(end + 1);
      if (line === null) this.#fail(null, refusal("INVALID_INPUT", "Not UTF-8"));
      else if (line !== "") this.#request(parseRequest(line));
      if (this.#state.kind === "closed") return;
    }
    if (this.#received.length > LINE_BYTES_MAX) this.#fail(null, refusal("INVALID_INPUT", "Message too long"));
  }

  #request(request: ExchangeRequest): void {
    this.#watchIdle();
    switch (request.kind) {
      case "authentication":
        return this.#authenticate(request);
      case "marketSubscription":
        return this.#subscribe(request);
      case "heartbeat":
        return this.#isAuthenticated(request.id) ? this.#succeed(request.id) : undefined;
      case "sideSubscription":
        return this.#follow(request);
      case "invalid":
        return this.#fail(request.id, request);
    }
  }

  #authenticate(request: AuthenticationRequest): void {
    if (this.#state.kind !== "connected")
      return this.#fail(request.id, refusal("INVALID_REQUEST", "Connection is already authenticated"));
    const outcome = this.#counter.authenticate(request);
    if ("code" in outcome) return this.#fail(request.id, outcome);
    const { connectionsAvailable, ...rights } = outcome;
    this.#state = { kind: "authenticated", ...rights };
    this.#succeed(request.id, { connectionsAvailable });
  }

  #subscribe(request: MarketSubscriptionRequest): void {
    const state = this.#state;
    if (!this.#isAuthenticated(request.id) || !("account" in state)) return;
    const outcome = this.#counter.subscribe(this, request);
    if ("code" in outcome) return this.#fail(request.id, outcome);
    this.#idle?.cancel();
    this.subscriber?.stop();
    this.#succeed(request.id);
    this.#state = { ...state, kind: "subscribed", subscriber: outcome.begin() };
  }

  #follow(request: SideSubscriptionRequest): void {
    const state = this.#state;
    if (!this.#isAuthenticated(request.id) || !("account" in state)) return;
    const outcome = this.#counter.follow(this, request);
    if ("code" in outcome) return this.#fail(request.id, outcome);
    this.#idle?.cancel();
    this.#followers.get(request.what.op)?.stop();
    this.#succeed(request.id);
    this.#state = { ...state, kind: "subscribed", subscriber: this.subscriber };
    this.#followers.set(request.what.op, outcome.begin());
  }

  /** False: it had to be first, and the connection is over. */
  #isAuthenticated(id: number | null): boolean {
    if ("account" in this.#state) return true;
    this.#fail(id, refusal("NOT_AUTHORIZED", "Connection is not authenticated"));
    return false;
  }

  #succeed(id: number | null, more: Record<string, number> = {}): void {
    this.write(status(id, { statusCode: "SUCCESS", connectionClosed: false, ...more }));
  }

  /** Refused subscriptions keep the connection; everything else ends it. */
  #fail(id: number | null, { code, message }: Refusal): void {
    const connectionClosed = code !== "SUBSCRIPTION_LIMIT_EXCEEDED";
    const { connectionId } = this;
    this.write(
      status(id, { statusCode: "FAILURE", errorCode: code, errorMessage: message, connectionClosed, connectionId }),
    );
    if (!connectionClosed || this.#state.kind === "closed") return;
    this.#socket.end();
    this.#over();
  }

  #drained(): void {
    if (this.#frozen || this.#state.kind === "closed" || !this.full) return;
    this.#unsent = this.#unsent.subarray(this.#socket.write(this.#unsent));
    this.#watchStall();
    if (!this.full) this.subscriber?.drained();
    for (const follower of this.#followers.values()) if (!this.full) follower.drained();
  }

  #over(): void {
    if (this.#state.kind === "closed") return;
    this.#stopStreams();
    this.#idle?.cancel();
    this.#stalled?.cancel();
    this.#counter.closed(this);
    this.#state = { kind: "closed" };
  }

  #stopStreams(): void {
    this.subscriber?.stop();
    for (const follower of this.#followers.values()) follower.stop();
  }

  #watchIdle(): void {
    this.#idle?.cancel();
    if (this.#state.kind === "subscribed" || this.#state.kind === "closed") return;
    const { idleMs, clock } = this.#counter;
    const message = `Connection is not subscribed and is idle: ${idleMs} ms`;
    this.#idle = clock.after(idleMs, () => this.#fail(null, refusal("TIMEOUT", message)));
  }

  #watchStall(): void {
    this.#stalled?.cancel();
    if (this.full) this.#stalled = this.#counter.clock.after(STALLED_MS_MAX, () => this.cut());
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Null: it is not UTF-8. */
function textOf(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

function refusal(code: EsaErrorCode, message: string): Refusal {
  return { code, message };
}

function status(id: number | null, fields: Record<string, unknown>): string {
  return JSON.stringify({ op: "status", id: id ?? undefined, ...fields });
}
