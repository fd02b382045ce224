import type { Clock } from "../base/clock.ts";
import { FAULTS, type Goodbye } from "../base/errors.ts";
import type { Outlet } from "../delivery/outlet.ts";
import type { Account, Visitor } from "../tenancy/tokens.ts";
import {
  type AlterRequest,
  type ClientRequest,
  type OrderSubscribeRequest,
  parseRequest,
  type SportSubscribeRequest,
  type SubscribeRequest,
} from "../wire/requests.ts";
import { asciiJson } from "../wire/text.ts";
import type { Deadlines } from "./deadlines.ts";

/** More requests than this within the window is TOO_MANY_REQUESTS: a subscription costs a walk over the markets. */
export const REQUESTS_MAX = 300;
export const REQUESTS_WINDOW_MS = 10_000;

/** What the conversation needs of the hub. */
export interface HubFace {
  join(outlet: Outlet, visitor: Visitor): HubSession;
  /** Says goodbye to everybody who joined. */
  closeAll(goodbye: Goodbye): void;
}

export interface HubSession {
  /** Who was let in, as `join` was told. */
  readonly visitor: Visitor;
  /** One message (JSON text, ASCII), in order with everything else; while the socket is full there is headroom for a few small ones only. */
  say(message: string): void;
  /** The socket takes more. */
  readonly isClear: boolean;
  /** Says `accepted`, where given, before anything of the subscription follows; nothing where the request is refused. */
  subscribe(request: SubscribeRequest, accepted?: string): Goodbye | null;
  unsubscribe(id: number): boolean;
  /** Says `accepted` before anything that the alteration brings; nothing where it is refused. */
  alter(request: AlterRequest, accepted: string): Goodbye | null;
  /** So many bytes of prices a second at most; returns what is in force. */
  limit(bytesPerSecond: number | null): number | null;
  /** The socket takes more. `aside` is called where there is room again, before prices fill it. */
  drained(aside: () => void): void;
  /** Lets go. What a write had left over comes back, to be written before any last words. */
  leave(): Uint8Array | null;
}

/**
 * A stream beside the market stream: orders, races, cricket. A connection has one subscription of each kind at most; a new one replaces the old.
 * Its messages go through the session's `say`, while `isClear`; who finds it full waits for `drained` and then tells what is the state by then.
 */
export interface SideStream<Request> {
  /** Says `accepted` before anything else; or gives the reason why not, and has said nothing. */
  subscribe(
    account: Account,
    request: Request,
    session: Pick<HubSession, "say" | "isClear">,
    accepted: string,
  ): SideSubscription | Goodbye;
}

export interface SideSubscription {
  drained(): void;
  /** Nothing is said any more: it was replaced, or its user is gone. */
  end(): void;
}

/** The side streams that are served here, by the op that asks for them. */
export interface SideStreams {
  readonly orderSubscription?: SideStream<OrderSubscribeRequest>;
  readonly raceSubscription?: SideStream<SportSubscribeRequest>;
  readonly cricketSubscription?: SideStream<SportSubscribeRequest>;
}

/** What a visit asks of the house it is in; `Lobby` is one. */
export interface VisitHost {
  readonly hub: HubFace;
  readonly clock: Clock;
  readonly sides: SideStreams;
  /** Visits without a subscription; the host ends those that are due. */
  readonly idle: Deadlines<Visit>;
  authenticate(appKey: string | null, session: string | null): Account | Goodbye;
  /** Counts one more connection of the account; how many more it may open, or why not even this one. */
  admit(account: Account): number | Goodbye;
  /** A visit is over; with its account where it was admitted. */
  departed(account: Account | null, goodbye: Goodbye | null): void;
  /** A connection's id in the exchange's form. */
  connectionId(connection: number): string;
}

/** What is still to be written when a visit ends: what the hub's last write left over, and the dialect's goodbye (JSON text, ASCII). */
export interface Parting {
  readonly rest: Uint8Array | null;
  readonly words: string;
}

/** Let in, it is the hub's session: an object that says so would cost each user fifty bytes. */
type State = "greeted" | HubSession | "over";

const NOT_SERVED: Readonly<Record<keyof SideStreams, string>> = {
  // Orders belong to the account that holds the one upstream.
  orderSubscription: "order streams are not served here",
  raceSubscription: "race streams are not served here",
  cricketSubscription: "cricket streams are not served here",
};

const NOTHING_LEFT: Parting = { rest: null, words: "" };

/**
 * A visitor's conversation, the same on every door.
 *
 *     greeted ── authentication ──> authenticated ── a subscription ──> subscribed
 *        └──────────┴── refused, idle for 15 s, asked too much, hub or user let go ──┴──> over
 *
 * The door hands in messages (`receive`), says when there is room (`drained`), and that it is over (`end`, whoever ended it). Until the visitor is
 * authenticated the words go straight to the outlet; afterwards the hub writes them, in order with everything else. Nothing is sent that was not asked
 * for before the first subscription: betfairlightweight takes one read for one message until then.
 */
export class Visit {
  /** What its id is made of. */
  readonly #connection: number;
  readonly #host: VisitHost;
  readonly #outlet: Outlet;
  #state: State = "greeted";
  /** The request that is being refused for good, for `end` to name. */
  #failing: number | null = null;
  /** Null until there is one: most visitors never ask for a side stream. */
  #sides: Map<keyof SideStreams, { readonly id: number; readonly subscription: SideSubscription }> | null = null;
  #windowStart = 0;
  #requests = 0;

  constructor(host: VisitHost, outlet: Outlet, connection: number) {
    this.#host = host;
    this.#outlet = outlet;
    this.#connection = connection;
  }

  get connectionId(): string {
    return this.#host.connectionId(this.#connection);
  }

  /** Says goodbye in the dialect, and ends it. */
  close(goodbye: Goodbye): void {
    this.#outlet.close(goodbye);
  }

  /** The first word is ours: the door writes it (JSON text, ASCII). */
  greeting(): string {
    this.#host.idle.putOff(this);
    return asciiJson({ op: "connection", connectionId: this.connectionId });
  }

  /**
   * Instead of a conversation, for a door where everything is asked at once and answered by being there: lets in and subscribes. Not null: why not, and the
   * visit is over; nothing was said.
   */
  open(appKey: string | null, session: string | null, requests: readonly SubscribeRequest[]): Goodbye | null {
    const available = this.#letIn(appKey, session);
    if (typeof available !== "number") return this.#refuseEntry(available);
    for (const request of requests) {
      const refusal = (this.#state as HubSession).subscribe(request);
      if (refusal !== null) return this.#refuseEntry(refusal);
    }
    return null;
  }

  #refuseEntry(goodbye: Goodbye): Goodbye {
    this.end(goodbye);
    return goodbye;
  }

  /** One message of the visitor. */
  receive(text: string): void {
    if (this.#state === "over") return;
    if (this.#host.idle.has(this)) this.#host.idle.putOff(this);
    if (this.#asksTooOften()) {
      const message = `more than ${REQUESTS_MAX} requests in ${REQUESTS_WINDOW_MS} ms`;
      return this.#fail(null, { code: "TOO_MANY_REQUESTS", message });
    }
    this.#answer(parseRequest(text, this.#outlet.extensions));
  }

  drained(): void {
    if (typeof this.#state === "string") return;
    // Orders are few, and prices without end: whoever reads slowly would not hear of the ones before it is in step with the others.
    this.#state.drained(() => {
      for (const { subscription } of this.#sides?.values() ?? []) subscription.drained();
    });
  }

  /** Neither subscribed nor asking: the host's `idle` says so. */
  idled(): void {
    const message = `Connection is not subscribed and is idle: ${this.#host.idle.ms} ms`;
    this.#fail(null, { code: "TIMEOUT", message });
  }

  /** The door is closing, whoever wants it (null: the visitor just went). Lets go of the hub and says what is still to be written. */
  end(goodbye: Goodbye | null): Parting {
    const state = this.#state;
    if (state === "over") return NOTHING_LEFT;
    this.#state = "over";
    this.#host.idle.drop(this);
    for (const { subscription } of this.#sides?.values() ?? []) subscription.end();
    this.#sides = null;
    this.#host.departed(state === "greeted" ? null : accountOf(state), goodbye);
    const rest = state === "greeted" ? null : state.leave();
    const words = goodbye ? asciiJson(this.#failure(this.#failing, goodbye, true)) : "";
    return { words, rest };
  }

  #answer(request: ClientRequest): void {
    if (request.kind === "invalid") return this.#refuse(request.id, request);
    if (request.kind === "authentication") return this.#authenticate(request.id, request.appKey, request.session);
    if (typeof this.#state === "string") {
      return this.#fail(request.id, { code: "NOT_AUTHORIZED", message: "Connection is not authenticated" });
    }
    switch (request.kind) {
      case "marketSubscription":
        return this.#subscribe(this.#state, request.request);
      case "unsubscribe":
        return this.#unsubscribe(this.#state, request.id, request.subscription);
      case "change":
      case "addMarkets":
      case "removeMarkets":
        return this.#alter(this.#state, request);
      case "limits":
        return this.#say({
          ...success(request.id),
          bytesPerSecond: this.#state.limit(request.bytesPerSecond),
        });
      case "raceSubscription":
      case "cricketSubscription":
        return this.#subscribeSide(this.#state, request.kind, this.#host.sides[request.kind], request.request);
      case "orderSubscription":
        return this.#subscribeSide(this.#state, request.kind, this.#host.sides[request.kind], request.request);
      case "heartbeat":
        return this.#say(success(request.id));
    }
  }

  #authenticate(id: number | null, appKey: string | null, session: string | null): void {
    if (this.#state !== "greeted") {
      return this.#fail(id, { code: "INVALID_REQUEST", message: "Connection is already authenticated" });
    }
    const connectionsAvailable = this.#letIn(appKey, session);
    if (typeof connectionsAvailable !== "number") return this.#fail(id, connectionsAvailable);
    this.#say({ ...success(id), connectionsAvailable });
  }

  /** Returns how many more connections its account may open; or why it stays outside. */
  #letIn(appKey: string | null, session: string | null): number | Goodbye {
    const account = this.#host.authenticate(appKey, session);
    if ("code" in account) return account;
    const available = this.#host.admit(account);
    if (typeof available === "number") this.#state = this.#host.hub.join(this.#outlet, account);
    return available;
  }

  #subscribe(session: HubSession, request: SubscribeRequest): void {
    const refusal = session.subscribe(request, asciiJson(success(request.id)));
    if (refusal !== null) return this.#refuse(request.id, refusal);
    this.#host.idle.drop(this);
  }

  #subscribeSide<Request extends SportSubscribeRequest>(
    session: HubSession,
    kind: keyof SideStreams,
    stream: SideStream<Request> | undefined,
    request: Request,
  ): void {
    if (stream === undefined) return this.#refuse(request.id, { code: "NOT_AUTHORIZED", message: NOT_SERVED[kind] });
    const replaced = this.#sides?.get(kind);
    const opened = stream.subscribe(accountOf(session), request, session, asciiJson(success(request.id)));
    if ("code" in opened) return this.#refuse(request.id, opened);
    // What it says at once may have ended the visit.
    if (this.#hasEnded) return opened.end();
    replaced?.subscription.end();
    this.#sides ??= new Map();
    this.#sides.set(kind, { id: request.id, subscription: opened });
    this.#host.idle.drop(this);
  }

  get #hasEnded(): boolean {
    return this.#state === "over";
  }

  #unsubscribe(session: HubSession, id: number | null, subscription: number): void {
    const side = [...(this.#sides ?? [])].find(([, open]) => open.id === subscription);
    side?.[1].subscription.end();
    if (side !== undefined) this.#sides?.delete(side[0]);
    if (side !== undefined || session.unsubscribe(subscription)) return this.#say(success(id));
    this.#refuse(id, { code: "INVALID_REQUEST", message: `there is no subscription ${subscription}` });
  }

  #alter(session: HubSession, request: AlterRequest): void {
    const refusal = session.alter(request, asciiJson(success(request.id)));
    if (refusal !== null) this.#refuse(request.id, refusal);
  }

  /** Answers that a request failed; for most that ends the connection, as at the exchange. */
  #refuse(id: number | null, goodbye: Goodbye): void {
    const known = this.#state !== "greeted";
    // Where several subscriptions share a connection, a mistake in one must not cost the others.
    const forgiven = this.#outlet.extensions && known && id !== null && goodbye.code === "INVALID_REQUEST";
    if (!forgiven && goodbye.code !== "SUBSCRIPTION_LIMIT_EXCEEDED") return this.#fail(id, goodbye);
    this.#say(this.#failure(id, goodbye, false));
  }

  /** Ends the connection: the door comes back for the words through `end`. */
  #fail(id: number | null, goodbye: Goodbye): void {
    this.#failing = id;
    this.#outlet.close(goodbye);
  }

  #failure(id: number | null, goodbye: Goodbye, connectionClosed: boolean): object {
    return {
      op: "status",
      ...(id !== null && { id }),
      statusCode: "FAILURE",
      errorCode: FAULTS[goodbye.code].esa,
      errorMessage: goodbye.message,
      connectionClosed,
      connectionId: this.connectionId,
    };
  }

  #say(message: object): void {
    const text = asciiJson(message);
    if (typeof this.#state === "object") this.#state.say(text);
    else if (this.#state === "greeted") this.#sayAlone(text);
  }

  /** A few words on a fresh connection; a socket that has no room even for them is not worth keeping. */
  #sayAlone(text: string): void {
    const bytes = framed(this.#outlet, text);
    if (this.#outlet.write(bytes) < bytes.length) this.#fail(null, { code: "SLOW", message: "nothing is being read" });
  }

  #asksTooOften(): boolean {
    const now = this.#host.clock.monotonic();
    if (now - this.#windowStart >= REQUESTS_WINDOW_MS) {
      this.#windowStart = now;
      this.#requests = 0;
    }
    return ++this.#requests > REQUESTS_MAX;
  }
}

/** One message as it goes over the outlet's wire; ASCII text. */
export function framed({ framing }: Pick<Outlet, "framing">, text: string): Uint8Array {
  const out = Buffer.allocUnsafe(text.length + 2 * framing.overheadMax);
  let at = framing.before(out, 0, text.length);
  at += out.write(text, at, "latin1");
  at += framing.after(out, at);
  return out.subarray(0, at);
}

/** Nobody else is let in than accounts. */
function accountOf({ visitor }: HubSession): Account {
  return visitor as Account;
}

function success(id: number | null): object {
  return { op: "status", ...(id !== null && { id }), statusCode: "SUCCESS", connectionClosed: false };
}
