import type { Clock, Timer } from "../base/clock.ts";
import type { Goodbye } from "../base/errors.ts";
import { Wheel } from "../base/wheel.ts";
import type { SourceState } from "../market/types.ts";
import type { Account } from "../tenancy/tokens.ts";
import type { SportSubscribeRequest } from "../wire/requests.ts";
import { SPORTS, type Sport, type SportBatch } from "../wire/sports.ts";
import { type Game, Games } from "./games.ts";
import { clkOf, type Pass, type SportSession, SportSubscription, sequenceOf } from "./subscription.ts";

export interface DeskOptions {
  readonly sport: Sport;
  /** Names who numbers the changes: new with each start. */
  readonly epoch: string;
  readonly clock: Clock;
  /** About the largest message of an image or of what was missed. */
  readonly messageBytesMax?: number;
  readonly gamesMax?: number;
  readonly forgetMs?: number;
}

/** Some days of cricket, a week of races: 10 MB. */
const GAMES_MAX = 1_000;
/** A race is spoken of all the time until it is over; a match sleeps over night. */
const FORGET_MS: Readonly<Record<Sport, number>> = { race: 15 * 60_000, cricket: 24 * 3_600_000 };
const SWEEP_MS = 10_000;
/** The wheel turns every 100 ms: a heartbeat that is due before its next turn is said now. */
const TURN_MS = 100;

/**
 * Where races or cricket are handed out: takes the exchange's stream as a sink, and tells each subscription of it.
 *
 * Who is in step gets each message of the exchange as it is, entry by entry. Who is new, was away, could not take one, or has them merged, is told of each race
 * or match what was said since, the last word on each part of it. The clk of a message says that everything up to it was said, so only the last
 * message of a pass has one.
 */
export class SportDesk {
  readonly games: Games;
  readonly subscriptions = new Set<SportSubscription>();
  /** 503 while the exchange's word cannot be relied on. */
  status: number | null = 503;

  // counters, read by ops
  messagesOut = 0;
  images = 0;
  resumes = 0;

  readonly #sport: Sport;
  readonly #initialClk: string;
  readonly #clock: Clock;
  readonly #messageBytesMax: number;
  readonly #heartbeats: Wheel<SportSubscription>;
  readonly #beats: Wheel<SportSubscription>;
  /** The exchange's last message: its entries, and its time. */
  #news: Pick<Game, "since"> = { since: () => "" };
  #pt = 0;
  #sweep: Timer;

  constructor({ sport, epoch, clock, messageBytesMax = 1024 * 1024, gamesMax, forgetMs }: DeskOptions) {
    this.games = new Games({ clock, gamesMax: gamesMax ?? GAMES_MAX, forgetMs: forgetMs ?? FORGET_MS[sport] });
    this.#sport = sport;
    this.#initialClk = `${epoch}.${sport}`;
    this.#clock = clock;
    this.#messageBytesMax = messageBytesMax;
    this.#heartbeats = new Wheel(clock, (subscription) => this.#heartbeat(subscription));
    this.#beats = new Wheel(clock, (subscription) => this.#beat(subscription));
    this.#sweep = clock.after(SWEEP_MS, () => this.#sweepNow());
  }

  // ---- the exchange's side ----

  batch({ changes, pt, status }: SportBatch): void {
    if (changes.length === 0) return;
    // Not what was said last: a message that makes the exchange live again is not to go out as unreliable.
    this.status = status === null ? null : 503;
    this.#pt = pt;
    const text = changes.map((change) => change.text).join(",");
    this.#news = { since: () => text };
    this.games.apply(changes);
    for (const subscription of this.subscriptions) this.#changed(subscription);
  }

  state(state: SourceState): void {
    this.status = state === "live" ? null : 503;
    for (const subscription of this.subscriptions) {
      if (subscription.status === this.status) continue;
      // That all is well is not said, to those who wait for their beat either, before they have what came since.
      if (this.status === null) this.#tell(subscription);
      else this.#sayHeartbeat(subscription);
    }
  }

  stop(): void {
    this.#sweep.cancel();
    this.#heartbeats.stop();
    this.#beats.stop();
    for (const subscription of this.subscriptions) this.#end(subscription);
  }

  // ---- the users' side ----

  /** Says `accepted` before anything else; or gives the reason why not, and has said nothing. */
  subscribe(
    { sports }: Pick<Account, "sports">,
    request: SportSubscribeRequest,
    session: SportSession,
    accepted: string,
  ): { drained(): void; end(): void } | Goodbye {
    if (!sports?.includes(this.#sport))
      return { code: "NOT_AUTHORIZED", message: `this visitor has no ${this.#sport} stream here` };
    const subscription = new SportSubscription(request, session, this.#clock.monotonic());
    this.subscriptions.add(subscription);
    this.#heartbeats.add(subscription, request.heartbeatMs);
    session.say(accepted);
    subscription.pass = this.#first(request);
    this.#pump(subscription);
    return { drained: () => this.#pump(subscription), end: () => this.#end(subscription) };
  }

  #end(subscription: SportSubscription): void {
    subscription.ended = true;
    subscription.pass = null;
    this.subscriptions.delete(subscription);
  }

  // ---- telling ----

  #changed(subscription: SportSubscription): void {
    const { request, waits } = subscription;
    if (request.conflateMs === 0) return this.#pump(subscription);
    if (waits) return;
    const rest = this.#rest(subscription);
    if (rest <= 0) return this.#pump(subscription);
    subscription.waits = true;
    this.#beats.add(subscription, rest);
  }

  /** The wheel asks: returns when to ask again. */
  #beat(subscription: SportSubscription): number | null {
    if (subscription.ended || !subscription.waits) return null;
    const rest = this.#rest(subscription);
    if (rest > 0) return rest;
    this.#tell(subscription);
    return null;
  }

  /** Until it may be told of changes again. */
  #rest({ toldAt, request }: SportSubscription): number {
    return toldAt + request.conflateMs - this.#clock.monotonic();
  }

  #tell(subscription: SportSubscription): void {
    subscription.waits = false;
    this.#pump(subscription);
  }

  /** Says what a subscription does not know, as far as its socket takes it. */
  #pump(subscription: SportSubscription): void {
    while (!subscription.ended && subscription.session.isClear) {
      subscription.pass ??= this.#next(subscription);
      if (subscription.pass === null) break;
      this.#step(subscription, subscription.pass);
    }
    // What it missed may have been nothing but this.
    if (subscription.pass === null && subscription.status !== this.status) this.#sayHeartbeat(subscription);
  }

  /** How it begins: with what changed since its clk, where that is in reach. */
  #first({ initialClk, clk }: SportSubscribeRequest): Pass {
    const { sequence, reach } = this.games;
    const since = initialClk === this.#initialClk && clk !== null ? sequenceOf(clk) : null;
    if (since === null || since > sequence || since < reach) return this.#pass("image", 0);
    return this.#pass("resume", since);
  }

  /** How it goes on; null where nothing is new, or not yet to be told. */
  #next({ told, waits }: SportSubscription): Pass | null {
    const { sequence, reach } = this.games;
    if (told === sequence || waits) return null;
    if (told === sequence - 1) return this.#pass("change", told, [this.#news]);
    return told < reach ? this.#pass("image", 0) : this.#pass("change", told);
  }

  #pass(kind: Pass["kind"], from: number, games: Pass["games"] = this.games.changedSince(from)): Pass {
    return { kind, from, to: this.games.sequence, games, next: 0, begun: false };
  }

  /** Says the next message of a pass. */
  #step(subscription: SportSubscription, pass: Pass): void {
    const texts = this.#fill(pass);
    const isLast = pass.next === pass.games.length;
    if (isLast) {
      subscription.told = pass.to;
      subscription.pass = null;
    }
    const head = this.#head(subscription, pass, isLast);
    if (!pass.begun) this.#count(pass);
    pass.begun = true;
    subscription.toldAt = this.#clock.monotonic();
    const list = texts.length === 0 ? "" : `,"${SPORTS[this.#sport].list}":[${texts.join(",")}]`;
    this.#say(subscription, `${head}${list}}`);
  }

  /** Entries for one message. None in the image of races: at the exchange it is empty, and betfairlightweight passes over it. They follow. */
  #fill(pass: Pass): string[] {
    const texts: string[] = [];
    if (this.#sport === "race" && pass.kind === "image" && !pass.begun) return texts;
    for (let chars = 0; pass.next < pass.games.length && chars < this.#messageBytesMax; pass.next++) {
      const text = (pass.games[pass.next] as Game).since(pass.from);
      chars += text.length;
      texts.push(text);
    }
    return texts;
  }

  #head(subscription: SportSubscription, pass: Pass, isLast: boolean): string {
    const { id, conflateMs, heartbeatMs } = subscription.request;
    const isFirst = pass.kind !== "change" && !pass.begun;
    const ct = isFirst ? `,"ct":"${pass.kind === "image" ? "SUB_IMAGE" : "RESUB_DELTA"}"` : "";
    const initial = isFirst ? `,"initialClk":"${this.#initialClk}"` : "";
    // The first part of an image voids what the client had: clk 0 claims nothing.
    const isVoid = isFirst && pass.kind === "image";
    const clk = isLast ? `,"clk":"${clkOf(subscription.told)}"` : isVoid ? `,"clk":"${clkOf(0)}"` : "";
    const pt = pass.kind === "change" ? this.#pt : Math.floor(this.#clock.wall());
    const terms = isFirst ? `,"conflateMs":${conflateMs},"heartbeatMs":${heartbeatMs}` : "";
    // That all is well again is said with the last part.
    if (isLast || this.status !== null) subscription.status = this.status;
    return `${this.#opening(id)}${ct}${initial}${clk},"pt":${pt}${status(subscription.status)}${terms}`;
  }

  #opening(id: number): string {
    return `{"op":"${SPORTS[this.#sport].op}","id":${id}`;
  }

  #count({ kind }: Pass): void {
    if (kind === "image") this.images++;
    else if (kind === "resume") this.resumes++;
  }

  #say(subscription: SportSubscription, message: string): void {
    subscription.saidAt = this.#clock.monotonic();
    this.messagesOut++;
    subscription.session.say(message);
  }

  // ---- heartbeats ----

  /** The wheel asks: returns when to ask again. */
  #heartbeat(subscription: SportSubscription): number | null {
    if (subscription.ended) return null;
    const { heartbeatMs } = subscription.request;
    const rest = subscription.saidAt + heartbeatMs - this.#clock.monotonic();
    if (rest > TURN_MS) return rest;
    this.#sayHeartbeat(subscription);
    return heartbeatMs;
  }

  /** Nothing is said between the messages of a pass, nor to a full socket: whoever drains it hears the rest. */
  #sayHeartbeat(subscription: SportSubscription): void {
    if (subscription.ended || subscription.pass !== null || !subscription.session.isClear) return;
    subscription.status = this.status;
    const { request, told } = subscription;
    const rest = `,"ct":"HEARTBEAT","clk":"${clkOf(told)}","pt":${Math.floor(this.#clock.wall())}`;
    this.#say(subscription, `${this.#opening(request.id)}${rest}${status(this.status)}}`);
  }

  #sweepNow(): void {
    this.games.sweep();
    this.#sweep = this.#clock.after(SWEEP_MS, () => this.#sweepNow());
  }
}

function status(code: number | null): string {
  return code === null ? "" : `,"status":${code}`;
}
