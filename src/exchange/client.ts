import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Address, Dial, TlsClientOptions } from "../base/socket.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { MarketFilter } from "../market/filter.ts";
import { FIELD, type FieldName, type FieldSet, type Sink, type Source, type SourceState } from "../market/types.ts";
import { decodeServerLine, type StatusMessage } from "../wire/esa.ts";
import { type Action, type Event, INITIAL, type Settings, type State, SUBSCRIPTION_ID, step } from "./connection.ts";
import type { Post, TokenOutcome } from "./identity.ts";
import { Link } from "./link.ts";
import type { Session } from "./session.ts";

export interface ExchangeClientOptions {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** TLS with certificate verification, by the system's authorities or `ca`; plain TCP only where "off" asks for it. */
  readonly tls: TlsClientOptions | "off";
  readonly appKey: string;
  readonly filter: MarketFilter;
  readonly fields: FieldSet;
  readonly ladderLevels: number;
  /** 0 to 120,000: how long the exchange may hold changes back to merge them. */
  readonly conflateMs: number;
  /** The longest line taken; a longer one ends the connection. */
  readonly lineBytesMax: number;
  /** Heartbeat, silence and waits: see `Settings`. */
  readonly settings: Settings;
}

/** What fits the exchange's own limits and advice; everything but who, where and what. */
export const EXCHANGE_DEFAULTS = {
  ladderLevels: 10,
  conflateMs: 0,
  lineBytesMax: 16 * 1024 * 1024,
  settings: {
    heartbeatMs: 5_000,
    silenceFactor: 2,
    requestMs: 30_000,
    steadyMs: 10_000,
    refusedTokensMax: 3,
    waits: {
      retry: { firstMs: 1_000, maxMs: 60_000 },
      later: { firstMs: 60_000, maxMs: 120_000 },
      slow: { firstMs: 600_000, maxMs: 600_000 },
    },
  },
} as const satisfies Partial<ExchangeClientOptions>;

/** What a client needs of the world. */
export interface ExchangeWorld {
  readonly dial: Dial;
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** A timer this late means that we were frozen, not that the exchange was silent; what it sent meanwhile is still to be read. */
const LATE_MS = 250;
const ENCODER = new TextEncoder();

/**
 * The one upstream as a `Source`: carries out what the connection machine decides, and tells it what happened.
 *
 * Each message goes to `sink.batch` as it is, with its clk, repeated or out of order as it may be; a line that cannot be read is never applied, not
 * even in part: the connection is dropped and resumed. Whoever reads the counters finds plain fields.
 */
export class ExchangeClient implements Source {
  readonly name: string;
  /** Connections made. */
  connects = 0;
  /** Answers to a resume, and images (at the start or in mid-stream). */
  resumes = 0;
  images = 0;
  bytes = 0;
  messages = 0;
  heartbeats = 0;
  /** Lines that could not be read or were too long. */
  invalidLines = 0;
  /** Messages of an op that this stream has no use for, and changes under another id than our subscription's. */
  otherMessages = 0;
  foreignIds = 0;
  /** By the monotonic clock; null before the first. */
  lastMessageAt: number | null = null;
  /** The exchange's publish time of the last change message, milliseconds since the Unix epoch. */
  lastPublishTime: number | null = null;
  connectionId: string | null = null;
  /** Further connections the account may open, as of the last authentication. */
  connectionsAvailable: number | null = null;
  /** What the sink was last told. */
  sourceState: SourceState = "down";

  readonly #options: ExchangeClientOptions;
  readonly #world: ExchangeWorld;
  readonly #batch = new ChangeBatch();
  readonly #change: Event = { kind: "change", change: this.#batch };
  #state: State = INITIAL;
  #sink: Sink | null = null;
  #link: Link | null = null;
  #timer: Timer | null = null;
  #tokenUsed = "";
  /** A batch was handed over in this read. */
  #unsettled = false;
  /** Counts logins asked for: an answer to an older one comes too late. */
  #loginAsked = 0;

  constructor(options: ExchangeClientOptions, world: ExchangeWorld) {
    this.name = options.name;
    this.#options = options;
    this.#world = world;
  }

  /** Where the connection stands, and why where it waits. */
  get state(): State {
    return this.#state;
  }

  start(sink: Sink): void {
    if (this.#sink !== null) throw new Error(`${this.name} is started already`);
    this.#sink = sink;
    this.#happened({ kind: "start" });
  }

  stop(): void {
    this.#sink = null;
    this.#happened({ kind: "stop" });
    this.#world.session.stop();
    this.sourceState = "down";
  }

  #happened(event: Event): void {
    const { clock, random } = this.#world;
    const before = this.#state;
    const given = { now: clock.monotonic(), chance: random.next(), settings: this.#options.settings };
    const { state, actions } = step(before, event, given);
    this.#state = state;
    if (state.kind !== before.kind) this.#tell(before, state);
    for (const action of actions) {
      this.#perform(action);
      // Whatever an action set off at once (a connection refused, a sink that stops us) has had its own actions: the rest of these is void.
      if (this.#state !== state) return;
    }
  }

  #perform(action: Action): void {
    switch (action.kind) {
      case "logIn":
        return this.#logIn(action.freshToken);
      case "dial":
        return this.#dial();
      case "authenticate":
        return this.#send({
          op: "authentication",
          id: action.id,
          appKey: this.#options.appKey,
          session: this.#tokenUsed,
        });
      case "subscribe":
        return this.#send(subscription(this.#options, action));
      case "close":
        return this.#drop();
      case "await":
        return this.#after(action.ms, () => this.#happened({ kind: "requestTimeout" }));
      case "wait":
        return this.#after(action.ms, () => this.#happened({ kind: "backoffOver" }));
      case "watch":
        return this.#watch(action.silenceMs);
      case "deliver":
        return this.#deliver();
      case "say":
        return this.#say(action.state, action.reason);
    }
  }

  #logIn(freshToken: boolean): void {
    const { session } = this.#world;
    const asked = ++this.#loginAsked;
    if (freshToken) session.refused(this.#tokenUsed);
    const token = session.current();
    if (token !== null) return this.#tokenCame({ kind: "token", token });
    void session.token().then((came) => {
      if (asked === this.#loginAsked) this.#tokenCame(came);
    });
  }

  #tokenCame(outcome: TokenOutcome): void {
    if (outcome.kind !== "token") {
      return this.#happened({ kind: "tokenFailed", outcome: outcome.kind, reason: outcome.reason });
    }
    this.#tokenUsed = outcome.token;
    this.#happened({ kind: "tokenReady" });
  }

  #dial(): void {
    const link = new Link(this.#options.lineBytesMax);
    this.#link = link;
    const still = (run: () => void) => {
      if (this.#link === link) run();
    };
    const socket = this.#world.dial(address(this.#options), {
      open: (socket) => {
        if (this.#link !== link) return socket.destroy();
        link.socket = socket;
        this.connects++;
        this.#happened({ kind: "connected" });
      },
      data: (_, bytes) => still(() => this.#read(link, bytes)),
      drain: () => still(() => link.flush()),
      close: (_, error) =>
        still(() => {
          this.#link = null;
          this.#happened({ kind: "closed", reason: error?.message ?? "closed by the exchange" });
        }),
    });
    // It may be over before `dial` returns.
    if (this.#link === link) link.socket = socket;
    else socket.destroy();
  }

  #drop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const link = this.#link;
    this.#link = null;
    link?.socket?.destroy();
  }

  #send(message: object): void {
    this.#link?.send(ENCODER.encode(`${JSON.stringify(message)}\r\n`));
  }

  #read(link: Link, bytes: Uint8Array): void {
    this.bytes += bytes.length;
    link.heardAt = this.#world.clock.monotonic();
    const fits = link.reader.push(bytes, (chunk, start, end) => {
      // What follows a message that ended the connection is never read.
      if (this.#link === link && end > start) this.#message(link, chunk, start, end);
    });
    if (!fits && this.#link === link) this.#invalid(`a line of more than ${this.#options.lineBytesMax} bytes`);
    if (!this.#unsettled) return;
    this.#unsettled = false;
    this.#sink?.settled();
  }

  #message(link: Link, bytes: Uint8Array, start: number, end: number): void {
    const message = decodeServerLine(bytes, start, end, this.#batch);
    this.messages++;
    this.lastMessageAt = link.messageAt = link.heardAt;
    switch (message.kind) {
      case "change":
        return this.#happened(this.#change);
      case "connection":
        this.connectionId = message.connectionId;
        return this.#happened(message);
      case "status":
        return this.#status(message);
      case "other":
        this.otherMessages++;
        return;
      case "invalid":
        return this.#invalid(message.reason);
    }
  }

  #status(message: StatusMessage): void {
    if (message.connectionsAvailable !== null) this.connectionsAvailable = message.connectionsAvailable;
    if (message.statusCode === "SUCCESS") return this.#happened({ kind: "success", id: message.id });
    const { errorCode, errorMessage } = message;
    this.#happened({ kind: "failure", errorCode, errorMessage });
  }

  #invalid(reason: string): void {
    this.invalidLines++;
    this.#happened({ kind: "invalid", reason });
  }

  #deliver(): void {
    const batch = this.#batch;
    this.lastPublishTime = batch.pt;
    this.#count(batch);
    this.#unsettled = true;
    this.#sink?.batch(batch);
  }

  #count(batch: ChangeBatch): void {
    if (batch.id !== null && batch.id !== SUBSCRIPTION_ID) this.foreignIds++;
    if (batch.kind === "heartbeat") this.heartbeats++;
    const begins = batch.segment === "whole" || batch.segment === "start";
    if (batch.kind === "image" && begins) this.images++;
    if (batch.kind === "resume" && begins) this.resumes++;
  }

  #say(state: SourceState, reason: string): void {
    this.sourceState = state;
    this.#sink?.state(state, reason);
  }

  #tell(before: State, after: State): void {
    const fields = { source: this.name, from: before.kind, to: after.kind };
    const { log } = this.#world;
    if (after.kind === "failed") log.error({ ...fields, reason: after.reason }, "the exchange refuses us: given up");
    else if (after.kind === "waiting") log.warn({ ...fields, reason: after.reason }, "no connection to the exchange");
    else if (after.kind === "live") log.info(fields, "the exchange is live");
    else log.debug(fields, "exchange connection");
  }

  #after(ms: number, fire: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#world.clock.after(ms, fire);
  }

  #watch(silenceMs: number): void {
    if (this.#link !== null) this.#lookAfter(silenceMs, this.#link, silenceMs);
  }

  #lookAfter(ms: number, link: Link, silenceMs: number, frozen = false): void {
    const dueAt = this.#world.clock.monotonic() + ms;
    this.#after(ms, () => {
      const late = this.#world.clock.monotonic() - dueAt > LATE_MS;
      if (late && !frozen) this.#lookAfter(LATE_MS, link, silenceMs, true);
      else this.#look(link, silenceMs);
    });
  }

  /** One timer for any number of messages: it looks when the last word was, and sleeps for the rest. */
  #look(link: Link, silenceMs: number): void {
    const messageMsMax = Math.max(this.#options.settings.requestMs, silenceMs);
    const { heard, ms } = link.listen(this.#world.clock.monotonic(), silenceMs, messageMsMax);
    if (heard === "nothing") return this.#happened({ kind: "silence", trickling: false });
    if (heard === "too long a message") return this.#happened({ kind: "requestTimeout" });
    if (heard === "a trickle") this.#happened({ kind: "silence", trickling: true });
    if (this.#link === link) this.#lookAfter(ms, link, silenceMs);
  }
}

function address({ host, port, tls }: ExchangeClientOptions): Address {
  return tls === "off" ? { host, port } : { host, port, tls };
}

/** The same criteria every time: the exchange takes clks only with the criteria that they were given for. */
function subscription(options: ExchangeClientOptions, action: Extract<Action, { kind: "subscribe" }>): object {
  const { filter, fields, ladderLevels, conflateMs, settings } = options;
  return {
    op: "marketSubscription",
    id: action.id,
    marketFilter: filter,
    marketDataFilter: { fields: fieldNames(fields), ladderLevels },
    segmentationEnabled: true,
    conflateMs,
    heartbeatMs: settings.heartbeatMs,
    ...action.resume,
  };
}

function fieldNames(fields: FieldSet): FieldName[] {
  return (Object.keys(FIELD) as FieldName[]).filter((name) => (fields & FIELD[name]) !== 0);
}

/** An answer of the identity service is a few hundred bytes. */
const ANSWER_BYTES_MAX = 64 * 1024;

/** Bun's `fetch` as a `Post`: certificates verified (by `ca` where given), a client certificate shown where the request has one. */
export function bunPost(ca?: string): Post {
  return async ({ url, headers, body, certificate, signal }) => {
    // Said, so that NODE_TLS_REJECT_UNAUTHORIZED in the environment changes nothing.
    const tls = { rejectUnauthorized: true, ...(ca !== undefined && { ca }), ...certificate };
    const response = await Bun.fetch(url, { method: "POST", headers, body, signal, redirect: "manual", tls });
    return { status: response.status, body: await text(response) };
  };
}

async function text(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response.body ?? []) {
    length += piece.length;
    if (length > ANSWER_BYTES_MAX) throw new Error(`the answer has more than ${ANSWER_BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}
