import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Address, Dial, TlsClientOptions } from "../base/socket.ts";
import type { SourceState } from "../market/types.ts";
import type { ServerMessage, StatusMessage } from "../wire/esa.ts";
import {
  type Action,
  type ChangeFacts,
  type Event,
  INITIAL,
  initialAt,
  type Marks,
  marksOf,
  type Settings,
  type State,
  step,
} from "./connection.ts";
import type { TokenOutcome } from "./identity.ts";
import { Link } from "./link.ts";
import type { Session } from "./session.ts";

/** Where the exchange is, and how it is spoken to. */
export interface StreamOptions {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** TLS with certificate verification, by the system's authorities or `ca`; plain TCP only where "off" asks for it. */
  readonly tls: TlsClientOptions | "off";
  readonly appKey: string;
  /** The longest line taken; a longer one ends the connection. */
  readonly lineBytesMax: number;
  /** Heartbeat, silence and waits: see `Settings`. */
  readonly settings: Settings;
  /** Where whoever takes the changes stands already, by an earlier life's books of the same criteria. */
  readonly resumeFrom?: Marks;
}

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

/** What the stream looks at in a change message; the clocks, and what it counts by. */
export type ChangeHead = ChangeFacts & { readonly pt: number };

/**
 * One subscription at the exchange, kept: carries out what the connection machine decides, and tells it what happened. What is subscribed to, how its lines are read
 * and who is told is for its kinds to say.
 *
 * Each change is handed on as it is, with its clk, repeated or out of order as it may be; a line that cannot be read is never applied, not
 * even in part: the connection is dropped and resumed. Whoever reads the counters finds plain fields.
 */
export abstract class ExchangeStream {
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

  readonly #options: StreamOptions;
  readonly #world: ExchangeWorld;
  readonly #change: Event & { readonly change: ChangeHead };
  #state: State;
  #link: Link | null = null;
  #timer: Timer | null = null;
  #tokenUsed = "";
  /** A change was handed over in this read. */
  #unsettled = false;
  /** Counts logins asked for: an answer to an older one comes too late. */
  #loginAsked = 0;

  /** `change` is what `decode` fills, the same object every time. */
  constructor(options: StreamOptions, world: ExchangeWorld, change: ChangeHead) {
    this.name = options.name;
    this.#options = options;
    this.#world = world;
    this.#change = { kind: "change", change };
    this.#state = options.resumeFrom === undefined ? INITIAL : initialAt(options.resumeFrom);
    if (options.resumeFrom !== undefined) this.sourceState = "stale";
  }

  /** The request, but for its id and clocks; the same criteria every time, as the exchange takes clks only with the criteria that they were given for. */
  protected abstract subscription(): object;
  /** Reads one line; that of a change is in the change head then. */
  protected abstract decode(bytes: Uint8Array, start: number, end: number): ServerMessage;
  /** The change at hand is in turn. */
  protected abstract deliver(): void;
  /** All that came in one piece was handed over. */
  protected abstract settled(): void;
  protected abstract told(state: SourceState, reason: string): void;
  /** There is no connection now: what one had begun, it does not end any more. */
  protected offline(): void {}

  /** Where the connection stands, and why where it waits. */
  get state(): State {
    return this.#state;
  }

  /** Where to resume from, as of the last change handed over; null before there is anything. Half a message in segments is not counted. */
  get marks(): Marks | null {
    return marksOf(this.#state);
  }

  protected begin(): void {
    this.#happened({ kind: "start" });
  }

  protected halt(): void {
    this.#happened({ kind: "stop" });
    this.#world.session.stop();
    this.sourceState = "down";
  }

  /** `subscription` gives another request now. */
  protected criteriaChanged(): void {
    this.#happened({ kind: "newCriteria" });
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
    if (this.#link === null) this.offline();
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
        return this.#send({ ...this.subscription(), id: action.id, ...action.resume });
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
    this.settled();
  }

  #message(link: Link, bytes: Uint8Array, start: number, end: number): void {
    const message = this.decode(bytes, start, end);
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

  /** What came cannot be taken: the connection is dropped, and comes back. */
  protected garbled(reason: string): void {
    this.#invalid(reason);
  }

  #invalid(reason: string): void {
    this.invalidLines++;
    this.#happened({ kind: "invalid", reason });
  }

  #deliver(): void {
    const { change } = this.#change;
    this.lastPublishTime = change.pt;
    this.#count(change);
    this.#unsettled = true;
    this.deliver();
  }

  #count(change: ChangeHead): void {
    if (change.id !== null && change.id !== this.#state.memory.subscription) this.foreignIds++;
    if (change.kind === "heartbeat") this.heartbeats++;
    const begins = change.segment === "whole" || change.segment === "start";
    if (change.kind === "image" && begins) this.images++;
    if (change.kind === "resume" && begins) this.resumes++;
  }

  #say(state: SourceState, reason: string): void {
    this.sourceState = state;
    this.told(state, reason);
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

function address({ host, port, tls }: StreamOptions): Address {
  return tls === "off" ? { host, port } : { host, port, tls };
}
